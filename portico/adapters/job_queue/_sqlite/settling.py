"""How attempts end, in SQL: the state table of `Transition`, one guarded statement for each."""

from __future__ import annotations

from collections.abc import Sequence

from portico.adapters.job_queue._attempts import end_of, stored_attempt, worth_noting
from portico.adapters.job_queue._rows import RUNNING, STATUS, StoredJob, attempt_of, status_of
from portico.adapters.job_queue._settling import EXPIRE, EXPIRED, micros_of, told
from portico.adapters.job_queue._sqlite import attempts
from portico.adapters.job_queue._sqlite.driver import Connection
from portico.adapters.job_queue._sqlite.sound_rows import LARGEST
from portico.ports.job import JobStatus
from portico.ports.leasing import (
    CANCELLED,
    MAX_CRASHES,
    MAX_EXPIRIES,
    Answer,
    Failure,
    Receipt,
    Settlement,
    Transition,
)

_COMPLETE = Transition.COMPLETE
_COMPLETED = Receipt(Answer.OK, JobStatus.COMPLETED)
LARGEST_BATCH = 512
"""Rows in one statement."""

_HELD = (
    "id = :id AND status = 'running'"
    " AND (:nonce IS NULL OR (attempt = :attempt AND nonce = :nonce))"
)
_COMPLETE_ONE = f"""
UPDATE portico_jobs SET status = 'completed', settled_as = 'complete', ended_at = :now,
    ended_by_attempt = 1, result = :result
WHERE {_HELD} RETURNING status"""

_COMPLETE_ANYWHERE = """
UPDATE portico_jobs SET status = 'completed', settled_as = 'complete', ended_at = ?,
    ended_by_attempt = 1, result = ?
WHERE id = ? AND attempt = ? AND nonce = ? AND status = 'running'"""
_COMPLETE_HERE = f"{_COMPLETE_ANYWHERE} AND seq = ?"
"""By the row's number: ids are in no order, and each step into their index is a cache miss."""


def _ending(name: str, dead: str, alive: str, sets: str) -> str:
    """A statement that ends an attempt: DEAD_LETTER on the condition `dead`, otherwise `alive`.

    Its expressions read the row as it was before, whatever their order.
    """
    said = f"CASE WHEN ({dead}) AND max_retries = 0 THEN :last_word ELSE :message END"
    return f"""
UPDATE portico_jobs SET
    status = CASE WHEN {dead} THEN 'dead_letter' ELSE '{alive}' END,
    ended_at = CASE WHEN {dead} OR '{alive}' = 'failed' THEN :now END,
    ended_by_attempt = ({dead}) OR '{alive}' = 'failed',
    settled_as = '{name}',
    error_type = CASE WHEN {said} IS NULL THEN error_type ELSE :type END,
    error_message = coalesce({said}, error_message),
    traceback = CASE WHEN {said} IS NULL THEN traceback ELSE :traceback END,
    {sets}
WHERE {_HELD} RETURNING status, attempt, started_at,
    (SELECT name FROM portico_owners o WHERE o.id = owner_id)"""


_SPENT = "retry_count >= max_retries"
_CRASHED = f"{_SPENT} OR crash_count + 1 >= {MAX_CRASHES}"
_OUT = f"{_SPENT} OR expiry_count + 1 >= {MAX_EXPIRIES}"
_IMPATIENT = (
    ":patience IS NOT NULL AND snoozed_since IS NOT NULL AND :now - snoozed_since > :patience"
)
_ONCE = "max_retries = 0"


def _count(column: str, dead: str) -> str:
    return f"{column} = {_room(column)} + NOT ({dead})"


def _room(column: str) -> str:
    """The count, with room for one more in what the table's CHECK allows."""
    return f"min({column}, {LARGEST - 1})"


