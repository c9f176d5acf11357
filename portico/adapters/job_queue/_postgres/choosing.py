"""Leasing jobs of some types only: what `portico_exchange` does for all, in a statement of its own.

It is asked for rarely, and not what is to be fast: jobs that are passed over are read one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from portico.adapters.job_queue._postgres.connections import AnyConnection
from portico.adapters.job_queue._postgres.settling import in_order
from portico.ports.document import MAX_STORED
from portico.ports.wanted import Wanted

_PLAIN_PLANS = """
SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL enable_hashjoin = off;
SET LOCAL enable_mergejoin = off; SET LOCAL jit = off"""
"""As the functions have them: by the indexes, in their order."""

_LATER = "status IN ('scheduled', 'retrying') AND queue_name = $1"
_WANTED = "(job_type = ANY ($2::text[])) = $3::boolean"
_FITS = "octet_length(job.payload) + octet_length(job.metadata) <= $9::bigint"

# More candidates than are asked for: another supervisor may have some of them at this instant.
_CHOOSE = f"""
WITH RECURSIVE clock (instant) AS MATERIALIZED (
    SELECT {{schema}}.portico_now()
), levels (level) AS (
    SELECT (SELECT priority FROM {{schema}}.portico_jobs WHERE {_LATER}
            ORDER BY priority DESC LIMIT 1)
    UNION ALL
    SELECT (SELECT priority FROM {{schema}}.portico_jobs WHERE {_LATER} AND priority < level
            ORDER BY priority DESC LIMIT 1)
    FROM levels WHERE level IS NOT NULL
), candidates AS MATERIALIZED (
    SELECT seq, priority, run_at FROM (
        (SELECT seq, priority, run_at FROM {{schema}}.portico_jobs
         WHERE status = 'pending' AND queue_name = $1 AND {_WANTED}
         ORDER BY priority DESC, run_at, seq LIMIT 4 * $4::integer)
        UNION ALL
        SELECT due.seq, due.priority, due.run_at FROM levels CROSS JOIN LATERAL (
            SELECT seq, priority, run_at FROM {{schema}}.portico_jobs
            WHERE {_LATER} AND priority = level AND run_at <= (SELECT instant FROM clock)
                AND {_WANTED}
            ORDER BY run_at, seq LIMIT 4 * $4::integer
        ) due
        WHERE level IS NOT NULL
    ) either
    ORDER BY priority DESC, run_at, seq LIMIT 4 * $4::integer
), locked AS MATERIALIZED (
    SELECT job.seq FROM candidates one JOIN {{schema}}.portico_jobs job ON job.seq = one.seq
    WHERE job.status = 'pending' OR (job.status IN ('scheduled', 'retrying')
        AND job.run_at <= (SELECT instant FROM clock))
    ORDER BY one.priority DESC, one.run_at, one.seq
    LIMIT $4::integer FOR UPDATE OF job SKIP LOCKED
), granted AS (
    UPDATE {{schema}}.portico_jobs job SET
        status = 'running', attempt = greatest(0, least(job.attempt, 2147483646)) + 1,
        nonce = $5::bytea, started_at = (SELECT instant FROM clock),
        expires_at = (SELECT instant FROM clock) + $6::bigint, owner_id = $7::bigint
    WHERE job.seq = ANY (ARRAY(SELECT seq FROM locked))
    RETURNING job.*
)
SELECT 'lease' AS kind, $8::integer AS place, -priority::bigint AS rank, run_at, seq,
    cancel_requested, NULL::text AS status, NULL::text AS settled_as, nonce,
    uuid_send(id) AS id, int4send(attempt) || nonce AS token, attempt, queue_name, job_type,
    CASE WHEN {_FITS} THEN payload END AS payload, priority, max_retries, retry_count,
    scheduled_at, started_at, created_at, uuid_send(created_by) AS created_by,
    CASE WHEN {_FITS} THEN metadata END AS metadata, error_message, suspect
FROM granted job"""
"""The columns are those of an exchange."""


def statement(schema: str) -> str:
    """Leases jobs of one queue."""
    return _CHOOSE.format(schema=schema)


async def choose(
    connection: AnyConnection,
    lease_some: str,
    asked: tuple[Sequence[str], int, bytes, int, int],
    wanted: Wanted,
) -> list[Any]:
    """Lease jobs of the wanted types, queue by queue, in order.

    Args:
        connection: in a transaction.
        lease_some: the statement.
        asked: the queues, how many jobs, the nonce, the owner, and the length of a lease.
        wanted: the types.
    """
    queues, limit, nonce, holder, length = asked
    types, rows = sorted(wanted.types), list[Any]()
    await connection.execute(_PLAIN_PLANS)
    for place, queue in enumerate(queues, start=1):
        if len(rows) < limit:
            rows += await connection.fetch(
                lease_some, queue, types, wanted.only, limit - len(rows), nonce, length, holder,
                place, MAX_STORED,
            )  # fmt: skip
    return in_order(rows)
