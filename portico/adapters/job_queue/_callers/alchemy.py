"""Connections and sessions of SQLAlchemy 2, over any driver for a dialect that is known."""

from __future__ import annotations

from typing import Any

from portico.adapters.job_queue._callers import postgres, refusals, sqlite
from portico.adapters.job_queue._callers.steps import Rows, Statement

_PERCENT_STYLES = {"format", "pyformat"}


class AlchemyCaller:
    """A `sqlalchemy.Connection`; SQLAlchemy begins a transaction by itself."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.dialect: str = connection.dialect.name

    @property
    def driver(self) -> object:
        """The connection that the driver has opened."""
        return self._connection.connection.driver_connection

    @property
    def prepared(self) -> bool:
        """Whether the transaction is to be committed in two phases."""
        transaction = self._connection.get_transaction()
        return type(transaction).__name__ == "TwoPhaseTransaction"

    def opening(self) -> Statement | None:
        """What opens a transaction in the driver, where SQLAlchemy leaves that to it."""
        if self._connection.closed:
            raise refusals.closed(self._connection)
        driver = self._connection.connection
        if self.dialect == sqlite.DIALECT:
            return sqlite.opening(driver.driver_connection)
        if getattr(driver.dbapi_connection, "autocommit", False):
            raise refusals.autocommit(self._connection)
        if postgres.in_pipeline(driver.driver_connection):
            raise refusals.pipelined(self._connection)
        return None

    def execute(self, statement: Statement) -> Rows:
        """Run it as it is, past SQLAlchemy's compiler."""
        if self.dialect == postgres.DIALECT and (
            self._connection.dialect.paramstyle in _PERCENT_STYLES
        ):
            statement = postgres.in_percent_style(statement)
        result = self._connection.exec_driver_sql(statement.text, statement.arguments)
        rows: Rows = result.fetchall() if result.returns_rows else ()
        return rows


def session_caller(session: Any) -> AlchemyCaller:
    """A `sqlalchemy.orm.Session`: its connection, in its transaction."""
    return AlchemyCaller(session.connection())
