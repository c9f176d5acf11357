"""Granting, renewing and recovering leases, in SQL.

A lease belongs to an owner, and remembers the owner's counter as it was when the lease was granted
or last renewed. No clock is stored for it, because no two clocks are ever compared.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Sequence
from itertools import chain
from operator import itemgetter
from typing import NamedTuple

from portico.adapters.job_queue._liveness import (
    Process,
    Sightings,
    gone,
    process_name,
    this_process,
)
from portico.adapters.job_queue._rows import StoredJob, attempt_of, lease_of, token_of
from portico.adapters.job_queue._sqlite.schema import COLUMNS, LATER
from portico.adapters.job_queue._sqlite.settling import LARGEST_BATCH, expire, padded
from portico.ports.leasing import Answer, Lease, Recovered, Renewal

_LATER_HERE = f"{LATER} AND queue_name = :queue"
_LEVELS = f"""
WITH RECURSIVE levels (level) AS (
    SELECT (SELECT priority FROM portico_jobs WHERE {_LATER_HERE} ORDER BY priority DESC LIMIT 1)
    UNION ALL
    SELECT (SELECT priority FROM portico_jobs WHERE {_LATER_HERE} AND priority < level
            ORDER BY priority DESC LIMIT 1)
    FROM levels WHERE level IS NOT NULL
)"""
"""The priorities that wait for their time: each takes one step into the index."""

_PENDING = """
SELECT seq, priority, run_at FROM portico_jobs WHERE status = 'pending' AND queue_name = :queue
ORDER BY priority DESC, run_at, seq LIMIT :limit"""

_DUE = f"""
SELECT seq, priority, run_at FROM (
    SELECT * FROM ({_PENDING})
    UNION ALL
    SELECT seq, priority, run_at FROM levels CROSS JOIN portico_jobs
    WHERE level IS NOT NULL AND seq IN (
        SELECT seq FROM portico_jobs
        WHERE {_LATER_HERE} AND priority = level AND run_at <= :now
        ORDER BY run_at, seq LIMIT :limit
    )
) ORDER BY priority DESC, run_at, seq LIMIT :limit"""

_NEXT = f"""{_LEVELS}
SELECT min((SELECT run_at FROM portico_jobs WHERE {_LATER_HERE} AND priority = level
            ORDER BY run_at LIMIT 1)),
       min((SELECT run_at FROM portico_jobs WHERE {_LATER_HERE} AND priority = level
            AND run_at > :now ORDER BY run_at LIMIT 1))
FROM levels WHERE level IS NOT NULL"""
"""When the first row is due that waits for its time, and the first that is not due yet."""

_ANY_PENDING = f"SELECT 1 FROM ({_PENDING.replace(':limit', '1')})"

_GRANT = """
UPDATE portico_jobs SET status = 'running', attempt = attempt + 1, nonce = :nonce,
    started_at = :now, owner_id = :owner, owner_beat = :beat
WHERE seq IN (SELECT seq FROM ({rows}))
RETURNING seq, run_at, id, attempt, queue_name, job_type, CAST(payload AS BLOB), priority,
    max_retries, retry_count, scheduled_at, started_at, created_at, created_by,
    CAST(metadata AS BLOB), CAST(error_message AS TEXT), suspect"""
_GRANT_PENDING = _GRANT.format(rows=_PENDING)
_GRANT_DUE = _LEVELS + _GRANT.format(rows=_DUE)

_BEAT = "UPDATE portico_owners SET beat = ?, renews = max(renews, ?) WHERE id = ?"
_JOIN = """
INSERT INTO portico_owners (name, boot, namespace, pid, started, beat, renews, lease_seconds)
VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING id"""
_LEAVE = """
DELETE FROM portico_owners WHERE id = ? AND NOT EXISTS (
    SELECT 1 FROM portico_jobs WHERE status = 'running' AND owner_id = portico_owners.id)"""
_OWNERS = """
SELECT id, boot, namespace, pid, started, beat, renews, lease_seconds FROM portico_owners"""

_RUN_OUT = f"""
SELECT {COLUMNS} FROM portico_jobs
WHERE status = 'running' AND owner_id = ? AND owner_beat <= ? LIMIT ?"""
_ORPHANED = f"""
SELECT {COLUMNS} FROM portico_jobs
WHERE status = 'running' AND owner_id NOT IN (SELECT id FROM portico_owners) LIMIT ?"""
_EVER = 2**62


class Granted(NamedTuple):
    """New leases, and when the next row is due that is not."""

    leases: list[Lease]
    next_due: int | None


class RunOut(NamedTuple):
    """An owner, and up to which counter its leases have run out."""

    owner_id: int
    beat: int


class Owner:
    """This adapter as a holder of leases; lives in the writer's thread."""

    def __init__(self, lease_seconds: float) -> None:
        self.lease_seconds = lease_seconds
        self.sightings = Sightings()
        self._id: int | None = None
        self._beat = 0

    def beat(self, connection: sqlite3.Connection, *, renews: bool) -> tuple[int, int]:
        """Advance the counter, and say who this is and where the counter stands."""
        self._beat += 1
        values = (self._beat, int(renews), self._id)
        if self._id is None or connection.execute(_BEAT, values).rowcount == 0:
            own = (process_name(), *this_process(), self._beat, int(renews), self.lease_seconds)
            self._id = int(connection.execute(_JOIN, own).fetchone()[0])
        return self._id, self._beat

    def leave(self, connection: sqlite3.Connection) -> None:
        """Be forgotten, unless leases are still held."""
        if self._id is not None:
            connection.execute(_LEAVE, (self._id,))

    def run_out(self, connection: sqlite3.Connection, now: float) -> list[RunOut]:
        """Whose leases have run out up to which counter; `now` is this process's own clock."""
        owners = connection.execute(_OWNERS).fetchall()
        self.sightings.keep({owner[0] for owner in owners})
        found: list[RunOut] = []
        for owner_id, boot, namespace, pid, started, beat, renews, lease in owners:
            if gone(Process(boot, namespace, pid, started)):
                found.append(RunOut(owner_id, _EVER))
            elif renews:
                overdue = self.sightings.overdue(owner_id, beat, lease, now)
                if overdue is not None:
                    found.append(RunOut(owner_id, overdue))
        return found


