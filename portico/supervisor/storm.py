"""Deaths in a storm: how long to wait with the next start. Pure."""

from __future__ import annotations

from collections import deque

WINDOW = 10.0
_LONGEST = 2.0
"""A poison job is dead-lettered after three crashes, so this protects the machine from a flood of
them without keeping the healthy jobs waiting for long. All in seconds."""
_ALLOWED, _PER_WORKER = 10, 5


class Storm:
    """The deaths of the last seconds."""

    def __init__(self) -> None:
        self._deaths: deque[float] = deque()

    def __len__(self) -> int:
        return len(self._deaths)

    def pause(self, now: float, workers: int) -> float:
        """Take note of a death; none for the first ones, growing when more and more come."""
        self._deaths.append(now)
        while now - self._deaths[0] > WINDOW:
            self._deaths.popleft()
        excess = len(self._deaths) - (_ALLOWED + _PER_WORKER * workers)
        return 0.0 if excess < 0 else min(_LONGEST, 0.05 * 2.0 ** min(excess, 10))
