"""The verdict on a soak: a pure function of the ledger, the store and the nemesis's log."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import NamedTuple

from benchmarks.soak import ledger
from benchmarks.soak.causes import Cause, Limits
from benchmarks.soak.checks import CHECKS, Case, case_of
from benchmarks.soak.ledger import Mark
from benchmarks.soak.nemesis import Action, Fault
from benchmarks.soak.witness import Change
from portico.ports.leasing import JobRecord

LONG = 90.0
"""Seconds after which a soak must have seen a lease being taken from a supervisor that lives."""
_OFTEN = 2
_FENCED = ("lease_lost", "settlement_refused")
"""What a supervisor logs that comes too late: when it renews, or when it settles."""
_FORBIDDEN = (
    "could_not_give_back", "frame_invalid", "jobs_unsettled", "on_failure_overdue",
    "request_failed", "settlements_given_up", "worker_unresponsive",
)  # fmt: skip
"""Log events that no fault of the nemesis excuses."""


@dataclass(frozen=True, kw_only=True)
class Observed:
    """All that was seen of a soak."""

    marks: Sequence[Mark]
    records: Mapping[str, JobRecord]
    changes: Sequence[Change]
    actions: Sequence[Action]
    limits: Limits
    seconds: float = 0.0
    """How long there were faults."""
    events: Mapping[str, int] = field(default_factory=dict)
    """How often each event stands in the supervisors' logs."""
    residue: Sequence[str] = ()
    """What should not be left, or should not have happened, outside of the jobs."""


