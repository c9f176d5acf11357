"""Which job types are leased here: those that are served, as far as that is known, and of which
there is room for more."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from inspect import signature

from portico.kits.job import settlement
from portico.ports.job_executor import Outcome, Unroutable
from portico.ports.job_queue import JobQueueAdapter
from portico.ports.wanted import EVERYTHING, Wanted

_MOST = 100
"""Types that are left out at a time; what is put off beyond them is put off again and again."""


class Served:
    """What a lease step is to give out.

    A type of which a job had to be put off, for nobody here serves it, is not leased again for as
    long as that job is put off. Then somebody looks again: another release may serve it by now, and
    what nobody serves is dead-lettered in the end.
    """

    def __init__(self, queue: JobQueueAdapter) -> None:
        self.can_choose = "wanted" in signature(queue.exchange).parameters
        """Whether the store can leave types out."""
        self._only: frozenset[str] | None = None
        self._unserved: dict[str, float] = {}
        """Types that nobody serves, and until when they are left out."""

    def serve_only(self, types: Iterable[str]) -> None:
        """Lease jobs of these types and leave all others to others."""
        self._only = frozenset(types)

    def put_off(self, outcomes: Iterable[Outcome], now: float) -> None:
        """These attempts have ended, some of them because nobody serves their type."""
        for lease, verdict, *_ in outcomes:
            if type(verdict) is Unroutable and len(self._unserved) < _MOST:
                self._unserved[lease.job_type] = now + settlement.SNOOZE_DELAY

    def wanted(self, now: float, room: Mapping[str, int] | None = None) -> Wanted:
        """The types to ask for; `room` says of which no more than so many."""
        if not self.can_choose:
            return EVERYTHING
        served = self._served(now)
        return served.within(room) if room else served

    def _served(self, now: float) -> Wanted:
        if self._only is not None:
            return Wanted(self._only, only=True)
        if not self._unserved:
            return EVERYTHING
        self._unserved = {kind: until for kind, until in self._unserved.items() if until > now}
        return Wanted(frozenset(self._unserved))
