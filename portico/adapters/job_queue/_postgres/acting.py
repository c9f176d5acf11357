"""What people ask for, in SQL: to cancel, to redrive, to stop a job that runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from uuid import UUID

from portico.adapters.job_queue._postgres.listening import CANCEL
from portico.adapters.job_queue._postgres.place import PostgresPlace
from portico.ports.leasing import CANCELLED

if TYPE_CHECKING:
    from portico.adapters.job_queue._postgres.connections import AnyConnection

_CANCEL = """
UPDATE {schema}.portico_jobs SET status = 'failed', ended_at = {schema}.portico_now(),
    error_type = $2, error_message = $3, traceback = NULL
WHERE id = $1 AND status IN ('pending', 'scheduled', 'retrying') RETURNING id"""

_REDRIVE = """
WITH clock AS MATERIALIZED (
    SELECT {schema}.portico_now() AS now
), chosen AS MATERIALIZED (
    SELECT seq FROM {schema}.portico_jobs
    WHERE id = ANY ($1::uuid[]) AND status IN ('failed', 'dead_letter')
    ORDER BY id FOR UPDATE
), changed AS (
    UPDATE {schema}.portico_jobs SET status = 'pending', run_at = now, retry_count = 0,
        attempt = 0, release_count = 0, snooze_count = 0, crash_count = 0, expiry_count = 0,
        suspect = false, cancel_requested = false, nonce = NULL, settled_as = NULL,
        snoozed_since = NULL, started_at = NULL, ended_at = NULL, ended_by_attempt = false
    FROM clock WHERE seq = ANY (ARRAY(SELECT seq FROM chosen))
    RETURNING id, queue_name
), woken AS MATERIALIZED (
    SELECT pg_catalog.pg_notify($2, pg_catalog.left(queue_name, 128))
    FROM (SELECT DISTINCT queue_name FROM changed) queues
)
SELECT id, (SELECT pg_catalog.count(*) FROM woken) FROM changed"""

_REQUEST_CANCEL = """
WITH asked AS (
    UPDATE {schema}.portico_jobs SET cancel_requested = true
    WHERE id = $1 AND status = 'running' RETURNING id
)
SELECT id, pg_catalog.pg_notify($2, $3) FROM asked"""


async def cancel(connection: AnyConnection, place: PostgresPlace, job_id: bytes) -> bool:
    """End a job that waits."""
    statement = _CANCEL.format(schema=place.quoted_schema)
    key = UUID(bytes=job_id)
    changed = await connection.fetch(statement, key, CANCELLED.type, CANCELLED.message)
    return bool(changed)


async def redrive(
    connection: AnyConnection, place: PostgresPlace, job_ids: Sequence[bytes]
) -> list[bytes]:
    """Let jobs that failed start afresh; the ids of those that do, in the given order."""
    statement = _REDRIVE.format(schema=place.quoted_schema)
    keys = [UUID(bytes=job_id) for job_id in job_ids]
    rows = await connection.fetch(statement, keys, place.channel)
    changed = {row[0].bytes for row in rows}
    return [job_id for job_id in dict.fromkeys(job_ids) if job_id in changed]


async def request_cancel(connection: AnyConnection, place: PostgresPlace, job_id: bytes) -> bool:
    """Note that someone wants a running job to be stopped, and tell its holder."""
    statement = _REQUEST_CANCEL.format(schema=place.quoted_schema)
    return bool(await connection.fetch(statement, UUID(bytes=job_id), place.channel, CANCEL))
