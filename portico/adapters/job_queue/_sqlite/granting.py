"""Granting leases, in SQL: what is due, by priority and then by age, in one statement per queue."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from operator import itemgetter
from typing import Any, NamedTuple
from uuid import UUID

from portico.adapters.job_queue._rows import token_of
from portico.adapters.job_queue._sqlite.burying import bury
from portico.adapters.job_queue._sqlite.choosing import LATER_HERE, LEVELS, Choosing
from portico.adapters.job_queue._sqlite.driver import Connection
from portico.adapters.job_queue._sqlite.leasing import Owner
from portico.adapters.job_queue._sqlite.settling import settle
from portico.adapters.job_queue._sqlite.sound_rows import JOBS, LARGEST, sound
from portico.ports.document import MAX_STORED
from portico.ports.leasing import Failure, Lease, Settlement, Transition
from portico.utils.logging import get_logger

TOO_LARGE = Failure(
    "PayloadTooLarge", f"the stored job has more than {MAX_STORED:,} bytes, too many to be run"
)
logger = get_logger(__name__)

_COLUMNS = "SELECT seq, priority, run_at FROM portico_jobs"
_PENDING = f"""
{_COLUMNS} WHERE status = 'pending' AND queue_name = :queue
ORDER BY priority DESC, run_at, seq LIMIT :limit"""

_DUE = f"""
SELECT seq, priority, run_at FROM (
    SELECT * FROM ({_PENDING})
    UNION ALL
    SELECT seq, priority, run_at FROM levels CROSS JOIN portico_jobs
    WHERE level IS NOT NULL AND seq IN (
        SELECT seq FROM portico_jobs
        WHERE {LATER_HERE} AND priority = level AND run_at <= :now
        ORDER BY run_at, seq LIMIT :limit
    )
) ORDER BY priority DESC, run_at, seq LIMIT :limit"""

_NEXT = f"""{LEVELS}
SELECT min((SELECT run_at FROM portico_jobs WHERE {LATER_HERE} AND priority = level
            ORDER BY run_at LIMIT 1)),
       min((SELECT run_at FROM portico_jobs WHERE {LATER_HERE} AND priority = level
            AND run_at > :now ORDER BY run_at LIMIT 1))
FROM levels WHERE level IS NOT NULL"""
"""When the first row is due that waits for its time, and the first that is not due yet."""

_LARGE = f"length(CAST(payload AS BLOB)) + length(CAST(metadata AS BLOB)) > {MAX_STORED}"
_NEEDED = (
    "attempt", "priority", "max_retries", "retry_count", "run_at", "created_at", "scheduled_at",
    "id", "created_by",
)  # fmt: skip
_SOUND = f"{sound(JOBS, _NEEDED)} AND attempt < {LARGEST} AND typeof(job_type) = 'text'"
"""What a row needs to be run at all. The tables see to it, but not for whoever told SQLite to
ignore their CHECKs."""
_LEASED = f"""
SELECT seq, run_at, id, attempt + 1, queue_name, job_type,
    CASE WHEN {_LARGE} THEN NULL ELSE CAST(payload AS BLOB) END, priority,
    max_retries, retry_count, scheduled_at, :now, created_at, created_by,
    CASE WHEN {_LARGE} THEN NULL ELSE CAST(metadata AS BLOB) END,
    CAST(error_message AS TEXT), suspect, cancel_requested, {_SOUND} FROM portico_jobs"""
"""Of a row over the limit the documents stay where they are: a batch of them would not fit into
memory."""
_GRANT = """
UPDATE portico_jobs SET status = 'running', attempt = attempt + 1, nonce = :nonce,
    started_at = :now, owner_id = :owner, owner_beat = :beat
