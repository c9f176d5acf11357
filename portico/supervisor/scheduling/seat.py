"""One worker as the scheduler sees it: what it holds, and what it may take."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from math import inf
from typing import NamedTuple

from portico.supervisor.scheduling.assignment import Assignment
from portico.supervisor.scheduling.dispatch import Load

_LATELY = 4
"""Batches: no more, for their payloads are kept."""


class Told(NamedTuple):
    """What a worker has said of its job types, before it ran anything."""

    limits: Mapping[str, Mapping[str, float | None]] = {}
    """The time limits that types have of their own."""
    lone: frozenset[str] = frozenset()
    """The types whose jobs share a worker with nothing."""


class Seat:
    """What one worker holds. The scheduler alone changes it; others may read it."""

    ended_at = 0.0
    """When something ended here last."""
    silent_since: float | None = None
    """When it was seen first that it owes an answer and holds nothing that could keep it."""
    recalling = False
    """It owes the answer to a recall."""
    withdrawn = 0
    """Up to which serial what it has not started was taken from it."""
    withdrawing = False
    """Nobody has looked yet how far it had come by then."""
    condemned = False
    """It is to be killed, or has been."""
    discredited = False
    """It has lied, and is killed for that."""
    told_to_stop = False
    """It was told to stop all that it runs."""
    outgrown = False
    """It has passed the memory ceiling: it gets no more jobs, and goes."""
    birth = 0.02
    """Seconds that it took to get ready."""
    blamed = False
    """It is dead, and it is known which job's doing that was."""

    def __init__(
        self,
        key: int,
        slots: int,
        retire_after: int | None = None,
        retire_above: int | None = None,
        most: int | None = None,
    ) -> None:
        """Make the seat of a worker that is not ready yet.

        Args:
            key: tells this process from all others that the scheduler ever hears of.
            slots: how many jobs it runs at a time.
            retire_after: how many jobs it serves before it is replaced.
            retire_above: bytes of resident memory above which it is replaced.
            most: how many it is given at most, until its replacement is there.
        """
        self.key = key
        self.load = Load(slots, left=inf if most is None else most)
        self.single = most == 1
        """It serves one job in its life, and gets no other in the place of one that it gave back:
        it has seen that one."""
        self.inflight: dict[int, Assignment] = {}
        self.ended: deque[Sequence[Assignment]] = deque(maxlen=_LATELY)
        """What has ended here lately: the worker may have something to say of it yet."""
        self.retire_after = retire_after
        self.retire_above = retire_above
        self.told = Told()

    @property
    def takes(self) -> bool:
        """Whether it takes jobs. One that its page alone has given back what it had a free slot for
        reads nothing at present: what it were sent would lie in the pipe, and come back again."""
        return self.load.takes and not (self.load.blocked and self.recalling)

    @property
    def spent(self) -> bool:
        """Whether it has nothing to do, and gets nothing any more."""
        return not self.inflight and self.load.left <= 0

    def serve_this_alone(self) -> None:
        """Serve what it was given just now, and nothing else in its life."""
        self.load.left, self.retire_after, self.single = 0, 1, True

    def close(self) -> None:
        """Take no more jobs."""
        self.load.open = False

    def holds(self, job_type: str) -> bool:
        """Whether a job of this type is among what it was given."""
        return any(one.lease.job_type == job_type for one in self.inflight.values())

    def __repr__(self) -> str:
        return f"<seat {self.key}, {len(self.inflight)} jobs>"
