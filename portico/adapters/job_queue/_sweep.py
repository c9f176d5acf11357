"""Finding wanted jobs behind any number of unwanted ones, a bounded number at each exchange.

    first jobs of the queue │ …… passed over before …… │ the next portion │ …… not seen yet ……
    looked at each time       (their types: where they     looked at now
                               begin is remembered)

Pure but for the clock. A store has no index by type, for every job would pay for it; so the jobs
that wait are looked through in portions, and what was passed over is not looked at again at the
next exchange. What comes in among those (a job of another priority, one that is tried again) is
seen among the first, or when the next sweep comes by.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Hashable, Sequence
from math import inf
from typing import Any, NamedTuple, TypeVar

from portico.adapters.job_queue._taking import Taking
from portico.ports.wanted import Wanted

PORTION = 512
"""Jobs that are looked at in one go; an exchange does so three times at most per queue."""
_REST, _REST_PER_SWEEP = 1.0, 10.0
"""Seconds until the next sweep, at least; and how much longer than a sweep the rest is."""
_MOST_TYPES = 1000
"""Types of which it is remembered where they begin."""

Mark = tuple[Any, ...]
"""A job's place among those that wait: marks sort as jobs start."""
HEAD: Mark = ()
"""Before every other."""


class Candidate(NamedTuple):
    """A job that waits and is due."""

    mark: Mark | None
    """`None`: its row is damaged, and whoever leases it finds that out."""
    job_type: str
    key: Hashable
    """By which the store finds it."""


class Found(NamedTuple):
    """The keys of the jobs to lease, in order, and whether there is more to look at."""

    keys: list[Any]
    unseen: bool


T = TypeVar("T")
Looking = Generator[Mark, Sequence[Candidate], T]
"""Yields a mark, and is to be sent the jobs behind it, in order: `PORTION` of them, or all."""


class Sweep:
    """What is known of one queue's waiting jobs, by one owner of leases."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._at: Mark = HEAD
        self._began = 0.0
        self._next = inf
        """When the next sweep begins; endless while one is under way."""
        self._first: dict[str, Mark] = {}
        """Behind which mark the first job is of types that were passed over."""

    def copy(self) -> Sweep:
        """Another one that knows the same: for a look that may have to be repeated."""
        other = Sweep(self._monotonic)
        other._at, other._began, other._next = self._at, self._began, self._next
        other._first = dict(self._first)
        return other

    def look(self, wanted: Wanted, limit: int, held: Collection[Hashable] = ()) -> Looking[Found]:
        """Choose the jobs to lease, at most `limit`; not those that others hold just now."""
        harvest = _Harvest(wanted, limit, held)
        jobs = yield HEAD
        behind, _ = harvest.take_from(jobs, HEAD)
        if len(jobs) < PORTION:
            self._at, self._next = HEAD, inf
            self._first.clear()
            return Found(harvest.keys, unseen=False)
        unseen = False
        known = self._nearest(harvest)
        if known is not None:
            unseen = yield from self._look_for(known, behind, harvest)
        if harvest.wants_more:
            unseen |= yield from self._go_on(behind, harvest)
        return Found(harvest.keys, unseen or not harvest.wants_more)

    def _look_for(self, job_type: str, head_ends: Mark, harvest: _Harvest) -> Looking[bool]:
        """Look where jobs of a type begin that was passed over before, and is wanted now."""
        start = max(self._first.pop(job_type), head_ends)
        jobs = yield start
        end, passed = harvest.take_from(jobs, start)
        self._remember(passed)
        if len(jobs) < PORTION and harvest.wants_more:
            return False
        self._first.setdefault(job_type, end)
        return not harvest.keys

    def _go_on(self, head_ends: Mark, harvest: _Harvest) -> Looking[bool]:
        """The next portion that this sweep has not seen."""
        now = self._monotonic()
        if now >= self._next:
            self._at, self._next = HEAD, inf
        if self._at == HEAD:
            self._began = now
        start = max(self._at, head_ends)
        jobs = yield start
        self._at, passed = harvest.take_from(jobs, start)
        self._remember(passed)
        if len(jobs) == PORTION or not harvest.wants_more:
            return True
        if self._next == inf:
            now = self._monotonic()
            self._next = now + max(_REST, _REST_PER_SWEEP * (now - self._began))
        return False

    def _nearest(self, harvest: _Harvest) -> str | None:
        """Of the types that were passed over, and may be taken now, the one that comes first."""
        known = [(mark, kind) for kind, mark in self._first.items() if harvest.wants(kind)]
        return min(known)[1] if known else None

    def _remember(self, passed: dict[str, Mark]) -> None:
        for kind, mark in passed.items():
            known = self._first.get(kind)
            if known is None and len(self._first) >= _MOST_TYPES:
                continue
            self._first[kind] = mark if known is None else min(known, mark)


class _Harvest:
    """What one look takes, and in which portions it has seen it."""

    def __init__(self, wanted: Wanted, limit: int, held: Collection[Hashable]) -> None:
        self._taking = Taking(wanted, limit)
        self.wants = self._taking.wants
        self.keys: list[Any] = []
        self._known: set[Any] = set(held)

    @property
    def wants_more(self) -> bool:
        """Whether the limit is not reached."""
        return self._taking.wants_more

    def take_from(self, jobs: Collection[Candidate], start: Mark) -> tuple[Mark, dict[str, Mark]]:
        """Take what is wanted of these; how far it came, and the marks before the first job of each
        type that it passed over."""
        at, passed = start, dict[str, Mark]()
        for mark, kind, key in jobs:
            if not self.wants_more:
                break
            if key not in self._known:
                if mark is None or self.wants(kind):
                    self._taking.count(kind)
                    self._known.add(key)
                    self.keys.append(key)
                else:
                    passed.setdefault(kind, at)
            at = mark or at
        return at, passed


class Sweeps:
    """Those of all queues."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._of: dict[str, Sweep] = {}

    def of(self, queue: str) -> Sweep:
        """That of one queue."""
        return self._of.setdefault(queue, Sweep(self._monotonic))

    def forget(self) -> None:
        """What was chosen may not have been leased, or be given back: begin anew."""
        self._of.clear()

    def keep(self, queue: str, sweep: Sweep) -> None:
        """What a copy has seen is what is known now."""
        self._of[queue] = sweep
