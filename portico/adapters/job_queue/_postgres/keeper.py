"""Bringing a schema to this release's version from the command line."""

from __future__ import annotations

from portico.adapters.job_queue._postgres import schema
from portico.adapters.job_queue._postgres.connections import AnyConnection, Connections
from portico.adapters.job_queue._postgres.place import PostgresPlace, place_of


class PostgresKeeper:
    """The schema that a URL names; `?migrate=no` does not keep it from being asked for."""

    def __init__(self, url: str) -> None:
        self._place, _ = place_of(url)
        self._read, _ = place_of(url, reading=True)

    async def up(self) -> list[str]:
        """Apply what is not applied; the names of that."""
        applied: list[schema.Migration] = []

        async def work(connection: AnyConnection) -> None:
            applied.extend(await schema.upgrade(connection, self._place))

        await self._with_connection(work, self._place)
        return [_named(one) for one in applied]

    async def status(self) -> list[tuple[str, bool]]:
        """Every version by name, oldest first, and whether it is applied."""
        version = 0

        async def work(connection: AnyConnection) -> None:
            nonlocal version
            version = await schema.version_of(connection, self._read)

        await self._with_connection(work, self._read)
        return [(_named(one), one.version <= version) for one in schema.migrations()]

    def sql(self) -> str:
        """All versions as SQL."""
        return schema.script(self._place)

    async def _with_connection(self, work: schema.Work, place: PostgresPlace) -> None:
        connections = Connections(place)
        await connections.start(work)
        await connections.stop()


def _named(migration: schema.Migration) -> str:
    return f"{migration.version:04} {migration.name}"
