"""Queues on paper: how long each job of a sequence waits, given when it comes and what it takes.

Pure functions, without any cost of dispatch. Jobs are given, and their waits returned, in the order
of arrival.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from heapq import heapreplace
from typing import NamedTuple


class Arrival(NamedTuple):
    """A job: the instant it comes, and the seconds it takes."""

    at: float
    service: float


def central(jobs: Sequence[Arrival], workers: int) -> list[float]:
    """One queue for all workers: whoever is free takes the oldest job. Nothing without knowledge
    of the run times does better for jobs that wait in order of arrival."""
    free = [0.0] * workers
    waits = []
    for at, service in jobs:
        start = max(at, free[0])
        heapreplace(free, start + service)
        waits.append(start - at)
    return waits


def prefetching(jobs: Sequence[Arrival], workers: int, prefetch: int) -> list[float]:
    """Workers that hold `prefetch` jobs each, the running one among them, and give none back.

    A job goes to the next worker in turn that has room, when it comes or when there is room again.
    """
    ends: list[deque[float]] = [deque() for _ in range(workers)]
    turn, now = 0, 0.0
    waits = []
    for at, service in jobs:
        now = max(now, at)
        if all(len(_held(mine, now)) >= prefetch for mine in ends):
            now = min(mine[0] for mine in ends)
        while len(_held(ends[turn], now)) >= prefetch:
            turn = (turn + 1) % workers
        mine = ends[turn]
        start = max(now, mine[-1]) if mine else now
        mine.append(start + service)
        waits.append(start - at)
        turn = (turn + 1) % workers
    return waits


def _held(ends: deque[float], now: float) -> deque[float]:
    """What a worker still holds, by when each job will have ended."""
    while ends and ends[0] <= now:
        ends.popleft()
    return ends