def anything_due(connection: sqlite3.Connection, queues: Sequence[str], now: int) -> Granted | None:
    """When there is nothing to lease: no leases, and when there will be some."""
    nearest = None
    for queue in queues:
        values = {"queue": queue, "now": now}
        first, _ = connection.execute(_NEXT, values).fetchone()
        if first is not None and first <= now:
            return None
        if connection.execute(_ANY_PENDING, values).fetchone() is not None:
            return None
        nearest = _earlier(nearest, first)
    return Granted([], nearest)


def grant(
    connection: sqlite3.Connection, owner: Owner, queues: Sequence[str], limit: int, now: int
) -> Granted:
    """Lease what is due, queue by queue."""
    leases: list[Lease] = []
    nearest = None
    owner_id, beat = owner.beat(connection, renews=False) if limit > 0 else (0, 0)
    values = {"now": now, "nonce": secrets.token_bytes(12), "owner": owner_id, "beat": beat}
    for queue in queues:
        values["queue"] = queue
        values["limit"] = limit - len(leases)
        first, later = connection.execute(_NEXT, values).fetchone()
        nearest = _earlier(nearest, later)
        if len(leases) < limit:
            due = first is not None and first <= now
            leases += _granted(connection, _GRANT_DUE if due else _GRANT_PENDING, values)
    return Granted(leases, nearest)


def _granted(
    connection: sqlite3.Connection, statement: str, values: dict[str, object]
) -> list[Lease]:
    rows = connection.execute(statement, values).fetchall()
    rows.sort(key=itemgetter(1, 0))
    rows.sort(key=itemgetter(7), reverse=True)
    nonce = values["nonce"]
    assert isinstance(nonce, bytes)
    return [
        Lease._make((row[2], token_of(row[3], nonce), *row[3:16], bool(row[16]))) for row in rows
    ]


def renew(connection: sqlite3.Connection, owner: Owner, leases: Sequence[Lease]) -> list[Renewal]:
    """Extend held leases, and give a sign of life."""
    owner_id, beat = owner.beat(connection, renews=True)
    renewed = 0
    for start in range(0, len(leases), LARGEST_BATCH):
        part = leases[start : start + LARGEST_BATCH]
        size = padded(len(part))
        values = chain.from_iterable((lease.id, *attempt_of(lease.token)) for lease in part)
        filling = (None,) * (3 * (size - len(part)))
        changed = connection.execute(_renew_many(size), (owner_id, beat, *values, *filling))
        renewed += changed.rowcount
    stopping = {
        row[0]
        for row in connection.execute(
            "SELECT id FROM portico_jobs WHERE status = 'running' AND owner_id = ?"
            " AND cancel_requested",
            (owner_id,),
        )
    }
    if renewed == len(leases):
        return [Renewal(Answer.OK, lease.id in stopping) for lease in leases]
    return [_renewal(connection, lease, stopping) for lease in leases]


def _renew_many(size: int) -> str:
    values = ", ".join(["(?, ?, ?)"] * size)
    return f"""
UPDATE portico_jobs SET owner_id = ?, owner_beat = ? FROM (VALUES {values}) v
WHERE id = v.column1 AND attempt = v.column2 AND nonce = v.column3 AND status = 'running'"""


def _renewal(connection: sqlite3.Connection, lease: Lease, stopping: set[bytes]) -> Renewal:
    row = connection.execute(
        "SELECT status = 'running' AND attempt = ? AND nonce = ? FROM portico_jobs WHERE id = ?",
        (*attempt_of(lease.token), lease.id),
    ).fetchone()
    if row is None:
        return Renewal(Answer.NOT_FOUND)
    return Renewal(Answer.OK, lease.id in stopping) if row[0] else Renewal(Answer.LOST)


def recover(
    connection: sqlite3.Connection, owner: Owner, limit: int, wall: int, now: float
) -> list[Recovered]:
    """Settle attempts whose lease ran out, and forget owners that are gone."""
    run_out = owner.run_out(connection, now)
    rows = [
        StoredJob(*row)
        for overdue in run_out
        for row in connection.execute(_RUN_OUT, (*overdue, limit))
    ]
    rows += [StoredJob(*row) for row in connection.execute(_ORPHANED, (limit,))]
    recovered = []
    for row in rows[:limit]:
        lease = lease_of(row)
        status = expire(connection, row.id, row.attempt, row.nonce or b"", wall)
        if status is not None:
            recovered.append(Recovered(lease, status))
    for overdue in run_out:
        if overdue.beat == _EVER:
            connection.execute(_LEAVE, (overdue.owner_id,))
    return recovered


def _earlier(one: int | None, other: int | None) -> int | None:
    if one is None or other is None:
        return other if one is None else one
    return min(one, other)
