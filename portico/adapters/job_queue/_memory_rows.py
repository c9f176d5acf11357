"""Rows in memory, and the heaps that keep the waiting ones in order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from itertools import count

from portico.adapters.job_queue._attempts import StoredAttempt, stored_attempt
from portico.adapters.job_queue._rows import RETRYING, SCHEDULED, STATUS, StoredJob
from portico.ports.leasing import MAX_HISTORY, Failure

_places = count(1)
_LATER = frozenset({SCHEDULED, RETRYING})


@dataclass(slots=True)
class MemoryRow(StoredJob):
    """A row, its place among the waiting ones (0: it does not wait), its lease's end, and how its
    attempts ended but for a successful one."""

    place: int = 0
    expires: float = 0.0
    history: tuple[StoredAttempt, ...] = ()

    def remember(self, ended_as: str, failure: Failure | None, now: int) -> None:
        """Note how the running attempt ends."""
        attempt = stored_attempt(self.attempt, self.started_at, self.owner, ended_as, failure, now)
        self.history = (*self.history, attempt)[-MAX_HISTORY:]


class MemoryQueue:
    """The rows of one queue that wait, and how many rows are in each status.

    A row that stops waiting leaves its heap entry behind; an entry counts only while its row has
    the very place that the entry was made for.
    """

    __slots__ = ("_due", "_later", "_stale", "counts")

    def __init__(self) -> None:
        self.counts = dict.fromkeys(STATUS, 0)
        self._due: list[tuple[int, int, int, int, MemoryRow]] = []
        self._later: list[tuple[int, int, int, MemoryRow]] = []
        self._stale = 0

    def push(self, row: MemoryRow) -> None:
        """Let a row wait for its turn."""
        row.place = place = next(_places)
        if row.status in _LATER:
            heappush(self._later, (row.run_at, row.seq, place, row))
        else:
            heappush(self._due, (-row.priority, row.run_at, row.seq, place, row))

    def take(self, limit: int, now: int) -> Iterator[MemoryRow]:
        """The rows to start next, at most `limit`; they wait no longer."""
        self._promote(now)
        due = self._due
        while limit and due:
            _, _, _, place, row = heappop(due)
            if row.place != place:
                continue
            if row.status in _LATER and row.run_at > now:  # the clock was set back
                heappush(self._later, (row.run_at, row.seq, place, row))
                continue
            row.place = 0
            limit -= 1
            yield row

    def drop(self, row: MemoryRow) -> None:
        """A row waits no longer."""
        row.place = 0
        self._stale += 1
        if self._stale * 2 > len(self._due) + len(self._later):
            self._due = [entry for entry in self._due if entry[4].place == entry[3]]
            self._later = [entry for entry in self._later if entry[3].place == entry[2]]
            heapify(self._due)
            heapify(self._later)
            self._stale = 0

    def next_due(self) -> int | None:
        """When the next row will be due that is not yet."""
        later = self._later
        while later and later[0][3].place != later[0][2]:
            heappop(later)
        return later[0][0] if later else None

    def _promote(self, now: int) -> None:
        later = self._later
        while later and later[0][0] <= now:
            run_at, seq, place, row = heappop(later)
            if row.place == place:
                heappush(self._due, (-row.priority, run_at, seq, place, row))
