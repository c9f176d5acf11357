"""How an attempt ends: the state table of `Transition`, on a row in memory.

A store with a query language says the same in its own words, with the texts from here.
"""

from __future__ import annotations

from typing import NamedTuple

from portico.adapters.job_queue._rows import (
    COMPLETED,
    DEAD_LETTER,
    FAILED,
    PENDING,
    RETRYING,
    SCHEDULED,
    StoredJob,
)
from portico.adapters.job_queue._texts import message_text, traceback_text, type_text
from portico.ports.leasing import (
    CANCELLED,
    MAX_CRASHES,
    MAX_EXPIRIES,
    Failure,
    Settlement,
    Transition,
)

EXPIRE = "expire"
"""What the row says ended an attempt whose lease ran out."""

EXPIRED = Failure("LeaseExpired", "the lease ran out: whoever held it vanished or lost it")

_UNKNOWN = "its outcome is unknown, and it was never to start twice (max_retries=0)"
_UNTOLD = {
    Transition.CRASH.value: "the worker died while it ran this job",
    Transition.INTERRUPT.value: "a shutdown stopped this job",
    Transition.SUSPECT.value: "the worker died while it ran this job and others",
}
_NEVER_TWICE = frozenset({*_UNTOLD, EXPIRE})
_LONGEST_DELAY = 10 * 365 * 86_400.0


class Told(NamedTuple):
    """A failure as it is stored; all `None` when the row keeps what it had."""

    type: str | None
    message: str | None
    traceback: str | None
    last_word: str | None
    """Instead of `message`, when the job was never to start twice and its outcome is unknown."""


_NOTHING = Told(None, None, None, None)


def told(transition: str, failure: Failure | None) -> Told:
    """What to store of a failure."""
    if failure is None and transition not in _UNTOLD:
        return _NOTHING
    type_name, message, traceback, _ = failure or Failure("", _UNTOLD[transition])
    message = message_text(message)
    last_word = (
        f"{message_text(message, len(_UNKNOWN) + 2)}; {_UNKNOWN}"
        if transition in _NEVER_TWICE
        else message
    )
    return Told(
        type_text(type_name) if type_name else None,
        message if failure else None,
        traceback_text(traceback) if traceback else None,
        last_word,
    )


def micros_of(seconds: float) -> int:
    """A delay in microseconds; a negative one or none at all counts as 0."""
    return int(max(0.0, min(seconds, _LONGEST_DELAY)) * 1_000_000)


def settle(row: StoredJob, settlement: Settlement, now: int) -> None:
    """End the running attempt of a row."""
    transition = settlement.transition
    row.settled_as = transition.value
    if transition is Transition.COMPLETE:
        row.result = settlement.result
        _end(row, COMPLETED, now)
        return
    if transition is Transition.CRASH:
        row.crash_count += 1
    status = _next_status(row, settlement, now)
    _note(row, told(transition.value, settlement.failure), dead=status == DEAD_LETTER)
    if status in (DEAD_LETTER, FAILED):
        _end(row, status, now)
    elif status == PENDING:
        row.release_count += 1
        row.suspect = row.suspect or int(transition is Transition.SUSPECT)
    elif status == RETRYING:
        row.retry_count += 1
    else:
        row.snooze_count += 1
    _keep_patience(row, transition, now)
    if status in (RETRYING, SCHEDULED):
        row.run_at = now + micros_of(settlement.delay)
    row.status = status


def expire(row: StoredJob, now: int) -> None:
    """End an attempt whose lease ran out."""
    row.settled_as = EXPIRE
    row.expiry_count += 1
    dead = row.retry_count >= row.max_retries or row.expiry_count >= MAX_EXPIRIES
    _note(row, told(EXPIRE, EXPIRED), dead=dead)
    if dead:
        _end(row, DEAD_LETTER, now)
        return
    row.status, row.run_at = RETRYING, now
    row.retry_count += 1


def cancel(row: StoredJob, now: int) -> None:
    """End a job that waits."""
    row.status, row.ended_at = FAILED, now
    row.error_type, row.error_message, row.traceback = CANCELLED.type, CANCELLED.message, None


def redrive(row: StoredJob, now: int) -> None:
    """Let a job that failed start afresh; its last error stays for people to read."""
    row.status, row.run_at = PENDING, now
    row.retry_count = row.attempt = row.release_count = row.snooze_count = 0
    row.crash_count = row.expiry_count = row.suspect = row.cancel_requested = 0
    row.nonce = row.settled_as = row.snoozed_since = row.started_at = row.ended_at = None
    row.ended_by_attempt = 0


def _next_status(row: StoredJob, settlement: Settlement, now: int) -> str:
    match settlement.transition:
        case Transition.FAIL:
            return FAILED
        case Transition.QUARANTINE:
            return DEAD_LETTER
        case Transition.RELEASE:
            return PENDING
        case Transition.INTERRUPT | Transition.SUSPECT:
            return DEAD_LETTER if row.max_retries == 0 else PENDING
        case Transition.SNOOZE:
            return DEAD_LETTER if _out_of_patience(row, settlement.patience, now) else SCHEDULED
    spent = row.retry_count >= row.max_retries or row.crash_count >= MAX_CRASHES
    return DEAD_LETTER if spent else RETRYING


def _out_of_patience(row: StoredJob, patience: float | None, now: int) -> bool:
    if patience is None or row.snoozed_since is None:
        return False
    return now - row.snoozed_since > micros_of(patience)


def _keep_patience(row: StoredJob, transition: Transition, now: int) -> None:
    """A row of snoozes goes on until the job was really started."""
    if transition is Transition.SNOOZE:
        row.snoozed_since = now if row.snoozed_since is None else row.snoozed_since
    elif transition is not Transition.RELEASE:
        row.snoozed_since = None


def _note(row: StoredJob, what: Told, *, dead: bool) -> None:
    message = what.last_word if dead and row.max_retries == 0 else what.message
    if message is None:
        return
    row.error_type, row.error_message, row.traceback = what.type, message, what.traceback


def _end(row: StoredJob, status: str, now: int) -> None:
    row.status, row.ended_at, row.ended_by_attempt = status, now, 1
