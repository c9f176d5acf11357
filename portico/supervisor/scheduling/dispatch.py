"""Which worker gets which job, and how many to ask the store for: pure functions of loads.

Small jobs travel in batches and long ones alone, in one configuration. A worker is given what it
can finish within one quantum, judged by what its job types took before; an unknown type goes one
at a time. So a job waits behind others for one quantum at most, unless one of them turns out
long, and those behind it are recalled then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

QUANTUM = 0.010
"""Seconds of work that a worker holds per slot."""
AHEAD = 2 * QUANTUM
"""Seconds that a job takes, and those before it, where one may wait in a worker though a quantum is
full: else each worker would stand still between two jobs until the next one has come."""
MOST_JOBS = 512
"""Jobs that a worker holds, however short they are."""
MOST_BYTES = 1024 * 1024
"""Payload bytes on the way to one worker, beyond its first job."""
MOST_BYTES_AHEAD = 32 * 1024 * 1024
"""Payload bytes that a supervisor holds in all, as far as it can tell before it leases."""
SOON = 1.0
"""Seconds: where jobs take less than this, the next ones are fetched while they run."""

_WEIGHT = 0.2
"""Of the newest run time in the moving averages."""
_ROUNDING = 1e-9
"""Of a job, by which the room for jobs may be missed."""


@dataclass(slots=True)
class Load:
    """What one worker holds."""

    slots: int
    open: bool = False
    """It is ready and takes jobs."""
    jobs: int = 0
    seconds: float = 0.0
    bytes: int = 0
    unknown: int = 0
    """Jobs among them whose run time nobody knows."""
    alone: bool = False
    """It runs a suspect, which shares its worker with nobody."""
    late: bool = False
    """What it runs has taken longer than a quantum."""
    stuck: bool = False
    """What it runs has taken longer than `SOON`."""
    blocked: bool = False
    """It gave something back that it had a free slot for: its loop does not come to it."""
    fresh: bool = True
    """It has never been given anything."""
    left: float = inf
    """How many more it may be given in its life."""

    def room(self, estimate: float | None, level: float) -> int:
        """How many more jobs that take so many seconds each may go to this worker, filled up to
        `level` seconds; how large they may be, `fits` knows."""
        if not self.open or self.alone:
            return 0
        return int(min(self.left, self._room(estimate, level)))

    def _room(self, estimate: float | None, level: float) -> int:
        free = max(0, self.slots - self.jobs)
        if estimate is None or self.unknown or self.late:
            return free
        most = MOST_JOBS - self.jobs
        if estimate > 0:
            most = min(most, int((level - self.seconds) / estimate + _ROUNDING))
        if most <= 0 and self.jobs == self.slots and max(estimate, self.seconds) <= AHEAD:
            most = 1
        return max(free, most)

    def fits(self, size: int) -> bool:
        """Whether a payload of so many bytes may be on the way to it beside the others."""
        return self.jobs < self.slots or self.bytes + size <= MOST_BYTES

    def add(self, estimate: float | None, size: int) -> None:
        """Count a job in."""
        self.left -= 1
        self.fresh = False
        self.jobs += 1
        self.bytes += size
        if estimate is None:
            self.unknown += 1
        else:
            self.seconds += estimate

    def remove(self, estimates: Sequence[float | None], size: int) -> None:
        """Count jobs out: what each was to take, and the bytes of all."""
        known = [estimate for estimate in estimates if estimate is not None]
        self.jobs -= len(estimates)
        self.bytes -= size
        self.unknown -= len(estimates) - len(known)
        self.seconds -= sum(known)
        if not self.jobs:
            self.seconds, self.alone, self.late, self.stuck = 0.0, False, False, False
            self.blocked = False

    @property
    def takes(self) -> bool:
        """Whether it takes jobs at all."""
        return self.open and self.left > 0


class RunTimes:
    """What job types took, as moving averages, and what jobs of any type took and weighed."""

    def __init__(self) -> None:
        self._by_type: dict[str, float] = {}
        self.mean: float | None = None
        self.mean_bytes = 0.0

    def estimate(self, job_type: str) -> float | None:
        """Seconds that a job of this type takes; `None` when none has been seen."""
        return self._by_type.get(job_type)

    def learn(self, job_type: str, elapsed: Sequence[float]) -> None:
        """Take run times into account; what cannot be one is passed over."""
        honest = [seconds for seconds in elapsed if 0.0 <= seconds < inf]
        if not honest:
            return
        mean, weight = sum(honest) / len(honest), 1 - (1 - _WEIGHT) ** len(honest)
        known = self._by_type.get(job_type, mean)
        self._by_type[job_type] = known + weight * (mean - known)
        known = mean if self.mean is None else self.mean
        self.mean = known + weight * (mean - known)

    def weigh(self, sizes: Sequence[int]) -> None:
        """Take the payload sizes of a batch into account; growth counts at once."""
        mean = sum(sizes) / len(sizes)
        self.mean_bytes = max(mean, self.mean_bytes + _WEIGHT * (mean - self.mean_bytes))


def demand(loads: Sequence[Load], times: RunTimes, backlog: int) -> int:
    """How many jobs to lease now: what the workers can take, and a round ahead where jobs are
    short enough that waiting for the store between them would cost more than it protects."""
    wanted = 0
    for load in loads:
        if not load.takes or load.alone:
            continue
        capacity = int(min(load.left, _capacity(load.slots, times.mean)))
        if load.jobs < load.slots or not (load.late or load.unknown):
            wanted += max(0, capacity - load.jobs)
        if times.mean is not None and times.mean < SOON and not load.stuck:
            wanted += capacity
    affordable = MOST_BYTES_AHEAD / times.mean_bytes if times.mean_bytes else wanted
    return max(0, min(wanted, max(1, int(affordable))) - backlog)


def _capacity(slots: int, mean: float | None) -> int:
    if not mean:
        return slots if mean is None else MOST_JOBS
    return max(slots, int(min(MOST_JOBS, QUANTUM * slots / mean)))


def level(loads: Sequence[Load], waiting: float) -> float:
    """The seconds of work to fill each worker up to, so that `waiting` seconds more are spread
    evenly; a quantum per slot at most."""
    takers = [load for load in loads if load.open and not load.alone and not load.late]
    if not takers:
        return 0.0
    fair = (waiting + sum(load.seconds for load in takers)) / len(takers)
    return min(fair, QUANTUM * max(load.slots for load in takers))
