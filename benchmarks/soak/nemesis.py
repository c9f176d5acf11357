"""Which faults come when: pure, so that a seed tells it all."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from itertools import accumulate, takewhile
from random import Random
from typing import NamedTuple

FULL = 120.0
"""Seconds of a run in which every fault comes at its natural pace; shorter ones press them."""


class Fault(str, Enum):
    """What can be done to the system."""

    KILL_WORKER = "kill worker"
    PAUSE_WORKER = "pause worker"
    KILL_SUPERVISOR = "kill supervisor"
    PAUSE_SUPERVISOR = "pause supervisor"
    LOCK = "lock database"


class Planned(NamedTuple):
    """One fault to come: after `at` seconds, for `seconds`; `pick` of 0 to 1 chooses its victim."""

    at: float
    fault: Fault
    seconds: float
    pick: float


class Action(NamedTuple):
    """One fault as it was carried out, on the ledger's clock; `pid` is 0 for the database."""

    fault: Fault
    start: float
    end: float
    pid: int = 0
    supervisor: int = 0

    def __str__(self) -> str:
        whom = f" {self.pid}" if self.pid else ""
        whose = f" of supervisor {self.supervisor}" if self.supervisor not in (0, self.pid) else ""
        return f"{self.fault.value}{whom}{whose}, for {self.end - self.start:.2f} s"


def schedule(seed: int, seconds: float, lease: float) -> list[Planned]:
    """The faults of a run, in order."""
    pace = min(1.0, seconds / FULL)
    plan = [
        *_series(seed, Fault.KILL_WORKER, seconds, (0.5, 2.0), (0.0, 0.0)),
        *_series(seed, Fault.PAUSE_WORKER, seconds, (5.0, 5.0), (0.5, 0.5)),
        *_series(seed, Fault.KILL_SUPERVISOR, seconds, (20 * pace, 40 * pace), (1.0, 1.0)),
        *_series(seed, Fault.PAUSE_SUPERVISOR, seconds, (45 * pace,) * 2, (1.5 * lease,) * 2),
        *_series(seed, Fault.LOCK, seconds, (30 * pace, 30 * pace), (3.0, 6.0)),
    ]
    return sorted(plan)


def _series(
    seed: int,
    fault: Fault,
    seconds: float,
    pause: tuple[float, float],
    duration: tuple[float, float],
) -> Iterator[Planned]:
    """One kind of fault, again and again. The first one comes after half a pause, so that what is
    regular does not always meet the same other fault."""
    random = Random(f"{seed}/{fault.value}")  # noqa: S311 - a plan, no secret
    instants = accumulate(
        iter(lambda: random.uniform(*pause), None), initial=random.uniform(*pause) / 2
    )
    for at in takewhile(lambda instant: instant < seconds, instants):
        yield Planned(at, fault, random.uniform(*duration), random.random())
