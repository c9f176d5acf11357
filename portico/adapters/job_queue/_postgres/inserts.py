"""Storing jobs: one statement, which stores, counts and wakes in its caller's transaction.

So a job can be created together with an application's own rows.

It has two forms. The plain one is for an application's connection, which may have its own way with
numbers and ids: there all but the documents goes and comes back as text, in letters and digits
whose case says nothing. On the store's own connections the driver packs the values, which is
faster:

    rows = await connection.fetch(insert_statement(place), *insert_arguments(drafts, place, woken))
    answers = answers_of(drafts, rows)
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any
from uuid import UUID

from portico.adapters.job_queue._callers.steps import digits
from portico.adapters.job_queue._postgres.place import PostgresPlace
from portico.adapters.job_queue._rows import PENDING, SCHEDULED, inserted, micros
from portico.ports.draft import Draft
from portico.ports.leasing import Inserted

_TYPES = (
    "uuid",
    "text",
    "text",
    "bytea",
    "int4",
    "int4",
    "int8",
    "int8",
    "uuid",
    "bytea",
)
"""As the catalogue calls them; `bytea` and the others are looked for in the server's own schema, in
which nobody else may create one."""
_PLAIN = ("text", "text", "text", "bytea", "text", "text", "text", "text", "text", "bytea")
_LATER = "status OPERATOR(pg_catalog.=) 'scheduled'"
_WOKEN = "(SELECT pg_catalog.count(*) FROM woken)"
_ANSWER = f"id, {_LATER}, created_at, {_WOKEN}"
_PLAIN_ANSWER = f"""pg_catalog.encode(pg_catalog.uuid_send(id), 'hex'),
    CAST(CAST({_LATER} AS integer) AS pg_catalog.text), CAST(created_at AS pg_catalog.text),
    CAST({_WOKEN} AS pg_catalog.text)"""


def insert_statement(place: PostgresPlace, *, plain: bool = False) -> str:
    """The statement; a row for each draft whose id was free: its id, whether it is due later, and
    when it was created."""
    schema = place.quoted_schema
    types = _PLAIN if plain else _TYPES
    arrays = ", ".join(
        f"CAST(${number} AS pg_catalog.{name}[])" for number, name in enumerate(types, 1)
    )
    return f"""
WITH clock AS MATERIALIZED (
    SELECT {schema}.portico_now() AS now
), stored AS (
    INSERT INTO {schema}.portico_jobs (id, queue_name, job_type, payload, priority, max_retries,
        scheduled_at, created_by, metadata, status, run_at, created_at)
    SELECT CAST(id AS pg_catalog.uuid), queue_name, job_type, payload, CAST(priority AS integer),
        CAST(max_retries AS integer), due, CAST(created_by AS pg_catalog.uuid), metadata,
        CASE WHEN due OPERATOR(pg_catalog.>) now THEN 'scheduled' ELSE 'pending' END,
        coalesce(due, now), now
    FROM clock CROSS JOIN unnest({arrays}) WITH ORDINALITY AS draft (id, queue_name, job_type,
        payload, priority, max_retries, scheduled_at, delay, created_by, metadata, place)
    CROSS JOIN LATERAL (
        SELECT coalesce(CAST(scheduled_at AS bigint),
            now OPERATOR(pg_catalog.+) CAST(delay AS bigint)) AS due
    ) AS instant
    ORDER BY place
    ON CONFLICT (id) DO NOTHING
    RETURNING id, queue_name, status, created_at
), counted AS (
    INSERT INTO {schema}.portico_totals (queue_name, jobs)
    SELECT queue_name, pg_catalog.count(*) FROM stored GROUP BY queue_name
), woken AS MATERIALIZED (
    SELECT pg_catalog.pg_notify(CAST($11 AS pg_catalog.text), queue)
    FROM pg_catalog.unnest(CAST($12 AS pg_catalog.text[])) AS one (queue)
)
SELECT {_PLAIN_ANSWER if plain else _ANSWER} FROM stored"""


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
        [draft.delay for draft in drafts],
        [draft.created_by for draft in drafts],
        [draft.metadata for draft in drafts],
        place.channel,
        sorted({draft.queue_name for draft in drafts} if woken is None else woken),
    ]


def plain_arguments(
    drafts: Sequence[Draft], place: PostgresPlace, woken: Collection[str] | None = None
) -> list[Any]:
    """The arguments of its plain form."""
    arguments = insert_arguments(drafts, place, woken)
    columns = [
        column if name == "bytea" else [None if one is None else str(one) for one in column]
        for name, column in zip(_PLAIN, arguments, strict=False)
    ]
    return [*columns, *arguments[len(columns) :]]


def answers_of(drafts: Sequence[Draft], rows: Iterable[Sequence[Any]]) -> list[Inserted | None]:
    """What became of each draft, told by the rows of the statement."""
    stored = {row[0]: inserted(SCHEDULED if row[1] else PENDING, row[2]) for row in rows}
    return [stored.pop(draft.id, None) for draft in drafts]


def plain_answers(rows: Iterable[Sequence[Any]]) -> list[tuple[UUID, int, int]]:
    """The rows of the plain form, as those of the other."""
    return [(UUID(digits(row[0])), int(row[1]), int(row[2])) for row in rows]
