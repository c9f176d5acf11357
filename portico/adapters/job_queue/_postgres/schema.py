"""The schema's versions: what each adds, and how a database gets them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib import resources
from typing import TYPE_CHECKING, NamedTuple

from portico.adapters.job_queue._postgres.place import OWN_PATH, PostgresPlace
from portico.exceptions import ConfigurationError

if TYPE_CHECKING:
    from portico.adapters.job_queue._postgres.connections import AnyConnection

Work = Callable[["AnyConnection"], Awaitable[None]]

_PATIENCE = 300.0
"""Seconds for others to finish the same migrations, and for our own."""
_LOCK_PATIENCE = 3.0
"""Seconds for a lock on a table that is in use: everybody else who comes waits behind who waits for
it, and has less patience than a transaction may be open."""


class Migration(NamedTuple):
    """One version: its number, from 1, and what it is about."""

    version: int
    name: str
    script: str


def migrations() -> list[Migration]:
    """All versions, oldest first. A released one is never changed: another one follows it."""
    folder = resources.files(__package__) / "migrations"
    found = sorted((one.name, one.read_text()) for one in folder.iterdir() if _is_one(one.name))
    return [
        Migration(number, name.removesuffix(".sql").partition("_")[2].replace("_", " "), script)
        for number, (name, script) in enumerate(found, 1)
    ]


def _is_one(name: str) -> bool:
    return name.endswith(".sql")


# Read as rows, from a snapshot of their own. `to_regclass` answers from the session's cache, which
# an advisory lock does not freshen: who has waited for another one's migration would hear that
# there is still no table.
_HAS_SCHEMA = "SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1)"
_HAS_TABLE = """
SELECT EXISTS (
    SELECT FROM pg_catalog.pg_class JOIN pg_catalog.pg_namespace n ON n.oid = relnamespace
    WHERE n.nspname = $1 AND relname = 'portico_schema'
)"""


async def upgrade(connection: AnyConnection, place: PostgresPlace) -> list[Migration]:
    """Bring the schema to this release's version, in one transaction, one process at a time.

    Returns:
        What was applied.

    Raises:
        ConfigurationError: it was made by a newer release.
        asyncpg.LockNotAvailableError: somebody's transaction has kept a table that is to change.
    """
    known = migrations()
    if await version_of(connection, place) == len(known):
        return []
    schema = place.quoted_schema
    async with connection.transaction():
        await connection.execute(
            f"SET LOCAL search_path = {OWN_PATH}; SET LOCAL statement_timeout = 0"
        )
        await connection.execute(_locked(place), timeout=_PATIENCE)
        await connection.execute(f"SET LOCAL lock_timeout = {int(_LOCK_PATIENCE * 1000)}")
        version = await version_of(connection, place)
        _check(version, len(known), place)
        if not await connection.fetchval(_HAS_SCHEMA, place.schema):
            await connection.execute(f"CREATE SCHEMA {schema}")
        for migration in known[version:]:
            await connection.execute(_applied(migration, place), timeout=_PATIENCE)
    return known[version:]


async def check(connection: AnyConnection, place: PostgresPlace) -> None:
    """Make sure that the schema is of this release's version.

    Raises:
        ConfigurationError: it is older or newer; the message says what to do.
    """
    version, newest = await version_of(connection, place), len(migrations())
    _check(version, newest, place)
    if version == 0:
        raise ConfigurationError(
            f"{place}: there are no tables of Portico's in the schema {place.schema!r}; name the "
            "right one with ?schema=, or have them made: run `portico migrate up`, or let the "
            "first supervisor or producer do it",
            {"version": version, "needed": newest},
        )
    if version < newest:
        raise ConfigurationError(
            f"{place}: the schema {place.schema!r} has version {version}, and this release of "
            f"Portico needs version {newest}; run `portico migrate up`",
            {"version": version, "needed": newest},
        )


async def version_of(connection: AnyConnection, place: PostgresPlace) -> int:
    """Which version the schema has; 0 when there is none."""
    if not await connection.fetchval(_HAS_TABLE, place.schema):
        return 0
    table = f"{place.quoted_schema}.portico_schema"
    return int(
        await connection.fetchval(f"SELECT coalesce(pg_catalog.max(version), 0) FROM {table}")
    )


def script(place: PostgresPlace, version: int = 0) -> str:
    """The SQL of all versions after one, for a person with more rights to run."""
    steps = [
        "BEGIN;",
        f"SET LOCAL search_path = {OWN_PATH};",
        f"{_locked(place)};",
        f"CREATE SCHEMA IF NOT EXISTS {place.quoted_schema};",
        *(_applied(migration, place) for migration in migrations()[version:]),
        "COMMIT;\n",
    ]
    return "\n".join(steps)


def _applied(migration: Migration, place: PostgresPlace) -> str:
    schema = place.quoted_schema
    return (
        f"{migration.script.replace('{schema}', schema)}\n"
        f"CREATE TABLE IF NOT EXISTS {schema}.portico_schema (version integer NOT NULL);\n"
        f"DELETE FROM {schema}.portico_schema;\n"
        f"INSERT INTO {schema}.portico_schema VALUES ({migration.version});"
    )


def _locked(place: PostgresPlace) -> str:
    return (
        "SELECT pg_catalog.pg_advisory_xact_lock("
        f"pg_catalog.hashtextextended('portico schema {place.schema}', 0))"
    )


def _check(version: int, newest: int, place: PostgresPlace) -> None:
    if version > newest:
        raise ConfigurationError(
            f"{place}: the schema {place.schema!r} has version {version}, and this release of "
            f"Portico knows versions up to {newest}; upgrade Portico, or name another schema",
            {"version": version, "known": newest},
        )
