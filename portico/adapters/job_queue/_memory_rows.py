"""Rows in memory, and the heaps that keep the waiting ones in order."""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from itertools import chain, count

from portico.adapters.job_queue._attempts import StoredAttempt, stored_attempt
from portico.adapters.job_queue._rows import RETRYING, SCHEDULED, STATUS, StoredJob
from portico.adapters.job_queue._taking import Taking
from portico.ports.leasing import MAX_HISTORY, Failure
from portico.ports.wanted import EVERYTHING, Wanted

_places = count(1)
_LATER = frozenset({SCHEDULED, RETRYING})


@dataclass(slots=True)
class MemoryRow(StoredJob):
    """A row, its place among the waiting ones (0: it does not wait), its newest attempt's token and
    lease's end, and how its attempts ended but for a successful one."""

    place: int = 0
    token: bytes | None = None
    expires: float = 0.0
    history: tuple[StoredAttempt, ...] = ()

    def remember(self, ended_as: str, failure: Failure | None, now: int) -> None:
        """Note how the running attempt ends."""
        attempt = stored_attempt(self.attempt, self.started_at, self.owner, ended_as, failure, now)
        self.history = (*self.history, attempt)[-MAX_HISTORY:]


Entry = tuple[int, int, int, MemoryRow]
"""A row that waits: due since or from, its number, its place, and the row itself."""


class Lane:
    """Rows of one priority, the oldest first. Nearly all come in that order, and cost no heap."""

    __slots__ = ("_in_order", "_others")

    def __init__(self) -> None:
        self._in_order: deque[Entry] = deque()
        self._others: list[Entry] = []

    def __len__(self) -> int:
        return len(self._in_order) + len(self._others)

    def push(self, entry: Entry) -> None:
        """Let a row wait."""
        if not self._in_order or entry > self._in_order[-1]:
            self._in_order.append(entry)
        else:
            heappush(self._others, entry)

    def pop(self) -> Entry:
        """The row that has waited longest; there must be one."""
        others, in_order = self._others, self._in_order
        if others and not (in_order and in_order[0] < others[0]):
            return heappop(others)
        return in_order.popleft()

    def peek(self) -> Entry:
        """The same, and it goes on waiting."""
        others, in_order = self._others, self._in_order
        if others and not (in_order and in_order[0] < others[0]):
            return others[0]
        return in_order[0]

    def forget_stale(self) -> None:
        """Drop the entries of rows that do not wait any more."""
        self._in_order = deque(filter(_waits, self._in_order))
        self._others = list(filter(_waits, self._others))
        heapify(self._others)


class MemoryQueue:
    """The rows of one queue that wait, and how many rows are in each status.

    A row that stops waiting leaves its entry behind; an entry counts only while its row has the
    very place that the entry was made for.
    """

    __slots__ = ("_aside", "_lanes", "_later", "_priorities", "_stale", "counts")

    def __init__(self) -> None:
        self.counts = dict.fromkeys(STATUS, 0)
        self._lanes: dict[int, Lane] = {}
        self._aside: dict[int, dict[str, Lane]] = {}
        """By priority and type, what was passed over: it is not looked at again until wanted."""
        self._priorities: list[int] = []
        """Negative, of the lanes that are not empty: the first is to be served first."""
        self._later: list[Entry] = []
        self._stale = 0

    def push(self, row: MemoryRow) -> None:
        """Let a row wait for its turn."""
        row.place = place = next(_places)
        entry = (row.run_at, row.seq, place, row)
        if row.status in _LATER:
            heappush(self._later, entry)
        else:
            self._let_wait(entry)

    def take(self, limit: int, now: int, wanted: Wanted = EVERYTHING) -> Iterator[MemoryRow]:
        """The rows to start next, at most `limit`; they wait no longer."""
        self._promote(now)
        if wanted.everything and not self._aside:
            return self._next(limit, now)
        return self._chosen(Taking(wanted, limit), now)

    def _next(self, limit: int, now: int) -> Iterator[MemoryRow]:
        while limit and self._priorities:
            lane = self._lanes[self._priorities[0]]
            while limit and lane:
                entry = lane.pop()
                row = entry[3]
                if row.place != entry[2]:
                    continue
                if row.run_at > now and row.status in _LATER:  # the clock was set back
                    heappush(self._later, entry)
                    continue
                row.place = 0
                limit -= 1
                yield row
            if not lane:
                del self._lanes[self._priorities.pop(0)]

    def _chosen(self, taking: Taking, now: int) -> Iterator[MemoryRow]:
        for level in list(self._priorities):
            while (lane := self._first_lane(level, taking, now)) is not None:
                row = lane.pop()[3]
                row.place = 0
                taking.count(row.job_type)
                yield row
            if not taking.wants_more:
                return
            if level not in self._aside:
                del self._lanes[level]
                self._priorities.remove(level)

    def _first_lane(self, level: int, taking: Taking, now: int) -> Lane | None:
        """The one of this priority from which the next row comes, if one is wanted."""
        if not taking.wants_more:
            return None
        lane, aside = self._lanes[level], self._aside.get(level, {})
        while self._waits_in(lane, now) and not taking.wants(kind := lane.peek()[3].job_type):
            aside = self._aside.setdefault(level, aside)
            aside.setdefault(kind, Lane()).push(lane.pop())
        found = [lane] if lane else []
        for kind in [kind for kind in aside if taking.wants(kind)]:
            if self._waits_in(aside[kind], now):
                found.append(aside[kind])
            else:
                del aside[kind]
        if not aside:
            self._aside.pop(level, None)
        return min(found, key=Lane.peek, default=None)

    def _waits_in(self, lane: Lane, now: int) -> bool:
        """Whether a row waits in it; then the first does."""
        while lane:
            row = (entry := lane.peek())[3]
            if row.place == entry[2]:
                if row.run_at <= now or row.status not in _LATER:
                    return True
                heappush(self._later, entry)  # the clock was set back
            lane.pop()
        return False

    def drop(self, row: MemoryRow) -> None:
        """A row waits no longer."""
        row.place = 0
        self._stale += 1
        lanes = [*self._lanes.values(), *chain(*(aside.values() for aside in self._aside.values()))]
        if self._stale * 2 > len(self._later) + sum(map(len, lanes)):
            for lane in lanes:
                lane.forget_stale()
            self._later = list(filter(_waits, self._later))
            heapify(self._later)
            self._stale = 0

    def next_due(self) -> int | None:
        """When the next row will be due that is not yet."""
        later = self._later
        while later and not _waits(later[0]):
            heappop(later)
        return later[0][0] if later else None

    def _promote(self, now: int) -> None:
        later = self._later
        while later and later[0][0] <= now:
            entry = heappop(later)
            if _waits(entry):
                self._let_wait(entry)

    def _let_wait(self, entry: Entry) -> None:
        level = -entry[3].priority
        lane = self._lanes.get(level)
        if lane is None:
            lane = self._lanes[level] = Lane()
            insort(self._priorities, level)
        lane.push(entry)


def _waits(entry: Entry) -> bool:
    return entry[3].place == entry[2]