_STATEMENTS = {
    Transition.COMPLETE: _COMPLETE_ONE,
    Transition.RETRY: _ending(
        "retry", _SPENT, "retrying",
        f"run_at = :due, snoozed_since = NULL, {_count('retry_count', _SPENT)}",
    ),
    Transition.FAIL: _ending("fail", "0", "failed", "snoozed_since = NULL"),
    Transition.RELEASE: _ending("release", "0", "pending", _count("release_count", "0")),
    Transition.INTERRUPT: _ending(
        "interrupt", _ONCE, "pending", f"snoozed_since = NULL, {_count('release_count', _ONCE)}"
    ),
    Transition.SUSPECT: _ending(
        "suspect", _ONCE, "pending",
        f"snoozed_since = NULL, suspect = suspect OR NOT {_ONCE}, "
        f"{_count('release_count', _ONCE)}",
    ),
    Transition.CRASH: _ending(
        "crash", _CRASHED, "retrying",
        f"run_at = :due, snoozed_since = NULL, crash_count = {_room('crash_count')} + 1, "
        f"{_count('retry_count', _CRASHED)}",
    ),
    Transition.SNOOZE: _ending(
        "snooze", _IMPATIENT, "scheduled",
        f"run_at = :due, snoozed_since = coalesce(snoozed_since, :now), "
        f"{_count('snooze_count', _IMPATIENT)}",
    ),
    Transition.QUARANTINE: _ending("quarantine", "1", "failed", "snoozed_since = NULL"),
}  # fmt: skip
_EXPIRE = _ending(
    EXPIRE, _OUT, "retrying",
    f"run_at = :now, expiry_count = {_room('expiry_count')} + 1, {_count('retry_count', _OUT)}",
)  # fmt: skip

_CANCEL = """
UPDATE portico_jobs SET status = 'failed', ended_at = :now, error_type = :type,
    error_message = :message, traceback = NULL
WHERE id = :id AND status IN ('pending', 'scheduled', 'retrying')"""

_REDRIVE = """
UPDATE portico_jobs SET status = 'pending', run_at = :now, retry_count = 0, attempt = 0,
    release_count = 0, snooze_count = 0, crash_count = 0, expiry_count = 0, suspect = 0,
    cancel_requested = 0, nonce = NULL, settled_as = NULL, snoozed_since = NULL,
    started_at = NULL, ended_at = NULL, ended_by_attempt = 0
WHERE id = :id AND status IN ('failed', 'dead_letter')"""

_STANDING = "SELECT attempt, nonce, status, settled_as FROM portico_jobs WHERE id = ?"


def settle(
    connection: Connection,
    settlements: Sequence[Settlement],
    now: int,
    places: dict[bytes, int] | None = None,
) -> list[Receipt]:
    """Settle in order, and answer each; completions go together where that changes nothing.

    Args:
        connection: in a transaction.
        settlements: what is to end.
        now: the wall clock, in microseconds.
        places: the `seq` of jobs by id, as far as it is known: it spares looking them up. What
            has ended is taken out.
    """
    plain = [s for s in settlements if s.transition is _COMPLETE and s.token is not None]
    known = {} if places is None else places
    if len({s.id for s in settlements}) < len(settlements) or not _complete(
        connection, plain, now, known
    ):
        _forget(known, settlements)
        return [_settle_one(connection, settlement, now) for settlement in settlements]
    if len(plain) == len(settlements):
        return [_COMPLETED] * len(plain)
    _forget(known, settlements)
    return [
        _COMPLETED
        if settlement.transition is _COMPLETE and settlement.token is not None
        else _settle_one(connection, settlement, now)
        for settlement in settlements
    ]


def _forget(places: dict[bytes, int], settlements: Sequence[Settlement]) -> None:
    for settlement in settlements:
        places.pop(settlement.id, None)


