"""What must hold of one job after a soak: each check yields what is wrong, in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from benchmarks.soak import ledger
from benchmarks.soak.causes import Hit, Limits, Repeat, explain, repeats, supply
from benchmarks.soak.ledger import Attempt, Mark
from benchmarks.soak.nemesis import Action
from benchmarks.soak.witness import Change
from portico.ports.job import TERMINAL, JobStatus
from portico.ports.leasing import MAX_CRASHES, MAX_EXPIRIES, JobRecord

_SLACK = 0.25
"""Seconds by which the store's wall clock may be off the ledger's."""
_TERMINAL = frozenset(status.value for status in TERMINAL)


class Case(NamedTuple):
    """One job that the store has, with all that is known of it."""

    job_id: str
    marks: Sequence[Mark]
    record: JobRecord
    changes: Sequence[Change]
    attempts: Sequence[Attempt]
    repeats: Sequence[Repeat]
    hits: Sequence[Hit | None]
    """The cause of each repeat."""

    @property
    def tried(self) -> bool:
        """Whether anybody wanted it."""
        return any(mark.event == ledger.TRYING for mark in self.marks)


def case_of(
    record: JobRecord,
    marks: Sequence[Mark],
    changes: Sequence[Change],
    actions: Sequence[Action],
    limits: Limits,
) -> Case:
    """Gather what is known of a job, and find the causes of its repeats."""
    attempts = ledger.attempts(marks)
    found = repeats(attempts, record, actions, limits)
    hits = explain(found, supply(record))
    return Case(str(record.job.id), marks, record, changes, attempts, found, hits)


def ends(case: Case) -> Iterator[str]:
    """It has ended, and as it had to: nobody here returns a failure or cancels a job, so it is
    COMPLETED, or a limit was reached."""
    job, record = case.record.job, case.record
    if job.status not in TERMINAL:
        yield f"it is still {job.status.value}"
    elif job.status is JobStatus.FAILED:
        yield f"it is failed, and nothing that was done to it fails a job: {job.error_message}"
    elif job.status is JobStatus.DEAD_LETTER and not (
        job.retry_count >= job.max_retries
        or record.crash_count >= MAX_CRASHES
        or record.expiry_count >= MAX_EXPIRIES
    ):
        yield f"it is dead-lettered within its limits: {job.error_message}"


def works(case: Case) -> Iterator[str]:
    """COMPLETED means that a handler has come to its end, in the attempt that held the lease: a
    retry count tells it from an attempt whose lease had run out."""
    ends = [mark for mark in case.marks if mark.event == ledger.END]
    for change in case.changes:
        if change.new == JobStatus.COMPLETED.value and not any(
            end.retry_count == case.record.job.retry_count and end.at <= change.at + _SLACK
            for end in ends
        ):
            yield "it is completed, and no handler of the last attempt had ended"


def counts(case: Case) -> Iterator[str]:
    """The counters agree with each other and with their limits."""
    record, job = case.record, case.record.job
    if not record.accounted:
        yield f"attempt {record.attempt} is not the sum of its counters"
    if job.retry_count > job.max_retries:
        yield f"{job.retry_count} retries, allowed are {job.max_retries}"
    if record.crash_count > MAX_CRASHES or record.expiry_count > MAX_EXPIRIES:
        yield f"{record.crash_count} crashes and {record.expiry_count} expiries are over a limit"
    fatal = job.status is JobStatus.DEAD_LETTER
    if record.crash_count + record.expiry_count > job.retry_count + fatal:
        yield "more crashes and expiries than retries: some of them were not charged"


def begins(case: Case) -> Iterator[str]:
    """No execution without an attempt. (A crash and an expiry are retries, and not counted again.)

    `max_retries=0` promises more: never twice, whatever is released in between.
    """
    record, job, number = case.record, case.record.job, len(case.attempts)
    explained = 1 + job.retry_count + record.release_count + record.snooze_count
    if number > min(explained, record.attempt):
        yield f"{number} executions, and its counters explain {explained}"
    if job.max_retries == 0 and number > 1:
        yield f"{number} executions of a job that must not start twice"


def ends_once(case: Case) -> Iterator[str]:
    """A terminal status is written once, and is the one that stands."""
    ended = [change for change in case.changes if change.new in _TERMINAL]
    if len(ended) > 1:
        yield f"{len(ended)} times ended: " + "; ".join(map(str, ended))
    status = case.record.job.status
    if status in TERMINAL and [change.new for change in ended[-1:]] != [status.value]:
        yield "the status that stands was not written by any change"
    for change in case.changes:
        if change.old in _TERMINAL:
            yield f"it had ended, and was changed: {change}"


def is_explained(case: Case) -> Iterator[str]:
    """Each repeat has a cause."""
    for repeat, hit in zip(case.repeats, case.hits, strict=True):
        if hit is None:
            done = ", ".join(sorted({h.cause.text for h in repeat.hits})) or "nothing"
            events = dict(supply(case.record)) or "nothing"
            yield (
                f"the attempt of process {repeat.attempt.begin.pid} at {repeat.attempt.at:.3f} "
                f"did not end it; counted are {events}, done to it was {done}"
            )


CHECKS: dict[str, Callable[[Case], Iterator[str]]] = {
    "lost": ends,
    "completed without work": works,
    "miscounted": counts,
    "executed too often": begins,
    "ended twice": ends_once,
    "unexplained": is_explained,
}
"""By what a violation of it is called."""
