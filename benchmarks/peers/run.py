"""One run of one system: its jobs into the store, then its workers, until all jobs are done."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil

from benchmarks.peers import meter
from benchmarks.peers.catalogue import Peer
from benchmarks.peers.failure import PeerFailedError, last_line

APPS = Path(__file__).with_name("apps")
_ROOT = Path(__file__).parents[2]
_STOP = 5.0
_TELL = 0.25  # seldom: to show it costs what the workers could use


@dataclasses.dataclass(frozen=True, kw_only=True)
class PeerSample:
    """One run: `rate` in jobs per second, from the first tenth to the last job."""

    jobs: int
    executed: int
    """How many handlers ran: more than `jobs` where the system ran some twice."""
    rate: float
    enqueue_rate: float | None
    """`None` where there is no store that another process puts jobs into."""
    start: float
    """Seconds from the start of the workers to the first job."""


@dataclasses.dataclass(frozen=True)
class Bench:
    """What the runs of one system have in common. Times in seconds."""

    peer: Peer
    python: Path
    jobs: int
    workers: int
    timeout: float

    def describe(self) -> dict[str, Any]:
        """Its processes, settings and versions, as its app tells them."""
        nowhere = f"{self.peer.store}://127.0.0.1/0"  # an app may parse it, and asks nobody
        return dict(self._ask(self._environment(nowhere), "describe", self.workers))

    def run(self, url: str, told: Callable[[str, int], None]) -> PeerSample:
        """Run the jobs once in an empty store; `told` what goes on, and how many jobs are done.

        Raises:
            PeerFailedError: they were not all done.
        """
        environment, enqueue_rate = self._environment(url), None
        if self.peer.enqueues_first:
            told("enqueuing", 0)
            enqueue_rate = self.jobs / self._ask(environment, "enqueue", self.jobs)["seconds"]
        told("running", 0)
        with meter.Meter() as counted, self._working(environment, counted.path) as check:
            began = told_at = time.perf_counter()

            def checked(done: int) -> None:
                nonlocal told_at
                if time.perf_counter() - told_at > _TELL:
                    told("running", done)
                    told_at = time.perf_counter()
                if done < self.jobs:
                    check(counted.read)

            timeline = meter.watch(counted.read, self.jobs, check=checked)
            executed = meter.settled(counted.read)
        try:
            rate = timeline.rate()
        except ValueError as error:
            raise PeerFailedError(str(error)) from None
        return PeerSample(
            jobs=self.jobs, executed=executed, rate=rate, enqueue_rate=enqueue_rate,
            start=timeline.marks[0][0] - began,
        )  # fmt: skip

    def _environment(self, url: str) -> dict[str, str]:
        paths = [str(APPS)] if self.peer.requirements else [str(APPS), str(_ROOT)]
        ours = {
            "PYTHONPATH": os.pathsep.join(paths),
            "BENCH_URL": url,
            "BENCH_VARIANT": self.peer.variant,
        }
        kept = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
        return {**kept, **ours}

    def _command(self, verb: str, *numbers: int) -> list[str]:
        return [str(self.python), str(APPS / "verbs.py"), self.peer.app, verb, *map(str, numbers)]

    def _ask(self, environment: dict[str, str], verb: str, number: int) -> Any:
        try:
            done = subprocess.run(  # noqa: S603 - an app of ours
                self._command(verb, number), env=environment, cwd=APPS, timeout=self.timeout,
                check=False, capture_output=True, text=True,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise PeerFailedError(f"{verb}: not within {self.timeout:g} s") from None
        if done.returncode:
            raise PeerFailedError(f"{verb}: {last_line(done.stderr)}", done.stderr)
        return json.loads(done.stdout.splitlines()[-1])

    @contextmanager
    def _working(
        self, environment: dict[str, str], tally: Path
    ) -> Iterator[Callable[[Callable[[], int]], None]]:
        """The workers, and what raises when they will not get to the end."""
        with TemporaryDirectory(prefix="bench-work-") as folder:
            log = Path(folder) / "log"
            with log.open("wb") as output:
                process = subprocess.Popen(  # noqa: S603 - an app of ours
                    self._command("work", self.workers, self.jobs),
                    env={**environment, **meter.at(tally)}, cwd=APPS, stdin=subprocess.DEVNULL,
                    stdout=output, stderr=output, start_new_session=True,
                )  # fmt: skip
            deadline = time.monotonic() + self.timeout

            def check(read: Callable[[], int]) -> None:
                ended, late = process.poll() is not None, time.monotonic() > deadline
                if (ended or late) and (done := read()) < self.jobs:
                    said = log.read_text(encoding="utf-8", errors="replace")
                    why = f"after {self.timeout:g} s" if late else f"ended: {last_line(said)}"
                    raise PeerFailedError(f"{done} of {self.jobs} jobs done, {why}", said)

            try:
                yield check
            finally:
                stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ask it to end, and see to it that nothing is left of it: its store is removed next."""
    family = _descendants(process.pid)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(_STOP)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    for member in family:
        with suppress(psutil.Error):
            member.kill()
    process.wait()
    psutil.wait_procs(family, timeout=_STOP)


def _descendants(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return []
