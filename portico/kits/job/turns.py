"""How many jobs of a type may run at a time here, and when those that have to wait come again.

Pure. The next ones over the limit are kept aside, so that one begins as soon as one ends; the
others of a flood would be kept from everybody else, and stay in the store, where they are asked for
as there is room. From a store that cannot leave a type out they come all the same, and go back
until their turn. Turns are given out at the pace at which jobs of the type end, so that a flood
costs the store no more than its jobs would.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

SHORTEST, LONGEST = 1.0, 300.0
"""Seconds that a job waits for its turn. What would come later comes round in between, for the
pace may change."""
MOST_SOON = 2048
"""Jobs of a type that have their turn soon, at most."""
EASE = 10.0
"""Seconds for which a type counts as one of which no more than there is room for may be leased; of
others it may turn out that too many came, and those go back."""


class Turns:
    """The limits of job types, what runs, and whose turn is when."""

    def __init__(self, limits: Mapping[str, int] | None = None) -> None:
        self.limits: Mapping[str, int] = limits or {}
        self._running: Counter[str] = Counter()
        self._next: dict[str, float] = {}
        self._pressed: dict[str, float] = {}
        """Types of which as many ran as may, and until when that counts."""

    @property
    def at_limit(self) -> dict[str, int]:
        """The types of which as many ran as may, when last asked for their room, and how many."""
        return {kind: self.limits[kind] for kind in self._pressed if kind in self.limits}

    def full(self, job_type: str) -> bool:
        """Whether no further job of this type may begin."""
        limit = self.limits.get(job_type)
        return limit is not None and self._running[job_type] >= limit

    def begin(self, job_type: str) -> None:
        """One more of them runs, or is about to."""
        if job_type in self.limits:
            self._running[job_type] += 1

    def end(self, job_type: str) -> None:
        """One of them runs no more."""
        if self._running[job_type] > 0:
            self._running[job_type] -= 1

    def soon(self, job_type: str, takes: float | None) -> int:
        """How many that wait for their turn have it soon: the next of each that runs, and as many
        of short ones as end before another could come back from the store."""
        limit = self.limits[job_type]
        rounds = 1.0 if not takes else max(1.0, 2 * SHORTEST / takes)
        return min(MOST_SOON, int(limit * rounds))

    def room(
        self, waiting: Mapping[str, int], soon: Callable[[str], int], now: float
    ) -> dict[str, int]:
        """How many more to lease of the types of which as many run as may, or did lately.

        Args:
            waiting: how many of a type wait here already.
            soon: how many of a type may wait here.
            now: seconds on a monotonic clock.
        """
        for job_type in self.limits:
            if self.full(job_type):
                self._pressed[job_type] = now + EASE
        pressed = [kind for kind, until in self._pressed.items() if until > now]
        self._pressed = {kind: self._pressed[kind] for kind in pressed if kind in self.limits}
        return {
            kind: max(
                0, self.limits[kind] - self._running[kind] + soon(kind) - waiting.get(kind, 0)
            )
            for kind in self._pressed
        }

    def delay(self, job_type: str, takes: float | None, now: float) -> float:
        """Seconds until the turn of one more job that has to wait.

        Args:
            job_type: one with a limit; of others one may run at a time.
            takes: seconds that its jobs take; `None` when that is not known yet.
            now: seconds on a monotonic clock.
        """
        pace = (SHORTEST if takes is None else takes) / self.limits.get(job_type, 1)
        turn = max(self._next.get(job_type, now), now) + pace
        self._next[job_type] = turn
        wait = turn - now
        if wait > LONGEST:
            wait = LONGEST / 2 + wait % (LONGEST / 2)  # spread: they must not all come at once
        return max(SHORTEST, wait)