def _complete(
    connection: Connection, plain: list[Settlement], now: int, places: dict[bytes, int]
) -> bool:
    """Complete all of them, or none: then some token was not the current one."""
    if not plain:
        return True
    connection.execute("SAVEPOINT completions")
    here, anywhere = [], []
    for settlement in plain:
        seq, fence = places.pop(settlement.id, None), attempt_of(settlement.token or b"")
        values = (now, settlement.result, settlement.id, *fence)
        if seq is None:
            anywhere.append(values)
        else:
            here.append((*values, seq))
    changed = connection.executemany(_COMPLETE_HERE, here).rowcount if here else 0
    if anywhere:
        changed += connection.executemany(_COMPLETE_ANYWHERE, anywhere).rowcount
    if changed != len(plain):
        connection.execute("ROLLBACK TO completions")
    connection.execute("RELEASE completions")
    return changed == len(plain)


def padded(count: int) -> int:
    """The next power of two: rows of NULLs match nothing, and few statements are prepared."""
    return 1 << (count - 1).bit_length()


def _settle_one(connection: Connection, settlement: Settlement, now: int) -> Receipt:
    attempt, nonce = attempt_of(settlement.token) if settlement.token is not None else (0, None)
    what = told(settlement.transition.value, settlement.failure)
    patience = settlement.patience
    row = connection.execute(
        _STATEMENTS[settlement.transition],
        {
            **what._asdict(),
            "id": settlement.id,
            "attempt": attempt,
            "nonce": nonce,
            "now": now,
            "due": now + micros_of(settlement.delay),
            "patience": None if patience is None else micros_of(patience),
            "result": settlement.result,
        },
    ).fetchone()
    if row is not None:
        if worth_noting(settlement):
            ended_as = end_of(settlement.transition.value, row[0])
            _note(connection, settlement.id, row, ended_as, settlement.failure, now)
        return Receipt(Answer.OK, STATUS[row[0]])
    return _standing(connection, settlement)


def _note(  # noqa: PLR0917 - what the row says, and what the settlement says
    connection: Connection,
    job_id: bytes,
    row: tuple[str, int, int | None, str | None],
    ended_as: str,
    failure: Failure | None,
    now: int,
) -> None:
    """Add the attempt that has ended to the job's history."""
    _, attempt, started_at, owner = row
    ended = stored_attempt(attempt, started_at, owner, ended_as, failure, now)
    attempts.note(connection, job_id, ended)


def _standing(connection: Connection, settlement: Settlement) -> Receipt:
    """Why a settlement changed nothing."""
    row = connection.execute(_STANDING, (settlement.id,)).fetchone()
    if row is None:
        return Receipt(Answer.NOT_FOUND, None)
    attempt, nonce, status, settled_as = row
    again = (
        settlement.token is not None
        and attempt_of(settlement.token) == (attempt, nonce)  # which may be anything
        and status != RUNNING
        and settled_as == settlement.transition.value
    )
    return Receipt(Answer.ALREADY if again else Answer.LOST, status_of(status))


def expire(connection: Connection, job: StoredJob, now: int) -> JobStatus | None:
    """End the attempt of a running job, as it was just read, whose lease ran out."""
    held = {"id": job.id, "attempt": job.attempt, "nonce": job.nonce, "now": now}
    row = connection.execute(_EXPIRE, {**told(EXPIRE, EXPIRED)._asdict(), **held}).fetchone()
    if row is None:
        return None
    _note(connection, job.id, row, EXPIRE, EXPIRED, now)
    return STATUS[row[0]]


def cancel(connection: Connection, job_id: bytes, now: int) -> bool:
    """End a job that waits."""
    values = {"id": job_id, "now": now, "type": CANCELLED.type, "message": CANCELLED.message}
    return connection.execute(_CANCEL, values).rowcount == 1


def redrive(connection: Connection, job_id: bytes, now: int) -> bool:
    """Let a job that failed start afresh."""
    return connection.execute(_REDRIVE, {"id": job_id, "now": now}).rowcount == 1


def request_cancel(connection: Connection, job_id: bytes) -> bool:
    """Note that someone wants a running job to be stopped."""
    asked = connection.execute(
        "UPDATE portico_jobs SET cancel_requested = 1 WHERE id = ? AND status = 'running'",
        (job_id,),
    )
    return asked.rowcount == 1
