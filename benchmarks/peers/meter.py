"""How many jobs are done, read from what the workers count in shared memory.

Every worker process counts in 8 bytes of its own (`apps/noop_job.py`); this side adds them up
every few milliseconds. It counts handlers that have run: what a system still does for a job
afterwards is in the rate, but not for the last few jobs.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self

from benchmarks.samples import Timeline

STEP = 0.002
_SETTLE = 0.2
_MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of its own is made in it


class Meter:
    """The counters of one run, in a file that its workers are told of."""

    def __enter__(self) -> Self:
        place = str(_MEMORY) if _MEMORY.is_dir() else None
        self._folder = TemporaryDirectory(prefix="bench-tally-", dir=place)
        self.path = Path(self._folder.name) / "tally"
        self.path.touch()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._folder.cleanup()

    def read(self) -> int:
        """The jobs that are done by now."""
        data = self.path.read_bytes()
        return sum(memoryview(data[: len(data) // 8 * 8]).cast("Q"))


def watch(
    read: Callable[[], int],
    jobs: int,
    *,
    check: Callable[[int], None],
    clock: Callable[[], float] = time.perf_counter,
) -> Timeline:
    """Note when how many jobs are done, until all are.

    Args:
        read: how many jobs are done.
        jobs: how many there are.
        check: told at every step how many are done; raises to give up.
        clock: seconds.
    """
    timeline, pause = Timeline(jobs), threading.Event()
    while not timeline.complete:
        done = read()
        if done > timeline.done:
            timeline.add(clock(), done - timeline.done)
        check(timeline.done)
        pause.wait(STEP)
    return timeline


def settled(read: Callable[[], int]) -> int:
    """How many jobs were done in all, a moment after the last: more than there are, by some."""
    threading.Event().wait(_SETTLE)
    return read()


def at(path: Path) -> dict[str, str]:
    """What tells the workers where to count."""
    return {"BENCH_TALLY": os.fspath(path)}
