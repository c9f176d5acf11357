"""How attempts ended, as a store keeps it.

What goes in comes from workers, which run code that nobody has vetted, so every text is bounded
and every number is one that a store can hold.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import NamedTuple

from portico.adapters.job_queue._rows import (
    COMPLETED,
    DEAD_LETTER,
    StoredJob,
    instant,
)
from portico.adapters.job_queue._sound import text_of, whole_of
from portico.adapters.job_queue._texts import message_text, output_text, traceback_text, type_text
from portico.ports.cancellation import tells_cancellation
from portico.ports.leasing import (
    NOTHING_SEEN,
    AttemptRecord,
    Evidence,
    Failure,
    Settlement,
    Transition,
)

_LARGEST = 2**53
_LONGEST = 1e9
_UNTOLD = Failure("", "")


def worth_noting(settlement: Settlement) -> bool:
    """Whether a history tells of this end: not of success, which the job's row tells, and not of
    being put off without a reason, which many jobs are again and again."""
    transition = settlement.transition
    put_off = transition is Transition.SNOOZE and settlement.failure is None
    return transition is not Transition.COMPLETE and not put_off


def end_of(transition: str, status: str) -> str:
    """The word for the end of an attempt that left its job in this status. No other transition
    than RETRY says what comes next instead of what was."""
    return DEAD_LETTER if transition == Transition.RETRY and status == DEAD_LETTER else transition


class StoredAttempt(NamedTuple):
    """One attempt. The order of the fields is that of the columns in a store that has columns."""

    attempt: int
    ended_as: str
    started_at: int | None
    ended_at: int
    owner: str | None
    error_type: str | None
    error_message: str | None
    traceback: str | None
    pid: int | None
    exit_code: int | None
    signal: str | None
    oom_suspected: int
    run_seconds: float | None
    worker_cpu_seconds: float | None
    worker_peak_rss: int | None
    output: str | None


def stored_attempt(  # noqa: PLR0917 - what the row says, and what the settlement says
    attempt: int,
    started_at: int | None,
    owner: str | None,
    ended_as: str,
    failure: Failure | None,
    now: int,
) -> StoredAttempt:
    """The attempt that ends now, in the words of its row and of its settlement."""
    kind, message, traceback, evidence = failure or _UNTOLD
    seen = evidence or NOTHING_SEEN
    return StoredAttempt(
        attempt,
        ended_as,
        started_at,
        now,
        owner,
        type_text(kind) or None,
        message_text(message) or None,
        traceback_text(traceback) or None,
        _whole(seen.pid),
        _whole(seen.exit_code),
        type_text(seen.signal) if seen.signal else None,
        int(seen.oom_suspected),
        _seconds(seen.run_seconds),
        _seconds(seen.worker_cpu_seconds),
        _whole(seen.worker_peak_rss),
        output_text(seen.output) or None,
    )


_LONG_AGO = datetime.fromtimestamp(0, UTC)


def attempt_records(row: StoredJob, attempts: Iterable[StoredAttempt]) -> tuple[AttemptRecord, ...]:
    """The history of a job; of a successful attempt its row alone says all there is."""
    records = [_record(attempt) for attempt in attempts]
    if row.status == COMPLETED:
        success = stored_attempt(
            row.attempt, row.started_at, row.owner, Transition.COMPLETE.value, None,
            row.ended_at or 0,
        )  # fmt: skip
        records.append(_record(success))
    return tuple(records)


def _record(stored: StoredAttempt) -> AttemptRecord:
    """Whatever a damaged row says, texts are texts and numbers numbers."""
    error_type, message = _text(stored.error_type), _text(stored.error_message)
    told = Failure(error_type or "", message or "")
    return AttemptRecord(
        attempt=whole_of(stored.attempt),
        ended_as="cancel" if tells_cancellation(told) else text_of(stored.ended_as),
        started_at=instant(stored.started_at),
        ended_at=instant(stored.ended_at) or _LONG_AGO,
        owner=_text(stored.owner),
        error_type=error_type,
        error_message=message,
        traceback=_text(stored.traceback),
        evidence=Evidence(
            _whole(stored.pid),
            _whole(stored.exit_code),
            _text(stored.signal),
            bool(stored.oom_suspected),
            _seconds(stored.run_seconds),
            _seconds(stored.worker_cpu_seconds),
            _whole(stored.worker_peak_rss),
            _text(stored.output) or "",
        ),
    )


def _text(value: object) -> str | None:
    return None if value is None else text_of(value)


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and 0 <= value <= _LARGEST else None


def _seconds(value: object) -> float | None:
    return value if isinstance(value, float | int) and 0 <= value <= _LONGEST else None
