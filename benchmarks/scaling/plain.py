"""The same work without a queue: `python -m benchmarks.scaling.plain STEPS JOBS`.

Waits for a line on its standard input, so that several can begin together.
"""

from __future__ import annotations

import subprocess
import sys
import time

from benchmarks.timed import spin

_TRIALS = 7


def calibrated(seconds: float) -> int:
    """How many steps take so long on this machine while nobody disturbs."""
    steps = 1000
    while (took := _fastest(steps)) < seconds / 10:
        steps *= 2
    return round(steps * seconds / took)


def _fastest(steps: int) -> float:
    return min(_timed(steps) for _ in range(_TRIALS))


def _timed(steps: int) -> float:
    begin = time.perf_counter()
    spin(steps)
    return time.perf_counter() - begin


def plain_rate(steps: int, jobs: int, processes: int) -> float:
    """Jobs per second of so many plain processes, which share the jobs out evenly."""
    shares = [jobs // processes + (n < jobs % processes) for n in range(processes)]
    running = [_start(steps, share) for share in shares]
    for process in running:
        assert process.stdout is not None
        process.stdout.readline()
    begin = time.perf_counter()
    for process in running:
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.flush()
    for process in running:
        assert process.stdout is not None
        process.stdout.readline()
    elapsed = time.perf_counter() - begin
    for process in running:
        process.communicate()
    return jobs / elapsed


def _start(steps: int, jobs: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - ourselves
        [sys.executable, "-m", "benchmarks.scaling.plain", str(steps), str(jobs)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def _main(steps: int, jobs: int) -> None:
    spin(steps)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    for _ in range(jobs):
        spin(steps)
    sys.stdout.write("done\n")
    sys.stdout.flush()


if __name__ == "__main__":
    _main(*map(int, sys.argv[1:]))
