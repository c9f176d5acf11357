"""Job types whose jobs share a worker with nothing, before or after them: pure.

Such a job goes to a worker that has been given nothing yet, and is all that this one serves. Where
every worker has run something, one of them is replaced for it; the replacement comes before the old
one goes. While other jobs wait too, they take turns with these at fresh workers: neither keeps the
other from running.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from math import inf

from portico.ports.leasing import Lease
from portico.supervisor.scheduling.events import Command, Recycle
from portico.supervisor.scheduling.seat import Seat

_AGAIN = 1.0
"""Seconds after which another worker is asked for that has not come: its start may have failed."""


class Lone:
    """Whose turn it is at fresh workers, and whether one is on its way."""

    def __init__(self) -> None:
        self.types: frozenset[str] = frozenset()
        self._others_first = False
        self._asked_at = -inf

    def joined(self) -> None:
        """A worker is ready, and fresh."""
        self._asked_at = -inf

    def pairs(
        self,
        waiting: deque[Lease],
        takers: Sequence[Seat],
        full: Callable[[str], bool],
        *,
        others_wait: bool,
    ) -> Iterator[tuple[Seat, Lease]]:
        """Who is to be given which of them now, one after the other: each is given before the next
        is looked for, for it may be the last of its type that may run.

        Args:
            waiting: the jobs of these types, in order.
            takers: the workers that take jobs.
            full: whether no more of a type may run.
            others_wait: whether jobs of other types wait.
        """
        fresh = deque(seat for seat in takers if seat.load.fresh)
        for lease in list(waiting):
            if fresh and others_wait and self._others_first:
                fresh.popleft()  # theirs
                self._others_first = False
            if fresh and not full(lease.job_type):
                waiting.remove(lease)
                self._others_first = True
                yield fresh.popleft(), lease

    def ask(
        self, waiting: Sequence[Lease], takers: Sequence[Seat], full: Callable[[str], bool],
        now: float,
    ) -> list[Command]:  # fmt: skip
        """Have a worker replaced where one of them waits for a fresh one and none is on its way: an
        empty one, or one that is through with what it has soon."""
        wants = any(not full(lease.job_type) for lease in waiting)
        used = [one for one in takers if one.load.takes and not (one.load.fresh or one.load.late)]
        if not wants or not used or now - self._asked_at < _AGAIN:
            return []
        self._asked_at = now
        worker = min(used, key=lambda seat: seat.load.jobs)
        return [Recycle(worker, "a job is to have a worker for itself")]
