"""Connections of the standard library and of aiosqlite."""

from __future__ import annotations

import sqlite3
from typing import Any

from portico.adapters.job_queue._callers import refusals
from portico.adapters.job_queue._callers.steps import Rows, Statement

DIALECT = "sqlite"


def opening(connection: Any) -> Statement | None:
    """What the driver would run before a change, for it looks for changes only where they are the
    first word; `None` when a transaction is open.

    Raises:
        ValidationError: it is closed, or would not begin one.
    """
    try:
        if connection.in_transaction:
            return None
    except (sqlite3.ProgrammingError, ValueError) as error:  # the latter is aiosqlite's
        raise refusals.closed(connection) from error
    level = connection.isolation_level
    mode = getattr(connection, "autocommit", None)  # from 3.12 on; -1 leaves it to the level
    if mode is True or level is None:
        raise refusals.autocommit(connection)
    return Statement(f"BEGIN {level}".rstrip())


class Sqlite3Caller:
    """A `sqlite3.Connection`."""

    dialect = DIALECT
    prepared = False

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.driver = self._connection = connection

    def opening(self) -> Statement | None:
        """What opens a transaction, where none is open."""
        return opening(self._connection)

    def execute(self, statement: Statement) -> Rows:
        """Run it; the caller's own row factory is not for these rows."""
        cursor = self._connection.cursor()
        cursor.row_factory = None
        return cursor.execute(*statement).fetchall()


class AiosqliteCaller:
    """An `aiosqlite.Connection`."""

    dialect = DIALECT
    prepared = False

    def __init__(self, connection: Any) -> None:
        self.driver = self._connection = connection

    def opening(self) -> Statement | None:
        """What opens a transaction, where none is open."""
        return opening(self._connection)

    async def execute(self, statement: Statement) -> Rows:
        """Run it; the caller's own row factory is not for these rows."""
        async with self._connection.cursor() as cursor:
            cursor.row_factory = None
            await cursor.execute(*statement)
            rows: Rows = await cursor.fetchall()
            return rows
