"""Finding, listing, counting and purging, in SQL."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from portico.adapters.job_queue._attempts import StoredAttempt
from portico.adapters.job_queue._outlook import outlooks
from portico.adapters.job_queue._paging import SEARCHED, SLACK, StoredPage, cut, needles
from portico.adapters.job_queue._postgres.waiting import waiting_query
from portico.adapters.job_queue._rows import (
    COMPLETED,
    DEAD_LETTER,
    FAILED,
    RUNNING,
    STATUS,
    StoredJob,
    micros,
)
from portico.ports.creators import BEGINNING, id_of
from portico.ports.job import JobStatus
from portico.ports.leasing import JobFilter, Outlook

if TYPE_CHECKING:
    from portico.adapters.job_queue._postgres.connections import AnyConnection

_LATER = "status IN ('scheduled', 'retrying')"
_ENDED_BADLY = "status IN ('failed', 'dead_letter')"
"""In the words of the indexes: a partial one serves only the condition it was made with."""
_OWNER = "(SELECT name FROM {schema}.portico_owners owner WHERE owner.id = job.owner_id)"
_SIZE = "pg_catalog.octet_length(payload) + pg_catalog.octet_length(metadata)"
_NOT_SHOWN = {"result", "traceback"}
"""By no list."""
_EMPTY = {
    "payload": "'{}'::bytea",
    "metadata": "CASE WHEN substring(job.created_by::text FROM 15 FOR 1) = '5' "
    f"THEN substring(job.metadata FROM 1 FOR {BEGINNING}) ELSE '{{}}'::bytea END",
}
_HISTORY = ", ".join(StoredAttempt._fields)
_ID, _CREATED_BY = 1, 8
_TOTAL = f"greatest(0, least({2**63 - 1}, pg_catalog.sum(jobs)))::bigint"
_SILENT = 300 * 1_000_000
"""Microseconds without a renewal after which an owner is taken for gone; how long its leases are
nobody tells, and in the time of one it renews four times."""


def _columns(schema: str, unread: Collection[str] = ()) -> str:
    """What `stored_job` takes, with nothing in the place of some columns."""
    read = {"owner": _OWNER.format(schema=schema)}
    read |= {name: _EMPTY.get(name, "NULL") for name in unread}
    return ", ".join(read.get(field.name, f"job.{field.name}") for field in fields(StoredJob))


def stored_job(row: Sequence[Any]) -> StoredJob:
    """A row of `_columns`."""
    values = list(row)
    values[_ID] = values[_ID].bytes
    if values[_CREATED_BY] is not None:
        values[_CREATED_BY] = values[_CREATED_BY].bytes
    return StoredJob(*values)


def is_text(value: str) -> bool:
    """Whether PostgreSQL can hold a text at all; what it cannot hold is nobody's name."""
    try:
        return b"\0" not in value.encode()
    except UnicodeEncodeError:
        return False


