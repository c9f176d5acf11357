"""Bringing a file to this release's version from the command line."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from portico.adapters.job_queue._sqlite import schema
from portico.adapters.job_queue._sqlite.connection import connect, open_writer, translated
from portico.adapters.job_queue._sqlite.obstacles import obstacle
from portico.adapters.job_queue._sqlite.place import place_of
from portico.exceptions import ConfigurationError


class SqliteKeeper:
    """The file that a URL names."""

    def __init__(self, url: str) -> None:
        self._place, _ = place_of(url)

    async def up(self) -> list[str]:
        """Apply what is not applied; the names of that."""
        before = self._version()
        open_writer(self._place).close()
        return [_named(number) for number in _VERSIONS if number > before]

    async def status(self) -> list[tuple[str, bool]]:
        """Every version by name, oldest first, and whether it is applied."""
        version = self._version()
        return [(_named(number), number <= version) for number in _VERSIONS]

    def sql(self) -> str:
        """All versions as SQL."""
        return "\n".join(schema.MIGRATIONS)

    def _version(self) -> int:
        if found := obstacle(self._place.path, writing=False):
            raise ConfigurationError(f"{self._place}: {found}")
        if not self._place.path.exists():
            return 0
        try:
            with closing(connect(self._place)) as connection:
                return schema.version_of(connection)
        except sqlite3.Error as error:
            raise translated(error, self._place) from error


_VERSIONS = range(1, len(schema.MIGRATIONS) + 1)


def _named(number: int) -> str:
    return f"{number:04}"
