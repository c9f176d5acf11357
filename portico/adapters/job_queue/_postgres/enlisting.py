"""Storing jobs on a connection of the caller's, in its transaction: what to run, in what order.

Nothing here may fail in the server: that would end the caller's transaction.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import parse_qs, unquote

from portico.adapters.job_queue._admission import full
from portico.adapters.job_queue._callers.steps import Statement, Steps
from portico.adapters.job_queue._postgres.inserts import (
    answers_of,
    insert_arguments,
    insert_statement,
)
from portico.adapters.job_queue._postgres.place import PostgresPlace
from portico.adapters.job_queue._postgres.reading import waiting_query
from portico.adapters.job_queue._postgres.schema import migrations
from portico.exceptions import ConfigurationError, ValidationError
from portico.ports.draft import Draft
from portico.ports.leasing import Inserted

_WHERE = Statement(
    "SELECT current_database(), has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE')"
)
_SYSTEM = Statement("SELECT system_identifier FROM pg_catalog.pg_control_system()")
_TABLES = """
SELECT count(*) = 3 FROM pg_catalog.pg_class AS one
JOIN pg_catalog.pg_namespace AS schema ON schema.oid = one.relnamespace
WHERE schema.nspname = CAST($1 AS text) AND has_schema_privilege(schema.oid, 'USAGE')
    AND one.relname IN ('portico_schema', 'portico_jobs', 'portico_totals')
    AND has_table_privilege(one.oid, 'SELECT')
    AND (one.relname = 'portico_schema' OR has_table_privilege(one.oid, 'INSERT'))"""


class Identity(NamedTuple):
    """Which database this is, whatever the way to it."""

    database: str | None
    system: int | None = None
    """The cluster's own number, the same on its replicas; `None` where it is not told."""

    def is_another(self, than: Identity) -> bool:
        """Whether the two differ in what is known of both."""
        return any(
            ours is not None and theirs is not None and ours != theirs
            for ours, theirs in zip(self, than, strict=True)
        )


def identity_of(place: PostgresPlace) -> Identity:
    """What a URL tells of it."""
    address, _, query = place.url.partition("?")
    named = unquote(address.partition("://")[2].partition("/")[2])
    return Identity(parse_qs(query).get("dbname", [named])[-1] or None)


def identify() -> Steps[Identity]:
    """Ask a connection where it leads."""
    ((database, may_ask),) = yield _WHERE
    if not may_ask:
        return Identity(str(database))
    ((system,),) = yield _SYSTEM
    return Identity(str(database), int(system))


def vouch(place: PostgresPlace, ours: Identity) -> Steps[None]:
    """Make sure that the connection is to the queue's database, and that it has the tables."""
    theirs = yield from identify()
    if theirs.is_another(ours):
        server = " of another server" if theirs.database == ours.database else ""
        raise ValidationError(
            f"the connection is to the database {theirs.database!r}{server}, and the queue is in "
            f"{ours.database!r}; give a connection to that one, or keep the queue in the other: "
            "what is in two databases is not committed together"
        )
    ((there,),) = yield Statement(_TABLES, (place.schema,))
    version = 0
    if there:
        ((version,),) = yield Statement(
            f"SELECT coalesce(max(version), 0) FROM {place.quoted_schema}.portico_schema"
        )
    needed = len(migrations())
    if version != needed:
        what = f"has version {version}" if there else "is not there, or not for this role to use"
        raise ConfigurationError(
            f"{place}: the schema {place.schema!r} {what}, and this release of Portico needs "
            f"version {needed}; run `portico migrate up`, and grant the role USAGE of the schema, "
            "SELECT and INSERT on its tables",
            {"version": version, "needed": needed},
        )


def enlist(
    place: PostgresPlace, drafts: Sequence[Draft], max_pending: int | None
) -> Steps[list[Inserted | None]]:
    """Insert, if there is room; consumers are told by the commit."""
    if max_pending is not None:
        yield from _check_room(place, drafts, max_pending)
    rows = yield Statement(insert_statement(place), tuple(insert_arguments(drafts, place)))
    return answers_of(drafts, rows)


def _check_room(place: PostgresPlace, drafts: Sequence[Draft], max_pending: int) -> Steps[None]:
    query = waiting_query(place.quoted_schema)
    for queue_name, more in Counter(draft.queue_name for draft in drafts).items():
        ((waiting,),) = yield Statement(query, (queue_name, max_pending))
        if waiting + more > max_pending:
            raise full(queue_name, waiting, more, max_pending)
