"""Leasing jobs of some types only: what `portico_exchange` does for all, in statements of its own.

Which ones is decided here, of portions of what waits; then those are locked and leased.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from portico.adapters.job_queue._postgres.connections import AnyConnection
from portico.adapters.job_queue._postgres.settling import ERROR_SENT, in_order
from portico.adapters.job_queue._sweep import (
    HEAD,
    PORTION,
    Candidate,
    Found,
    Looking,
    Mark,
    Sweeps,
)
from portico.ports.document import MAX_STORED
from portico.ports.wanted import Wanted

_PLAIN_PLANS = """
SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL enable_hashjoin = off;
SET LOCAL enable_mergejoin = off; SET LOCAL jit = off"""
"""As the functions have them: by the indexes, in their order."""

_LATER = "status IN ('scheduled', 'retrying') AND queue_name = $1"
_SIZE = "pg_catalog.octet_length(job.payload) + pg_catalog.octet_length(job.metadata)"
_FITS = f"{_SIZE} <= $8::bigint"
_IN_ORDER = f"ORDER BY priority DESC, run_at, seq LIMIT {PORTION}"
_DUE = "run_at <= (SELECT instant FROM clock)"
_SAME_LEVEL_BEHIND = "priority = $2::bigint AND (run_at, seq) > ($3::bigint, $4::bigint)"

_LOOK = f"""
WITH RECURSIVE clock (instant) AS MATERIALIZED (
    SELECT {{schema}}.portico_now()
), levels (level) AS (
    SELECT (SELECT priority FROM {{schema}}.portico_jobs WHERE {_LATER} AND priority < $2::bigint
            ORDER BY priority DESC LIMIT 1)
    UNION ALL
    SELECT (SELECT priority FROM {{schema}}.portico_jobs WHERE {_LATER} AND priority < level
            ORDER BY priority DESC LIMIT 1)
    FROM levels WHERE level IS NOT NULL
)
SELECT priority, run_at, seq, job_type FROM (
    (SELECT priority, run_at, seq, job_type FROM {{schema}}.portico_jobs
     WHERE status = 'pending' AND queue_name = $1 AND {_SAME_LEVEL_BEHIND} {_IN_ORDER})
    UNION ALL
    (SELECT priority, run_at, seq, job_type FROM {{schema}}.portico_jobs
     WHERE status = 'pending' AND queue_name = $1 AND priority < $2::bigint {_IN_ORDER})
    UNION ALL
    (SELECT priority, run_at, seq, job_type FROM {{schema}}.portico_jobs
     WHERE {_LATER} AND {_SAME_LEVEL_BEHIND} AND {_DUE} {_IN_ORDER})
    UNION ALL
    SELECT due.* FROM levels CROSS JOIN LATERAL (
        SELECT priority, run_at, seq, job_type FROM {{schema}}.portico_jobs
        WHERE {_LATER} AND priority = level AND {_DUE}
        ORDER BY run_at, seq LIMIT {PORTION}
    ) due
    WHERE level IS NOT NULL
) either
{_IN_ORDER}"""
_TOP: Mark = (-(2**31), 0, 0)
"""What is before every job, in numbers: no priority is as high."""

# By order of the instant, not of the keys: another supervisor may have some of them by now.
_LEASE = f"""
WITH clock (instant) AS MATERIALIZED (
    SELECT {{schema}}.portico_now()
), locked AS MATERIALIZED (
    SELECT job.seq FROM pg_catalog.unnest($1::bigint[]) WITH ORDINALITY AS one (seq, place)
    JOIN {{schema}}.portico_jobs job ON job.seq = one.seq
    WHERE job.status = 'pending' OR (job.status IN ('scheduled', 'retrying')
        AND job.run_at <= (SELECT instant FROM clock))
    ORDER BY one.place LIMIT $2::integer FOR UPDATE OF job SKIP LOCKED
), granted AS (
    UPDATE {{schema}}.portico_jobs job SET
        status = 'running', attempt = greatest(0, least(job.attempt, 2147483646)) + 1,
        nonce = $3::bytea, started_at = (SELECT instant FROM clock),
        expires_at = (SELECT instant FROM clock) + $4::bigint, owner_id = $5::bigint
    WHERE job.seq = ANY (ARRAY(SELECT seq FROM locked))
    RETURNING job.*
)
SELECT 'lease' AS kind, $6::integer AS place, -priority::bigint AS rank, run_at, seq,
    cancel_requested, NULL::text AS status, NULL::text AS settled_as, nonce,
    pg_catalog.uuid_send(id) AS id, pg_catalog.int4send(attempt) || nonce AS token, attempt,
    queue_name, job_type,
    CASE WHEN {_FITS} THEN payload END AS payload, priority, max_retries, retry_count,
    scheduled_at, started_at, created_at, pg_catalog.uuid_send(created_by) AS created_by,
    CASE WHEN {_FITS} THEN metadata END AS metadata, {ERROR_SENT} AS error_message, suspect
FROM granted job WHERE job.queue_name = $7::text"""
"""The columns are those of an exchange."""
_TRIES = 16
"""Looks at a queue for what others hold no lock on. They do for a moment, as a rule; one that hangs
keeps its locks, and what it holds would be all that is ever chosen where little is asked for."""


class Chosen(NamedTuple):
    """What was leased, whether there is more to look at, and whether somebody else is at it."""

    rows: list[Any]
    unseen: bool = False
    contended: bool = False


class Statements(NamedTuple):
    """Those of one schema: they look at a portion of what waits, and lease jobs of it."""

    look: str
    lease: str


def statements(schema: str) -> Statements:
    """Those of this schema."""
    return Statements(_LOOK.format(schema=schema), _LEASE.format(schema=schema))


async def choose(
    connection: AnyConnection,
    statements: Statements,
    asked: tuple[Sequence[str], int, bytes, int, int],
    sweeps: Sweeps,
    wanted: Wanted,
) -> Chosen:
    """Lease jobs of the wanted types, queue by queue, in order.

    Args:
        connection: in a transaction.
        statements: those of the schema.
        asked: the queues, how many jobs, the nonce, the owner, and the length of a lease.
        sweeps: what is known of the queues.
        wanted: the types.
    """
    queues, limit, nonce, holder, length = asked
    rows, unseen, contended = list[Any](), False, False
    await connection.execute(_PLAIN_PLANS)
    for place, queue in enumerate(queues, start=1):
        held: list[Any] = []
        for _ in range(_TRIES):
            if (left := limit - len(rows)) <= 0:
                break
            looking = sweeps.of(queue).look(wanted, left, held)
            keys, more = await _looked(looking, connection, statements.look, queue)
            values = (keys, left, nonce, length, holder, place, queue, MAX_STORED)
            leased = await connection.fetch(statements.lease, *values) if keys else []
            wanted = wanted.after(row["job_type"] for row in leased)
            rows += leased
            missed = len(leased) < len(keys)
            contended |= missed
            unseen |= more and (bool(leased) or not missed)
            held += keys
            if not missed:
                break
    return Chosen(in_order(rows), unseen, contended)


async def _looked(
    looking: Looking[Found], connection: AnyConnection, statement: str, queue: str
) -> Found:
    mark = next(looking)
    while True:
        rank, run_at, seq = _TOP if mark == HEAD else mark
        rows = await connection.fetch(statement, queue, -rank, run_at, seq)
        try:
            mark = looking.send([Candidate((-row[0], *row[1:3]), row[3], row[2]) for row in rows])
        except StopIteration as done:
            found: Found = done.value
            return found