WHERE seq IN (SELECT seq FROM ({rows}))"""


class _Statements(NamedTuple):
    """For some of the rows that can be leased: the statements that read them and mark them."""

    read: str
    grant: str


_OF_PENDING = _Statements(_PENDING.replace(_COLUMNS, _LEASED), _GRANT.format(rows=_PENDING))
_OF_DUE = _Statements(
    f"{LEVELS}{_LEASED} WHERE seq IN (SELECT seq FROM ({_DUE}))\n"
    "ORDER BY priority DESC, run_at, seq",
    LEVELS + _GRANT.format(rows=_DUE),
)
_THESE = "SELECT value AS seq FROM json_each(:keys)"
_OF_CHOSEN = _Statements(
    f"{_LEASED} WHERE seq IN ({_THESE})\nORDER BY priority DESC, run_at, seq",
    _GRANT.format(rows=_THESE),
)
_ANY_PENDING = f"SELECT 1 FROM ({_PENDING.replace(':limit', '1')})"
_JOB_TYPE, _PAYLOAD = 5, 6
"""Their places in what is read."""

_CANCEL_REQUESTED, _IS_SOUND = itemgetter(17), itemgetter(18)

Row = tuple[Any, ...]
"""What is read of a job that is leased."""


class Granted(NamedTuple):
    """New leases, and when the next row is due that is not."""

    leases: list[Lease]
    next_due: int | None
    to_stop: bool = False
    """Someone asked to stop one of these jobs, during an attempt that ended otherwise."""
    unseen: bool = False
    """There is more to look at."""


def anything_due(
    connection: Connection, queues: Sequence[str], now: int, choosing: Choosing | None = None
) -> Granted | None:
    """When there is nothing to lease: no leases, and when there will be some."""
    values: dict[str, object] = {"now": now}
    nearest, unseen = None, False
    seen = {}
    for queue in queues:
        values["queue"] = queue
        first, later = connection.execute(_NEXT, values).fetchone()
        due = _is_due(first, now)
        if choosing is not None:
            found, seen[queue] = choosing.peek(connection, queue, now, due=due)
            if found.keys:
                return None
            unseen |= found.unseen
        elif due or connection.execute(_ANY_PENDING, values).fetchone() is not None:
            return None
        nearest = _earlier(nearest, later if due else first)
    if choosing is not None:
        choosing.keep(seen)
    return Granted([], nearest, unseen=unseen)


def _is_due(first: object, now: int) -> bool:
    """Of a damaged row, the first instant may be anything: what is no number comes last."""
    return isinstance(first, int | float) and first <= now


def grant(
    connection: Connection,
    owner: Owner,
    queues: Sequence[str],
    limit: int,
    now: int,
    *,
    choosing: Choosing | None = None,
) -> Granted:
    """Lease what is due, queue by queue; what is chosen of it, or all."""
    rows: list[Row] = []
    nearest, unseen = None, False
    owner_id, beat = owner.beat(connection, renews=False) if limit > 0 else (0, 0)
    nonce = secrets.token_bytes(12)
    owner.give_back(connection, now)
    owner.granted(owner_id, nonce)
    values: dict[str, object] = {"now": now, "nonce": nonce, "owner": owner_id, "beat": beat}
    for queue in queues:
        values["queue"] = queue
        first, later = connection.execute(_NEXT, values).fetchone()
        nearest = _earlier(nearest, later)
        due = _is_due(first, now)
        again, statements = True, _OF_DUE if due else _OF_PENDING
        while again and len(rows) < limit:
            values["limit"] = limit - len(rows)
            if choosing is not None:
                chosen = choosing.choose(connection, queue, now, limit - len(rows), due=due)
                unseen |= chosen.unseen
                statements, values["keys"] = _OF_CHOSEN, json.dumps(chosen.keys)
            found, again = _granted(connection, statements, values)
            rows += found
            if choosing is not None and again and not found:
                choosing.nothing_leased()
            elif choosing is not None:
                choosing.leased(row[_JOB_TYPE] for row in found)
    owner.places.update({row[2]: row[0] for row in rows})
    return Granted(_leases(rows, nonce), nearest, any(map(_CANCEL_REQUESTED, rows)), unseen)


def _leases(rows: Sequence[Row], nonce: bytes) -> list[Lease]:
    """Past the named tuple's own `__new__`: this is done for every job."""
    tokens = {attempt: token_of(attempt, nonce) for attempt in {row[3] for row in rows}}
    return [
        tuple.__new__(Lease, (row[2], tokens[row[3]], *row[3:16], bool(row[16]))) for row in rows
    ]


def _granted(
    connection: Connection, statements: _Statements, values: dict[str, object]
) -> tuple[list[Row], bool]:
    """What can be leased, in order, and whether there were rows that cannot.

    They are read first, and marked then, within one transaction: what RETURNING tells is copied
    once more, and comes in no order.
    """
    rows = connection.execute(statements.read, values).fetchall()
    if not rows:
        return rows, False
    if not all(map(_IS_SOUND, rows)):
        for row in rows:
            if not _IS_SOUND(row):
                bury(connection, row[0])
        return [], True
    connection.execute(statements.grant, values)
    if large := [row for row in rows if row[_PAYLOAD] is None]:
        rows = [row for row in rows if row[_PAYLOAD] is not None]
        _bury(connection, large, values)
    return rows, bool(large)


def _bury(connection: Connection, rows: Sequence[Row], values: dict[str, object]) -> None:
    """Dead-letter what is too large to be carried to a worker."""
    nonce, now = values["nonce"], values["now"]
    assert isinstance(nonce, bytes)
    assert isinstance(now, int)
    for row in rows:
        token = token_of(row[3], nonce)
        settle(
            connection, [Settlement(row[2], token, Transition.QUARANTINE, failure=TOO_LARGE)], now
        )
        logger.error(
            "job_dead_lettered",
            job_id=UUID(bytes=row[2]),
            job_type=row[5],
            queue=row[4],
            attempt=row[3],
            error_type=TOO_LARGE.type,
            error=TOO_LARGE.message,
            next="dead-lettered: it is too large to be sent to a worker",
        )


def _earlier(*instants: int | None) -> int | None:
    """The first of these that are there, and are instants."""
    return min((one for one in instants if type(one) is int), default=None)
