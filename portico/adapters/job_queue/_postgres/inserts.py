"""Storing jobs: one statement, which any driver's connection can run.

It stores, counts and wakes in the transaction of whoever runs it, so a job can be created together
with an application's own rows:

    text = insert_statement(place)                      # $1, $2, ...: asyncpg
    text = insert_statement(place, lambda n: "%s")      # psycopg; each is used once, in order
    text = insert_statement(place, lambda n: f":p{n}")  # SQLAlchemy's text()
    rows = await connection.fetch(text, *insert_arguments(drafts, place, woken))
    answers = answers_of(drafts, rows)

The arguments are plain lists, and `None`, `int`, `str`, `bytes` and `UUID` inside of them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any
from uuid import UUID

from portico.adapters.job_queue._postgres.place import PostgresPlace
from portico.adapters.job_queue._rows import inserted, micros
from portico.ports.draft import Draft
from portico.ports.leasing import Inserted


def _numbered(number: int) -> str:
    return f"${number}"


def insert_statement(place: PostgresPlace, placeholder: Callable[[int], str] = _numbered) -> str:
    """The statement; a row of `id`, `status`, `created_at` for each draft whose id was free."""
    schema = place.quoted_schema
    types = ("uuid", "text", "text", "bytea", "integer", "integer", "bigint", "uuid", "bytea")
    arrays = ", ".join(
        f"CAST({placeholder(number)} AS {name}[])" for number, name in enumerate(types, 1)
    )
    return f"""
WITH clock AS MATERIALIZED (
    SELECT {schema}.portico_now() AS now
), stored AS (
    INSERT INTO {schema}.portico_jobs (id, queue_name, job_type, payload, priority, max_retries,
        scheduled_at, created_by, metadata, status, run_at, created_at)
    SELECT id, queue_name, job_type, payload, priority, max_retries, scheduled_at, created_by,
        metadata, CASE WHEN scheduled_at > now THEN 'scheduled' ELSE 'pending' END,
        coalesce(scheduled_at, now), now
    FROM clock CROSS JOIN unnest({arrays}) WITH ORDINALITY AS draft (id, queue_name, job_type,
        payload, priority, max_retries, scheduled_at, created_by, metadata, place)
    ORDER BY place
    ON CONFLICT (id) DO NOTHING
    RETURNING id, queue_name, status, created_at
), counted AS (
    INSERT INTO {schema}.portico_totals (queue_name, jobs)
    SELECT queue_name, count(*) FROM stored GROUP BY queue_name
), woken AS MATERIALIZED (
    SELECT pg_notify(CAST({placeholder(10)} AS text), queue)
    FROM unnest(CAST({placeholder(11)} AS text[])) AS one (queue)
)
SELECT id, status, created_at, (SELECT count(*) FROM woken) AS told FROM stored"""


def insert_arguments(
    drafts: Sequence[Draft], place: PostgresPlace, woken: Collection[str] | None = None
) -> list[Any]:
    """The arguments of that statement.

    Args:
        drafts: what is to be stored.
        place: where.
        woken: the queues whose consumers are to be told; all of the drafts' when left out.
    """
    return [
        [draft.id for draft in drafts],
        [draft.queue_name for draft in drafts],
        [draft.job_type for draft in drafts],
        [draft.payload for draft in drafts],
        [draft.priority for draft in drafts],
        [draft.max_retries for draft in drafts],
        [None if draft.scheduled_at is None else micros(draft.scheduled_at) for draft in drafts],
        [draft.created_by for draft in drafts],
        [draft.metadata for draft in drafts],
        place.channel,
        sorted({draft.queue_name for draft in drafts} if woken is None else woken),
    ]


def answers_of(drafts: Sequence[Draft], rows: Iterable[Sequence[Any]]) -> list[Inserted | None]:
    """What became of each draft, told by the rows of the statement."""
    stored: dict[UUID, Inserted] = {row[0]: inserted(row[1], row[2]) for row in rows}
    return [stored.pop(draft.id, None) for draft in drafts]