class Reading:
    """The statements for one schema."""

    def __init__(self, schema: str) -> None:
        self._schema = schema
        columns = _columns(schema)
        self._jobs = f"SELECT {columns} FROM {schema}.portico_jobs job"
        self._told = f"""
SELECT ARRAY(
    SELECT ROW({_HISTORY}) FROM {schema}.portico_attempts
    WHERE job_id = job.id ORDER BY seq
), {columns} FROM {schema}.portico_jobs job WHERE job.id = $1"""

    async def find(self, connection: AnyConnection, job_id: object) -> StoredJob | None:
        """The row of a job."""
        row = await connection.fetchrow(f"{self._jobs} WHERE job.id = $1", job_id)
        return None if row is None else stored_job(row.values())

    async def told(
        self, connection: AnyConnection, job_id: object
    ) -> tuple[StoredJob, list[StoredAttempt]] | None:
        """The row of a job, and its history, oldest first, as they were at one instant."""
        row = await connection.fetchrow(self._told, job_id)
        if row is None:
            return None
        history, *columns = row.values()
        return stored_job(columns), [StoredAttempt(*one) for one in history]

    async def page(
        self, connection: AnyConnection, jobs: JobFilter, limit: int, before: int | None
    ) -> StoredPage:
        """Rows that match in all but their metadata, newest first.

        They are chosen by their small columns, and fetched when they are few.
        """
        conditions, values = self._conditions(jobs)
        for needle in needles(jobs):
            values.append(needle)
            conditions.append(f"position(${len(values)}::bytea IN metadata) > 0")
        seen, order = self._seen(jobs, before, values)
        values.append(limit + 1)
        found = await connection.fetch(
            f"SELECT seq, {_SIZE if jobs.documents else '0'} FROM ({seen}) AS seen "
            f"WHERE {_all(conditions)} ORDER BY {order} DESC LIMIT ${len(values)}",
            *values,
        )
        shown = cut([(row[0], row[1]) for row in found], limit)
        cursor = shown[-1] if len(shown) < len(found) else None
        searched = None
        if jobs.narrow:
            searched, last = await self._searched(connection, jobs, before, cursor or 0)
            if cursor is None and searched == SEARCHED:
                cursor = min([last, *shown])  # others may have come since the rows were chosen
        return StoredPage(await self._listed(connection, jobs, shown), cursor, searched)

    def _seen(self, jobs: JobFilter, before: int | None, values: list[Any]) -> tuple[str, str]:
        """Among which rows to look, and in which order they are to be read."""
        conditions: list[str] = []
        order = "seq" if jobs.ids is None else "seq + 0"  # by the index of the ids
        if before is not None:
            values.append(before)
            conditions.append(f"seq < ${len(values)}::bigint")
        if few := _few(jobs.each_status):
            conditions.append(few)
            order = "seq + 0"  # by that index, not through all rows in their order
        made_before = f"(SELECT {self._schema}.portico_created_before($%d::bigint))"
        if jobs.created_before is not None:
            values.append(micros(jobs.created_before) + SLACK)
            conditions.append(f"seq <= {made_before % len(values)}")
        if jobs.created_after is not None:
            values.append(micros(jobs.created_after) - SLACK)
            conditions.append(f"seq > {made_before % len(values)}")
        seen = f"SELECT * FROM {self._schema}.portico_jobs WHERE {_all(conditions)}"
        if not jobs.narrow:
            return seen, order
        return f"{seen} ORDER BY {order} DESC LIMIT {SEARCHED}", "seq"

    async def _searched(
        self, connection: AnyConnection, jobs: JobFilter, before: int | None, down_to: int
    ) -> tuple[int, int]:
        values: list[Any] = []
        seen, _ = self._seen(jobs, before, values)
        values.append(down_to)
        row = await connection.fetchrow(
            f"SELECT pg_catalog.count(*), coalesce(pg_catalog.min(seq), 0) FROM ({seen}) AS seen "
            f"WHERE seq >= ${len(values)}::bigint",
            *values,
        )
        assert row is not None
        return row[0], row[1]

    async def _listed(
        self, connection: AnyConnection, jobs: JobFilter, shown: Sequence[int]
    ) -> list[StoredJob]:
        unread = set(_NOT_SHOWN)
        if not jobs.documents:
            unread |= {"payload"} if jobs.metadata is not None else {"payload", "metadata"}
        rows = await connection.fetch(
            f"SELECT {_columns(self._schema, unread)} FROM {self._schema}.portico_jobs job "
            "WHERE job.seq = ANY ($1::bigint[]) ORDER BY job.seq DESC",
            shown,
        )
        return [stored_job(row.values()) for row in rows]

    async def counts(
        self, connection: AnyConnection, queue_name: str | None
    ) -> dict[str, dict[JobStatus, int]]:
        """Jobs per status of one queue, or of all that hold any.

        Every status but one is counted in an index of its own; COMPLETED is the rest of the total.
        """
        here, values = ("queue_name = $1", [queue_name]) if queue_name is not None else ("true", [])
        table = f"{self._schema}.portico_jobs"
        parts = " UNION ALL ".join(
            f"SELECT queue_name, status, pg_catalog.count(*) FROM {table} WHERE {part} AND {here} "
            "GROUP BY queue_name, status"
            for part in ("status = 'pending'", _LATER, "status = 'running'", _ENDED_BADLY)
        )
        rows = await connection.fetch(
            f"SELECT queue_name, '{COMPLETED}' AS status, {_TOTAL} "
            f"FROM {self._schema}.portico_totals WHERE {here} "
            f"GROUP BY queue_name HAVING {_TOTAL} > 0 UNION ALL {parts}",
            *values,
        )
        return _counted(rows)

    async def outlook(self, connection: AnyConnection) -> dict[str, Outlook]:
        """How long jobs wait in every queue in which any do."""
        now = await connection.fetchval(f"SELECT {self._schema}.portico_now()")
        parts = " UNION ALL ".join(
            "SELECT queue_name, pg_catalog.min(run_at) FILTER (WHERE run_at <= $1::bigint),"
            " pg_catalog.min(run_at) FILTER (WHERE run_at > $1::bigint)"
            f" FROM {self._schema}.portico_jobs WHERE {part} GROUP BY queue_name"
            for part in ("status = 'pending'", _LATER)
        )
        found = await connection.fetch(parts, now)
        return outlooks(((name, due, later) for name, due, later in found), now)

    async def waiting(self, connection: AnyConnection, queue_name: str, enough: int) -> int:
        """How many jobs of a queue are PENDING, SCHEDULED or RETRYING, counted up to `enough`."""
        return int(await connection.fetchval(waiting_query(self._schema), queue_name, str(enough)))

    async def purge(self, connection: AnyConnection, jobs: JobFilter, limit: int) -> int:
        """Delete terminal rows that match, oldest first."""
        gone = 0
        for status in jobs.each_status:
            if gone < limit:
                gone += await self._purge(connection, jobs, JobStatus(status), limit - gone)
        return gone

    async def _purge(
        self, connection: AnyConnection, jobs: JobFilter, status: JobStatus, limit: int
    ) -> int:
        conditions, values = self._conditions(jobs, (status,))
        order = "seq"
        if few := _few((status,)):
            conditions.append(few)
            order = "seq + 0"
        elif jobs.older_than is not None:
            # What was created later has not ended before: only the old end of the table is read.
            conditions.append(
                f"seq <= (SELECT {self._schema}.portico_created_before({self._since(1)}))"
            )
        values.append(limit)
        schema = self._schema
        deleted = await connection.fetchval(
            f"""
WITH chosen AS MATERIALIZED (
    SELECT seq, id FROM {schema}.portico_jobs WHERE {_all(conditions)}
    ORDER BY {order} LIMIT ${len(values)} FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM {schema}.portico_jobs WHERE seq = ANY (ARRAY(SELECT seq FROM chosen))
    RETURNING queue_name
), forgotten AS (
    DELETE FROM {schema}.portico_attempts WHERE job_id = ANY (ARRAY(SELECT id FROM chosen))
), counted AS (
    INSERT INTO {schema}.portico_totals (queue_name, jobs)
    SELECT queue_name, -pg_catalog.count(*) FROM gone GROUP BY queue_name
)
SELECT pg_catalog.count(*) FROM gone""",
            *values,
        )
        return int(deleted)

    def _conditions(
        self, jobs: JobFilter, statuses: Sequence[JobStatus] | None = None
    ) -> tuple[list[str], list[Any]]:
        """The age, where there is one, is the first value."""
        conditions: list[str] = []
        values: list[Any] = []
        if jobs.older_than is not None:
            values.append(int(jobs.older_than * 1_000_000))
            conditions.append(f"coalesce(ended_at, created_at) <= {self._since(1)}")
        for column, wanted in (("queue_name", jobs.queue_name), ("job_type", jobs.job_type)):
            if wanted is not None:
                values.append(wanted)
                conditions.append(f"{column} = ${len(values)}")
        if jobs.ids is not None:
            values += jobs.ids
            conditions.append(f"id BETWEEN ${len(values) - 1} AND ${len(values)}")
        if jobs.created_by is not None:
            values.append(id_of(jobs.created_by))
            conditions.append(f"created_by = ${len(values)}")
        if jobs.created_after is not None:
            values.append(micros(jobs.created_after))
            conditions.append(f"created_at >= ${len(values)}::bigint")
        if jobs.created_before is not None:
            values.append(micros(jobs.created_before))
            conditions.append(f"created_at < ${len(values)}::bigint")
        if wanted_statuses := jobs.each_status if statuses is None else statuses:
            conditions.append(f"status IN ({_quoted(wanted_statuses)})")
        return conditions, values

    async def served(self, connection: AnyConnection) -> bool:
        """Whether an owner has renewed of late, or holds a lease that has not run out."""
        alive = f"seen_at > {self._schema}.portico_now() - {_SILENT}"
        held = f"status = 'running' AND expires_at > {self._schema}.portico_now()"
        found = await connection.fetchval(
            f"SELECT EXISTS (SELECT FROM {self._schema}.portico_owners WHERE {alive})"
            f" OR EXISTS (SELECT FROM {self._schema}.portico_jobs WHERE {held})"
        )
        return bool(found)

    def _since(self, number: int) -> str:
        return f"(SELECT {self._schema}.portico_now() - ${number}::bigint)"


