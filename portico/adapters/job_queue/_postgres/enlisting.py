"""Storing jobs on a connection of the caller's, in its transaction: what to run, in what order.

Nothing here may fail in the server: that would end the caller's transaction.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from portico.adapters.job_queue._admission import full
from portico.adapters.job_queue._callers.steps import Statement, Steps, digits
from portico.adapters.job_queue._postgres.inserts import (
    answers_of,
    insert_statement,
    plain_answers,
    plain_arguments,
)
from portico.adapters.job_queue._postgres.place import OWN_PATH, PostgresPlace
from portico.adapters.job_queue._postgres.schema import migrations
from portico.adapters.job_queue._postgres.waiting import waiting_query
from portico.exceptions import ConfigurationError, ValidationError
from portico.ports.bulk import PORTION
from portico.ports.draft import Draft
from portico.ports.leasing import Inserted

_WORD, _BYTES = "Portico_0.9:-", b"\0\xff{}"
_WHERE = Statement(
    """
SELECT pg_catalog.encode(pg_catalog.convert_to(pg_catalog.current_database(), 'UTF8'), 'hex'),
    CAST(CAST(pg_catalog.has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE')
        AS integer) AS pg_catalog.text),
    CAST(CAST(
        CAST($1 AS pg_catalog.text[]) OPERATOR(pg_catalog.=) ARRAY['Portico_0.9:-']
        AND CAST($2 AS pg_catalog.bytea[]) OPERATOR(pg_catalog.=)
            ARRAY[pg_catalog.decode('00ff7b7d', 'hex')]
    AS integer) AS pg_catalog.text),
    CAST(CAST(pg_catalog.current_setting('transaction_read_only') OPERATOR(pg_catalog.=) 'on'
        AS integer) AS pg_catalog.text)""",
    ([_WORD], [_BYTES]),
)
"""All in words that no codec of a caller's connection is likely to change; and whether one of them
changes what is sent. Types, functions and operators are the server's own, here and in all that is
run on such a connection: its search_path may lead to what others have laid there."""
_LEAVE_HOME = Statement(f"""
SELECT pg_catalog.encode(
        pg_catalog.convert_to(pg_catalog.current_setting('search_path'), 'UTF8'), 'hex'),
    pg_catalog.set_config('search_path', '{OWN_PATH}', true)""")
_GO_HOME = """
SELECT pg_catalog.set_config('search_path', pg_catalog.convert_from(
    pg_catalog.decode('{path}', 'hex'), 'UTF8'), true)"""
"""Between the two a driver may ask the server about types, once per connection: asyncpg does, and
calls functions by their bare names. The path is part of the statement, for what is sent beside it
may not arrive as it is."""
_SYSTEM = Statement(
    "SELECT CAST(system_identifier AS pg_catalog.text) FROM pg_catalog.pg_control_system()"
)
_TABLES = """
SELECT CAST(CAST(pg_catalog.count(*) OPERATOR(pg_catalog.=) 3 AS integer) AS pg_catalog.text)
FROM pg_catalog.pg_class AS one
JOIN pg_catalog.pg_namespace AS schema ON schema.oid OPERATOR(pg_catalog.=) one.relnamespace
WHERE schema.nspname OPERATOR(pg_catalog.=) CAST($1 AS pg_catalog.name)
    AND pg_catalog.has_schema_privilege(schema.oid, 'USAGE')
    AND one.relname OPERATOR(pg_catalog.=)
        ANY (CAST('{portico_schema,portico_jobs,portico_totals}' AS pg_catalog.name[]))
    AND pg_catalog.has_table_privilege(one.oid, 'SELECT')
    AND (one.relname OPERATOR(pg_catalog.=) 'portico_schema'
        OR pg_catalog.has_table_privilege(one.oid, 'INSERT'))"""


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
    return Identity(place.database)


def identify() -> Steps[Identity]:
    """Ask a connection where it leads."""
    told = yield from _ask()
    return told.identity


class _Told(NamedTuple):
    identity: Identity
    sound: bool
    """What is sent arrives as it is."""
    read_only: bool


def _ask() -> Steps[_Told]:
    ((name, may_ask, sound, read_only),) = yield _WHERE
    system = None
    if int(may_ask):
        ((number,),) = yield _SYSTEM
        system = int(number)
    database = bytes.fromhex(digits(name)).decode()
    return _Told(Identity(database, system), bool(int(sound)), bool(int(read_only)))


def vouch(place: PostgresPlace, ours: Identity) -> Steps[None]:
    """Make sure that the connection is to the queue's database, that it has the tables, and that
    what is sent gets there."""
    ((path, _),) = yield _LEAVE_HOME
    theirs, sound, read_only = yield from _ask()
    yield Statement(_GO_HOME.format(path=bytes.fromhex(digits(path)).hex()))
    if not sound:
        raise ValidationError(
            "the connection has codecs that change text or bytes on their way to the server; "
            "create the job on a connection without them"
        )
    if read_only:
        raise ValidationError(
            "the connection's transaction may only read; begin one that may write"
        )
    if theirs.is_another(ours):
        server = " of another server" if theirs.database == ours.database else ""
        raise ValidationError(
            f"the connection is to the database {theirs.database!r}{server}, and the queue is in "
            f"{ours.database!r}; give a connection to that one, or keep the queue in the other: "
            "what is in two databases is not committed together"
        )
    ((there,),) = yield Statement(_TABLES, (place.schema,))
    version = 0
    if int(there):
        ((told,),) = yield Statement(
            "SELECT CAST(coalesce(pg_catalog.max(version), 0) AS pg_catalog.text) "
            f"FROM {place.quoted_schema}.portico_schema"
        )
        version = int(told)
    needed = len(migrations())
    if version != needed:
        what = (
            f"has version {version}" if int(there) else "is not there, or not for this role to use"
        )
        raise ConfigurationError(
            f"{place}: the schema {place.schema!r} {what}, and this release of Portico needs "
            f"version {needed}; run `portico migrate up`, and grant the role USAGE of the schema, "
            "SELECT and INSERT on its tables",
            {"version": version, "needed": needed},
        )


def enlist(
    place: PostgresPlace, drafts: Sequence[Draft], max_pending: int | None, *, prepared: bool
) -> Steps[list[Inserted | None]]:
    """Insert, if there is room; consumers are told by the commit, unless it is to be prepared:
    PostgreSQL prepares no transaction that tells anybody anything."""
    if max_pending is not None:
        yield from _check_room(place, drafts, max_pending)
    stored: list[Inserted | None] = []
    for first in range(0, len(drafts), PORTION):
        portion = drafts[first : first + PORTION]
        arguments = plain_arguments(portion, place, woken=() if prepared else None)
        rows = yield Statement(insert_statement(place, plain=True), tuple(arguments))
        stored += answers_of(portion, plain_answers(rows))
    return stored


def _check_room(place: PostgresPlace, drafts: Sequence[Draft], max_pending: int) -> Steps[None]:
    query = f"SELECT CAST(({waiting_query(place.quoted_schema)}) AS pg_catalog.text)"
    for queue_name, more in Counter(draft.queue_name for draft in drafts).items():
        ((told,),) = yield Statement(query, (queue_name, str(max_pending)))
        waiting = int(told)
        if waiting + more > max_pending:
            raise full(queue_name, waiting, more, max_pending)
