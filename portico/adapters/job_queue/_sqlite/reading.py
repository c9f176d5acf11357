"""Inserting, listing, counting and purging, in SQL."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from portico.adapters.job_queue._outlook import outlooks
from portico.adapters.job_queue._paging import SEARCHED, SLACK, StoredPage, cut, needles
from portico.adapters.job_queue._rows import (
    COMPLETED,
    DEAD_LETTER,
    FAILED,
    RUNNING,
    STATUS,
    StoredJob,
    inserted,
    micros,
    new_row,
)
from portico.adapters.job_queue._sound import text_of, whole_of
from portico.adapters.job_queue._sqlite import attempts
from portico.adapters.job_queue._sqlite.driver import Connection
from portico.adapters.job_queue._sqlite.schema import COLUMNS, ENDED_BADLY, LATER, columns
from portico.ports.creators import BEGINNING, id_of
from portico.ports.draft import Draft
from portico.ports.job import JobStatus
from portico.ports.leasing import Inserted, JobFilter, Outlook

INSERT = """
INSERT INTO portico_jobs (id, queue_name, job_type, payload, priority, max_retries, scheduled_at,
    created_by, created_at, metadata, status, run_at)
VALUES {values} ON CONFLICT (id) DO NOTHING"""
_INSERT = INSERT.format(values="(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
ADD = """
INSERT INTO portico_queues VALUES (?, ?)
ON CONFLICT (queue_name) DO UPDATE
    SET total = max(-1 << 62, min(total, 1 << 62)) + excluded.total"""
"""Within what is an integer still, whatever stands there."""

_FIND = f"SELECT {COLUMNS} FROM portico_jobs WHERE id = ?"

_COUNTS = tuple(
    f"SELECT queue_name, status, count(*) FROM portico_jobs WHERE {part} AND {{where}}"
    " GROUP BY queue_name, status"
    for part in ("status = 'pending'", LATER, "status = 'running'", ENDED_BADLY)
)
"""Every status but one, from an index of its own each; COMPLETED is the rest of the total."""

WAITING = tuple(
    f"SELECT count(*) FROM (SELECT 1 FROM portico_jobs WHERE {part} AND queue_name = ? LIMIT ?)"
    for part in ("status = 'pending'", LATER)
)


def insert(connection: Connection, drafts: Sequence[Draft], now: int) -> list[Inserted | None]:
    """Store drafts, leaving out those whose id is taken."""
    rows = [new_row(draft, now) for draft in drafts]
    stored: list[Inserted | None] = [inserted(row[10], now) for row in rows]
    if len(rows) == 1:
        if connection.execute(_INSERT, rows[0]).rowcount == 0:
            return [None]
        connection.execute(ADD, (rows[0][1], 1))
        return stored
    connection.execute("SAVEPOINT drafts")
    if connection.executemany(_INSERT, rows).rowcount != len(rows):
        connection.execute("ROLLBACK TO drafts")
        for index, row in enumerate(rows):
            if connection.execute(_INSERT, row).rowcount == 0:
                stored[index] = None
    connection.execute("RELEASE drafts")
    kept = Counter(row[1] for row, what in zip(rows, stored, strict=True) if what is not None)
    connection.executemany(ADD, kept.items())
    return stored


def waiting(connection: Connection, queue_name: str, enough: int) -> int:
    """How many jobs of a queue are PENDING, SCHEDULED or RETRYING, counted up to `enough`."""
    found = 0
    for query in WAITING:
        row = connection.execute(query, (queue_name, enough - found)).fetchone()
        found += int(row[0])
    return found


def find(connection: Connection, job_id: bytes) -> StoredJob | None:
    """The row of a job."""
    row = connection.execute(_FIND, (job_id,)).fetchone()
    return None if row is None else StoredJob(*row)


_SIZE = "coalesce(length(payload), 0) + coalesce(length(metadata), 0)"
_SMALL = "seq, id, queue_name, job_type, status, created_at, ended_at, created_by"
_NOT_SHOWN = {"result": "NULL", "traceback": "NULL"}
_DOCUMENTS = {
    "payload": "x'7b7d'",
    "metadata": "CASE WHEN substr(hex(created_by), 13, 1) = '5'"  # it may stand for a text
    f" THEN substr(CAST(metadata AS BLOB), 1, {BEGINNING}) ELSE x'7b7d' END",
}


def page(
    connection: Connection, jobs: JobFilter, limit: int, before: int | None, now: int
) -> StoredPage:
    """Rows that match in all but their metadata, newest first.

    They are chosen by their small columns, and fetched when they are few.
    """
    seen, seen_values, order = _seen(connection, jobs, before)
    conditions, values = _conditions(jobs, now)
    for needle in needles(jobs):
        conditions.append("instr(CAST(metadata AS BLOB), ?)")
        values.append(needle)
    size = _SIZE if jobs.documents else "0"
    found = connection.execute(
        f"SELECT seq, {size} FROM ({seen}) AS seen WHERE {' AND '.join(conditions) or '1'}"
        f" ORDER BY {order} DESC LIMIT ?",
        (*seen_values, *values, limit + 1),
    ).fetchall()
    shown = cut(found, limit)
    cursor = shown[-1] if len(shown) < len(found) else None
    searched = None
    if jobs.narrow:
        searched, last = connection.execute(
            f"SELECT count(*), min(seq) FROM ({seen}) WHERE seq >= ?", (*seen_values, cursor or 0)
        ).fetchone()
        cursor = last if cursor is None and searched == SEARCHED else cursor
    return StoredPage(_listed(connection, jobs, shown), cursor, searched)


def _seen(
    connection: Connection, jobs: JobFilter, before: int | None
) -> tuple[str, list[object], str]:
    """Among which rows to look, with its values and in which order they are to be read."""
    conditions: list[str] = []
    values: list[object] = []
    if before is not None:
        conditions.append("seq < ?")
        values.append(before)
    order = "seq" if jobs.ids is None else "+seq"  # by the index of the ids
    if few := _few(jobs.each_status):
        conditions.append(few)
        order = "+seq"  # by that index, not through all rows in their order
    if jobs.created_before is not None:
        conditions.append("seq <= ?")
        values.append(_created_before(connection, micros(jobs.created_before) + SLACK))
    if jobs.created_after is not None:
        conditions.append("seq > ?")
        values.append(_created_before(connection, micros(jobs.created_after) - SLACK))
    where = " AND ".join(conditions) or "1"
    if not jobs.narrow:
        return f"SELECT * FROM portico_jobs WHERE {where}", values, order
    columns = f"{_SMALL}, payload, metadata"
    some = (
        f"SELECT {columns} FROM portico_jobs WHERE {where} ORDER BY {order} DESC LIMIT {SEARCHED}"
    )
    return some, values, "seq"


def _listed(connection: Connection, jobs: JobFilter, shown: Sequence[int]) -> list[StoredJob]:
    unread = dict(_NOT_SHOWN)
    if not jobs.documents:
        unread |= {name: _DOCUMENTS[name] for name in ("payload", "metadata")}
        if jobs.metadata is not None:
            del unread["metadata"]
    rows = connection.execute(
        f"SELECT {columns(unread)} FROM portico_jobs WHERE seq IN ({', '.join('?' * len(shown))})"
        " ORDER BY seq DESC",
        tuple(shown),
    )
    return [StoredJob(*row) for row in rows]


def _few(statuses: Sequence[JobStatus]) -> str | None:
    """The condition of the index that holds these statuses, if that is a short one."""
    if statuses and set(statuses) <= {STATUS[RUNNING]}:
        return "status = 'running'"
    if statuses and set(statuses) <= {STATUS[FAILED], STATUS[DEAD_LETTER]}:
        return ENDED_BADLY
    return None


def counts(connection: Connection, queue_name: str | None) -> dict[str, dict[JobStatus, int]]:
    """Jobs per status of one queue, or of all that hold any."""
    where, values = ("1", ()) if queue_name is None else ("queue_name = ?", (queue_name,))
    totals = connection.execute(
        f"SELECT queue_name, total FROM portico_queues WHERE {where} AND total > 0", values
    )
    found: dict[str, dict[JobStatus, int]] = {
        text_of(name): {STATUS[COMPLETED]: whole_of(n)} for name, n in totals
    }
    for query in _COUNTS:
        for found_name, status, number in connection.execute(query.format(where=where), values):
            queue = found.setdefault(
                text_of(found_name), {STATUS[COMPLETED]: 0}
            )  # its total may be of no use
            queue[STATUS[status]] = number
            queue[STATUS[COMPLETED]] = max(0, queue[STATUS[COMPLETED]] - number)
    return found


def outlook(connection: Connection, now: int) -> dict[str, Outlook]:
    """How long jobs wait in every queue in which any do."""
    parts = " UNION ALL ".join(
        "SELECT queue_name, min(CASE WHEN run_at <= :now THEN run_at END),"
        " min(CASE WHEN run_at > :now THEN run_at END)"
        f" FROM portico_jobs WHERE {part} GROUP BY queue_name"
        for part in ("status = 'pending'", LATER)
    )
    return outlooks(connection.execute(parts, {"now": now}), now)


def ended(connection: Connection, jobs: JobFilter, limit: int, now: int) -> list[tuple[bytes, str]]:
    """Ids and queues of terminal rows that match."""
    found: list[tuple[bytes, str]] = []
    for status in jobs.each_status:
        conditions, values = _conditions(replace(jobs, statuses=(status,)), now)
        if few := _few((status,)):
            conditions.append(few)
        elif jobs.older_than is not None:
            conditions.append("seq <= ?")
            values.append(_created_before(connection, now - _age(jobs.older_than)))
        rows = connection.execute(
            f"SELECT id, queue_name FROM portico_jobs WHERE {' AND '.join(conditions)} LIMIT ?",
            (*values, limit - len(found)),
        )
        found += rows.fetchall()
    return found


def purge(connection: Connection, found: Sequence[tuple[bytes, str]]) -> int:
    """Delete rows that were found to be terminal, if they still are."""
    gone: Counter[str] = Counter()
    for job_id, queue_name in found:
        deleted = connection.execute(
            "DELETE FROM portico_jobs WHERE id = ?"
            " AND status IN ('completed', 'failed', 'dead_letter')",
            (job_id,),
        )
        if deleted.rowcount:
            attempts.forget(connection, job_id)
        gone[queue_name] += deleted.rowcount
    connection.executemany(ADD, [(name, -number) for name, number in gone.items()])
    return gone.total()


def _created_before(connection: Connection, instant: int) -> int:
    """The last row that was created before an instant: rows are numbered in that order."""
    low, high = connection.execute(
        "SELECT coalesce((SELECT min(seq) FROM portico_jobs), 1) - 1,"
        " coalesce((SELECT max(seq) FROM portico_jobs), 0)"
    ).fetchone()
    while low < high:
        middle = (low + high + 1) // 2
        created = connection.execute(
            "SELECT created_at FROM portico_jobs WHERE seq <= ? ORDER BY seq DESC LIMIT 1",
            (middle,),
        ).fetchone()[0]
        if not isinstance(created, int | float) or created <= instant:  # a damaged one tells none
            low = middle
        else:
            high = middle - 1
    return int(low)


def _conditions(jobs: JobFilter, now: int) -> tuple[list[str], list[object]]:
    conditions: list[str] = []
    values: list[object] = []
    if jobs.queue_name is not None:
        conditions.append("queue_name = ?")
        values.append(jobs.queue_name)
    if jobs.job_type is not None:
        conditions.append("job_type = ?")
        values.append(jobs.job_type)
    if jobs.each_status:
        conditions.append(f"status IN ({', '.join('?' * len(jobs.each_status))})")
        values += [JobStatus(status).value for status in jobs.each_status]
    if jobs.created_by is not None:
        conditions.append("created_by = ?")
        values.append(id_of(jobs.created_by).bytes)
    if jobs.created_after is not None:
        conditions.append("created_at >= ?")
        values.append(micros(jobs.created_after))
    if jobs.created_before is not None:
        conditions.append("created_at < ?")
        values.append(micros(jobs.created_before))
    if jobs.older_than is not None:
        conditions.append("coalesce(ended_at, created_at) <= ?")
        values.append(now - _age(jobs.older_than))
    if jobs.ids is not None:
        conditions.append("id BETWEEN ? AND ?")
        values += [end.bytes for end in jobs.ids]
    return conditions, values


def _age(seconds: float) -> int:
    return int(seconds * 1_000_000)
