"""Why an attempt did not end its job: what its counters say, matched with what was done to it.

Each end that led to another execution needs two things: an event that the store has counted, and
a fault of the nemesis or a misdeed of the handler that brings such an event about. One event
explains one end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from itertools import pairwise
from math import inf
from typing import NamedTuple

from benchmarks.soak import ledger
from benchmarks.soak.ledger import Attempt
from benchmarks.soak.nemesis import Action, Fault
from portico.ports.job import JobStatus
from portico.ports.leasing import JobRecord

CRASH, EXPIRY, RETRY = "crash", "expiry", "retry"
"""What the store counts. Releases and snoozes explain no second execution here: nobody shuts a
supervisor down while jobs run, and every type is served."""

_SLACK = 1.0
"""Seconds by which a worker may outlive its supervisor, or a line of the ledger its writer."""


class Cause(Enum):
    """What was done to an attempt, and what the store has to count for it."""

    RAISED = "handler raised", RETRY
    OVERDUE = "ran past its deadline", RETRY
    SUICIDE = "handler killed its worker", CRASH
    WORKER_KILLED = "worker killed", CRASH
    SUPERVISOR_KILLED = "supervisor killed", EXPIRY
    SUPERVISOR_PAUSED = "supervisor paused", EXPIRY
    STORE_HELD = "store held for longer than a lease", EXPIRY

    @property
    def text(self) -> str:
        """For people to read."""
        return self.value[0]

    @property
    def event(self) -> str:
        """What the store counts."""
        return self.value[1]


class Hit(NamedTuple):
    """A cause, and when it was set."""

    cause: Cause
    at: float


class Repeat(NamedTuple):
    """An attempt that did not end its job, and when the next one began: never, for the last."""

    attempt: Attempt
    next_at: float
    hits: tuple[Hit, ...]


class Limits(NamedTuple):
    """What the supervisors were told, in seconds."""

    lease: float
    job_timeout: float
    expires_alone: bool = False
    """Leases run out while the store is kept from answering, whoever lives."""


def repeats(
    attempts: Sequence[Attempt], record: JobRecord, actions: Sequence[Action], limits: Limits
) -> list[Repeat]:
    """The attempts of a job that need an explanation: all but one that ended it well."""
    found = [
        _repeat(attempt, following.at, actions, limits) for attempt, following in pairwise(attempts)
    ]
    last = attempts[-1] if attempts else None
    dead = record.job.status is JobStatus.DEAD_LETTER
    if last and dead and last.begin.retry_count == record.job.retry_count:
        found.append(_repeat(last, inf, actions, limits))
    return found


def supply(record: JobRecord) -> Counter[str]:
    """How often each event was counted. A crash or an expiry is among the retries, too, unless it
    was the end of the job."""
    retries = record.job.retry_count + (record.job.status is JobStatus.DEAD_LETTER)
    return +Counter({
        CRASH: record.crash_count,
        EXPIRY: record.expiry_count,
        RETRY: retries - record.crash_count - record.expiry_count,
    })  # fmt: skip


def explain(found: Sequence[Repeat], events: Mapping[str, int]) -> list[Hit | None]:
    """A cause for as many as possible, each event used once; `None` for what has none."""
    if not found:
        return []
    first, rest = found[0], found[1:]
    best: list[Hit | None] = [None, *explain(rest, events)]
    for hit in first.hits:
        if best.count(None) and events.get(hit.cause.event, 0):
            left = {**events, hit.cause.event: events[hit.cause.event] - 1}
            attempt = [hit, *explain(rest, left)]
            best = min(best, attempt, key=lambda hits: hits.count(None))
    return best


def _repeat(attempt: Attempt, next_at: float, actions: Sequence[Action], limits: Limits) -> Repeat:
    hits = [*_misdeeds(attempt, limits)]
    for action in actions:
        cause = _OF_FAULT.get(action.fault)
        if cause and _reaches(action, attempt, next_at, limits):
            hits.append(Hit(cause, action.start))
    hits.sort(key=lambda hit: -hit.at)  # the last that was done to it is the likeliest
    return Repeat(attempt, next_at, tuple(hits))


def _misdeeds(attempt: Attempt, limits: Limits) -> Iterator[Hit]:
    """What the handler did itself. One that is cancelled before its deadline did nothing."""
    for event, cause in _OF_EVENT.items():
        if mark := attempt.find(event):
            yield Hit(cause, mark.at)
    cancelled = attempt.find(ledger.CANCELLED)
    if cancelled and cancelled.at - attempt.at >= limits.job_timeout - 0.05:
        yield Hit(Cause.OVERDUE, cancelled.at)


def _reaches(action: Action, attempt: Attempt, next_at: float, limits: Limits) -> bool:
    """Whether a fault can have ended this attempt: it met its process, and in time."""
    begin = attempt.begin
    latest = max(next_at, begin.at)
    if action.fault is Fault.LOCK:
        long = limits.expires_alone and action.end - action.start > limits.lease / 2
        return long and action.start <= latest and begin.at <= action.end
    if action.fault is Fault.KILL_WORKER:
        return action.pid == begin.pid and begin.at - _SLACK <= action.start <= latest
    if action.supervisor != begin.supervisor:
        return False
    if action.fault is Fault.KILL_SUPERVISOR:
        return begin.at - _SLACK <= action.start <= latest
    return action.start <= latest and begin.at <= action.end + limits.lease


_OF_EVENT: Mapping[str, Cause] = {
    ledger.RAISED: Cause.RAISED,
    ledger.BLOCKING: Cause.OVERDUE,
    ledger.KILLING: Cause.SUICIDE,
}
_OF_FAULT: Mapping[Fault, Cause] = {
    Fault.KILL_WORKER: Cause.WORKER_KILLED,
    Fault.KILL_SUPERVISOR: Cause.SUPERVISOR_KILLED,
    Fault.PAUSE_SUPERVISOR: Cause.SUPERVISOR_PAUSED,
    Fault.LOCK: Cause.STORE_HELD,
}
