"""Connections of asyncpg and psycopg 3."""

from __future__ import annotations

import re
from typing import Any

from portico.adapters.job_queue._callers import refusals
from portico.adapters.job_queue._callers.steps import Rows, Statement

DIALECT = "postgresql"
_PLACE = re.compile(r"\$([0-9]+)")
_IDLE, _IN_ERROR = 0, 3
"""Of libpq's PGTransactionStatusType."""


def _as_tuples(cursor: object) -> type[tuple[Any, ...]]:
    """What psycopg calls a row factory."""
    del cursor
    return tuple


def in_percent_style(statement: Statement) -> Statement:
    """The statement with `%s` for `$1`, an argument for each place."""
    numbers = [int(number) - 1 for number in _PLACE.findall(statement.text)]
    text = _PLACE.sub("%s", statement.text.replace("%", "%%"))
    return Statement(text, tuple(statement.arguments[number] for number in numbers))


class AsyncpgCaller:
    """An `asyncpg.Connection`, or what its pool gives out for one, which is new each time."""

    dialect = DIALECT
    prepared = False

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.driver = getattr(connection, "_con", connection)

    def opening(self) -> None:
        """Nothing: make sure that a transaction is open; this driver begins none by itself."""
        from asyncpg import InterfaceError

        try:
            gone = self._connection.is_closed()
        except InterfaceError as error:  # it was given back to its pool
            raise refusals.closed(self._connection) from error
        if gone:
            raise refusals.closed(self._connection)
        if not self._connection.is_in_transaction():
            raise refusals.autocommit(self._connection)

    async def execute(self, statement: Statement) -> Rows:
        """Run it."""
        from asyncpg import InFailedSQLTransactionError

        try:
            rows: Rows = await self._connection.fetch(statement.text, *statement.arguments)
        except InFailedSQLTransactionError as error:
            raise refusals.aborted(self._connection) from error
        return rows


def in_pipeline(connection: Any) -> bool:
    """Whether a connection of psycopg sends statements without waiting for their answers."""
    protocol = getattr(connection, "pgconn", None)
    return bool(getattr(protocol, "pipeline_status", False))


class _Psycopg:
    """What the two kinds of psycopg's connections have in common."""

    dialect = DIALECT

    def __init__(self, connection: Any) -> None:
        self.driver = self._connection = connection

    @property
    def prepared(self) -> bool:
        """Whether the transaction was begun by `tpc_begin`."""
        return getattr(self._connection, "_tpc", None) is not None

    def opening(self) -> None:
        """Nothing: make sure that a transaction is open, or begins with the next statement."""
        connection = self._connection
        if connection.closed:
            raise refusals.closed(connection)
        if in_pipeline(connection):
            raise refusals.pipelined(connection)
        status = connection.info.transaction_status
        if status == _IN_ERROR:
            raise refusals.aborted(connection)
        if status == _IDLE and connection.autocommit:
            raise refusals.autocommit(connection)
        if status == _IDLE and connection.read_only:
            raise refusals.read_only(connection)

    def _in_its_style(self, cursor: object, statement: Statement) -> Statement:
        """As the cursors that the application has chosen take it."""
        names = {kind.__name__ for kind in type(cursor).__mro__}
        return statement if "RawCursorMixin" in names else in_percent_style(statement)


class PsycopgCaller(_Psycopg):
    """A `psycopg.Connection`."""

    def execute(self, statement: Statement) -> Rows:
        """Run it; the caller's own row factory is not for these rows."""
        with self._connection.cursor(row_factory=_as_tuples) as cursor:
            cursor.execute(*self._in_its_style(cursor, statement))
            rows: Rows = cursor.fetchall() if cursor.description else ()
            return rows


class AsyncPsycopgCaller(_Psycopg):
    """A `psycopg.AsyncConnection`."""

    async def execute(self, statement: Statement) -> Rows:
        """Run it; the caller's own row factory is not for these rows."""
        async with self._connection.cursor(row_factory=_as_tuples) as cursor:
            await cursor.execute(*self._in_its_style(cursor, statement))
            rows: Rows = await cursor.fetchall() if cursor.description else ()
            return rows