class Violation(NamedTuple):
    """One thing that is wrong; `job_id` is empty when it is about no job in particular."""

    kind: str
    text: str
    job_id: str = ""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a soak has shown."""

    violations: Sequence[Violation]
    executed: int
    returned: int
    recovered: int
    """Jobs that exist though their `enqueue` raised or never returned."""
    dead: int
    duplicates: Mapping[Cause, int]
    delays: Mapping[Cause, Sequence[float]]
    """Seconds from a kill to the next execution of the job that it hit."""

    def count(self, kind: str) -> int:
        """How many violations of this kind."""
        return sum(violation.kind == kind for violation in self.violations)


def judge(observed: Observed) -> Verdict:
    """Judge a soak."""
    marks = ledger.by_job(observed.marks)
    changes: dict[str, list[Change]] = defaultdict(list)
    for change in observed.changes:
        changes[change.job_id].append(change)
    cases = [
        case_of(
            record, marks.get(job_id, ()), changes[job_id], observed.actions, observed.limits
        )
        for job_id, record in observed.records.items()
    ]  # fmt: skip
    returned = {mark.job_id for mark in observed.marks if mark.event == ledger.RETURNED}
    violations = [
        *_missing(returned, observed.records),
        *_unexpected(marks, cases),
        *(v for case in cases for v in _of_case(case)),
        *_uncaused(observed),
        *(Violation("residue", text) for text in observed.residue),
        *_forbidden(observed.events),
        *_idle(observed),
    ]
    return Verdict(
        violations=violations,
        executed=sum(mark.event == ledger.BEGIN for mark in observed.marks),
        returned=len(returned),
        recovered=len(observed.records.keys() - returned),
        dead=sum(case.record.job.status.value == "dead_letter" for case in cases),
        duplicates=_duplicates(cases),
        delays=_delays(cases),
    )


def _of_case(case: Case) -> Iterator[Violation]:
    for kind, check in CHECKS.items():
        for text in check(case):
            yield Violation(kind, text, case.job_id)


def _missing(returned: set[str], records: Mapping[str, JobRecord]) -> Iterator[Violation]:
    for job_id in sorted(returned - records.keys()):
        yield Violation("lost", "its enqueue returned, and the store does not know it", job_id)


def _unexpected(marks: Mapping[str, Sequence[Mark]], cases: Sequence[Case]) -> Iterator[Violation]:
    for case in cases:
        if not case.tried:
            yield Violation("unexpected", "it exists, and nobody created it", case.job_id)
    known = {case.job_id for case in cases}
    for job_id, found in marks.items():
        if job_id not in known and any(mark.event == ledger.BEGIN for mark in found):
            yield Violation("unexpected", "it was executed, and does not exist", job_id)


def _uncaused(observed: Observed) -> Iterator[Violation]:
    """Events that the store has counted and that nobody has caused, executed or not."""
    crashes = [change for change in observed.changes if change.how == "crash"]
    deaths = sum(action.fault is Fault.KILL_WORKER for action in observed.actions)
    deaths += sum(mark.event == ledger.KILLING for mark in observed.marks)
    if len(crashes) > deaths:
        text = f"{len(crashes)} attempts are charged with a crash, and {deaths} workers died"
        yield Violation("uncaused", text)
    for change in observed.changes:
        if change.how == "expire" and not _lapsed(change, observed):
            text = f"its lease ran out under a supervisor that nobody had stopped: {change}"
            yield Violation("uncaused", text, change.job_id)


def _lapsed(expiry: Change, observed: Observed) -> bool:
    """Whether the owner of an expired lease had been killed before, or stopped, or the store was
    kept from answering for longer than a lease holds."""
    return _held_up(expiry, observed) or any(
        action.start <= expiry.at <= until
        for action in observed.actions
        if action.pid == expiry.owner or not expiry.owner
        for until in [_until(action, observed.limits)]
    )


def _held_up(expiry: Change, observed: Observed) -> bool:
    lease = observed.limits.lease
    return observed.limits.expires_alone and any(
        action.fault is Fault.LOCK and action.start <= expiry.at <= action.end + lease
        for action in observed.actions
    )


def _until(action: Action, limits: Limits) -> float:
    """Until when an action can make the leases of its victim run out."""
    if action.fault is Fault.KILL_SUPERVISOR:
        return inf
    return action.end + limits.lease if action.fault is Fault.PAUSE_SUPERVISOR else -inf


def _forbidden(events: Mapping[str, int]) -> Iterator[Violation]:
    for event in _FORBIDDEN:
        if events.get(event):
            yield Violation("log", f"{event} stands {events[event]} times in the logs")


def _idle(observed: Observed) -> Iterator[Violation]:
    """What the soak claims to have done, and has not: then its verdict means little."""
    done = Counter(action.fault for action in observed.actions)
    for fault in Fault:
        if done[fault] < _OFTEN:
            yield Violation("not exercised", f"{fault.value}: {done[fault]} times")
    ways = Counter(change.how for change in observed.changes)
    for way in ("crash", "expire", "retry", "complete"):
        if not ways[way]:
            yield Violation("not exercised", f"no attempt has ended by {way}")
    noticed = sum(observed.events.get(event, 0) for event in _FENCED)
    if observed.seconds >= LONG and not noticed:
        yield Violation("not exercised", "no supervisor has noticed that it had lost a lease")


def _duplicates(cases: Sequence[Case]) -> dict[Cause, int]:
    """Executions after the first, by what made them necessary."""
    found = Counter(
        hit.cause
        for case in cases
        for repeat, hit in zip(case.repeats, case.hits, strict=True)
        if hit and repeat.next_at < inf
    )
    return {cause: found[cause] for cause in Cause}


def _delays(cases: Sequence[Case]) -> dict[Cause, list[float]]:
    found: dict[Cause, list[float]] = {
        Cause.WORKER_KILLED: [], Cause.SUPERVISOR_KILLED: [], Cause.SUPERVISOR_PAUSED: []
    }  # fmt: skip
    for case in cases:
        for repeat, hit in zip(case.repeats, case.hits, strict=True):
            if hit and hit.cause in found and repeat.next_at < inf:
                found[hit.cause].append(repeat.next_at - hit.at)
    return found
