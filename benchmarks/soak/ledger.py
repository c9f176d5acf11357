"""The ledger: a file to which everybody appends a line per event, with one system call.

A line survives the death of its writer, and lines of many processes do not mix. The clock is the
machine's, the same for all, and goes on when somebody sets the time.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

VARIABLE = "SOAK_LEDGER"
"""The environment variable that names the file; also the mark by which processes are found."""

TRYING = "TRYING"
"""Somebody is about to enqueue this job: it may exist from now on."""
RETURNED = "RETURNED"
"""`enqueue` returned: it must exist, and end."""
REFUSED = "REFUSED"
"""`enqueue` raised: it may exist or not."""
BEGIN = "BEGIN"
END = "END"
RAISED = "RAISED"
CANCELLED = "CANCELLED"
BLOCKING = "BLOCKING"
"""The handler is about to block for good, until somebody kills its worker."""
KILLING = "KILLING"
"""The handler is about to kill its own worker."""


def now() -> float:
    """Seconds since the machine was started, also those in which it was suspended."""
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return time.clock_gettime(clock)


class Mark(NamedTuple):
    """One line. Events of a producer have no supervisor, and no retries."""

    event: str
    job_id: str
    at: float
    pid: int
    supervisor: int = 0
    retry_count: int = 0
    detail: str = ""

    def __str__(self) -> str:
        return (
            f"{self.event} {self.job_id} {self.at:.6f} {self.pid} {self.supervisor} "
            f"{self.retry_count} {self.detail}"
        ).rstrip()


class Pen:
    """Writes marks; to be opened in the process that writes."""

    def __init__(self, path: str | Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._pid = os.getpid()

    def write(
        self,
        event: str,
        job_id: object,
        *,
        supervisor: int = 0,
        retry_count: int = 0,
        detail: str = "",
    ) -> None:
        """Append one line."""
        word = "_".join(detail.split())
        mark = Mark(event, str(job_id), now(), self._pid, supervisor, retry_count, word)
        os.write(self._fd, f"{mark}\n".encode())


def read(path: Path) -> list[Mark]:
    """All marks, in the order of their instants."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return sorted((parse(line) for line in lines), key=lambda mark: mark.at)


def parse(line: str) -> Mark:
    """One line as a mark."""
    event, job_id, at, pid, supervisor, retry_count, *detail = line.split(" ")
    return Mark(
        event, job_id, float(at), int(pid), int(supervisor), int(retry_count), " ".join(detail)
    )


def by_job(marks: Iterable[Mark]) -> Mapping[str, Sequence[Mark]]:
    """The marks of each job."""
    found: dict[str, list[Mark]] = defaultdict(list)
    for mark in marks:
        found[mark.job_id].append(mark)
    return found


class Attempt(NamedTuple):
    """One execution of a handler: its BEGIN, and what the same process wrote about it after."""

    begin: Mark
    marks: tuple[Mark, ...]

    @property
    def at(self) -> float:
        """When it began."""
        return self.begin.at

    def find(self, event: str) -> Mark | None:
        """What it wrote of this kind."""
        return next((mark for mark in self.marks if mark.event == event), None)


def attempts(marks: Sequence[Mark]) -> list[Attempt]:
    """The executions of one job in the order of its attempts.

    That is by retries first: the worker of a supervisor that was stopped may begin an attempt
    after a later one, granted to somebody else, has begun.
    """
    begins = [mark for mark in marks if mark.event == BEGIN]
    begins.sort(key=lambda mark: (mark.retry_count, mark.at))
    return [Attempt(begin, _of(begin, begins, marks)) for begin in begins]


def _of(begin: Mark, begins: Sequence[Mark], marks: Sequence[Mark]) -> tuple[Mark, ...]:
    until = min((b.at for b in begins if b.pid == begin.pid and b.at > begin.at), default=None)
    return tuple(
        mark
        for mark in marks
        if mark.event in (END, RAISED, CANCELLED, BLOCKING, KILLING)
        and mark.pid == begin.pid
        and mark.retry_count == begin.retry_count
        and mark.at >= begin.at
        and (until is None or mark.at < until)
    )