def can_match(jobs: JobFilter) -> bool:
    """Whether any job can have these names."""
    return all(is_text(name) for name in (jobs.queue_name, jobs.job_type) if name is not None)


def _all(conditions: Sequence[str]) -> str:
    return " AND ".join(conditions) or "true"


def _quoted(statuses: Sequence[JobStatus]) -> str:
    """Not as a parameter, for the planner has to see which index serves."""
    return ", ".join(f"'{JobStatus(status).value}'" for status in statuses)


def _few(statuses: Sequence[JobStatus]) -> str | None:
    """The condition of the index that holds these statuses, if that is a short one."""
    wanted = set(statuses)
    if wanted and wanted <= {STATUS[RUNNING]}:
        return "status = 'running'"
    if wanted and wanted <= {STATUS[FAILED], STATUS[DEAD_LETTER]}:
        return _ENDED_BADLY
    return None


def _counted(rows: Iterable[Sequence[Any]]) -> dict[str, dict[JobStatus, int]]:
    found: dict[str, dict[JobStatus, int]] = {}
    completed = STATUS[COMPLETED]
    for name, status, number in rows:  # the totals come first
        queue = found.setdefault(name, {completed: 0})  # it may be in no total
        if STATUS[status] is completed:
            queue[completed] = number
        else:
            queue[STATUS[status]] = number
            queue[completed] = max(0, queue[completed] - number)
    return found
