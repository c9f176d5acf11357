"""The most bytes that pipes carry: `python -m benchmarks.payload.echo IN OUT SIZE` sends back what
it is sent, SIZE bytes at a time, and looks at none of them."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import chain

PIPE_SIZE = 1024 * 1024
"""As large as a pipe may be for anybody, and as the supervisor's are."""


def pipe_bytes_per_second(size: int, messages: int, workers: int) -> float:
    """Bytes per second there and back, by so many processes, with a thread per end here."""
    share = messages // workers
    with _pipes(size, workers) as ends, ThreadPoolExecutor(2 * workers) as threads:
        begin = time.perf_counter()
        for jobs, _ in ends:
            threads.submit(_send, jobs, bytes(size), share)
        received = [threads.submit(_receive, results, size, share) for _, results in ends]
        for one in received:
            one.result()
        return 2 * size * share * workers / (time.perf_counter() - begin)


@contextmanager
def _pipes(size: int, workers: int) -> Iterator[list[tuple[int, int]]]:
    """Processes that echo; gives our ends of the pipes to and from each."""
    ends, running = [], []
    for _ in range(workers):
        (theirs, jobs), (results, answers) = _pipe(), _pipe()
        command = [sys.executable, "-m", "benchmarks.payload.echo", *map(str, (theirs, answers))]
        running.append(
            subprocess.Popen([*command, str(size)], pass_fds=[theirs, answers])  # noqa: S603
        )
        os.close(theirs)
        os.close(answers)
        _send(jobs, bytes(size), 1)
        _receive(results, size, 1)
        ends.append((jobs, results))
    try:
        yield ends
    finally:
        for fd in chain.from_iterable(ends):
            os.close(fd)
        for process in running:
            process.wait()


def _pipe() -> tuple[int, int]:
    reading, writing = os.pipe()
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
    return reading, writing


def _send(fd: int, message: bytes, times: int) -> None:
    for _ in range(times):
        left = memoryview(message)
        while left:
            left = left[os.write(fd, left) :]


def _receive(fd: int, size: int, times: int) -> memoryview:
    message = memoryview(bytearray(size))
    for _ in range(times):
        got = 0
        while got < size:
            read = os.readv(fd, [message[got:]])
            if not read:
                raise EOFError
            got += read
    return message


def _main(jobs: int, results: int, size: int) -> None:
    while True:
        try:
            message = _receive(jobs, size, 1)
        except EOFError:
            return
        _send(results, bytes(message), 1)


if __name__ == "__main__":
    _main(*map(int, sys.argv[1:]))
