"""Which kind a connection is, told by its type's name and module: no driver is imported for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from portico.adapters.job_queue._callers import alchemy, postgres, refusals, sqlite
from portico.adapters.job_queue._callers.steps import Rows, Statement, Steps, run, run_async
from portico.ports.draft import Draft
from portico.ports.leasing import Inserted
from portico.ports.transaction import SyncTransaction, Transaction


class Enlisting(Protocol):
    """A database that says how jobs are stored on a connection to it."""

    dialect: str

    def vouch(self) -> Steps[None]: ...

    def enlist(self, drafts: Sequence[Draft]) -> Steps[list[Inserted | None]]: ...


class _Caller(Protocol):
    dialect: str

    def opening(self) -> Statement | None: ...

    def execute(self, statement: Statement) -> Rows: ...


class _AsyncCaller(Protocol):
    dialect: str

    def opening(self) -> Statement | None: ...

    async def execute(self, statement: Statement) -> Rows: ...


_SYNC: dict[tuple[str, str], Callable[[Any], _Caller]] = {
    ("sqlite3", "Connection"): sqlite.Sqlite3Caller,
    ("psycopg", "Connection"): postgres.PsycopgCaller,
    ("sqlalchemy", "Connection"): alchemy.AlchemyCaller,
    ("sqlalchemy", "Session"): alchemy.session_caller,
}
_ASYNC: dict[tuple[str, str], Callable[[Any], _AsyncCaller]] = {
    ("aiosqlite", "Connection"): sqlite.AiosqliteCaller,
    ("asyncpg", "Connection"): postgres.AsyncpgCaller,
    ("asyncpg", "PoolConnectionProxy"): postgres.AsyncpgCaller,
    ("psycopg", "AsyncConnection"): postgres.AsyncPsycopgCaller,
}
_OVER_SYNC: dict[tuple[str, str], Callable[[Any], _Caller]] = {
    ("sqlalchemy", "AsyncConnection"): alchemy.AlchemyCaller,
    ("sqlalchemy", "AsyncSession"): alchemy.session_caller,
}
"""Those that run a function on the plain connection behind them."""
_SCOPED = {("sqlalchemy", "scoped_session"): True, ("sqlalchemy", "async_scoped_session"): True}
"""Those that stand for the session of this thread, task or request, and give it when called."""


def transaction(connection: Any, store: Enlisting) -> Transaction:
    """The transaction of a connection that is awaited.

    Raises:
        ValidationError: the connection is of another kind.
    """
    connection = _current(connection)
    if (caller := _found(_ASYNC, connection)) is not None:
        return _Awaited(caller(connection), connection, store)
    if (plain := _found(_OVER_SYNC, connection)) is not None:
        return _OverSync(plain, connection, store)
    if _found(_SYNC, connection) is not None:
        raise refusals.refused(connection, "is not awaited; use within_sync for it")
    raise refusals.unknown(connection)


def sync_transaction(connection: Any, store: Enlisting) -> SyncTransaction:
    """The transaction of a connection with plain methods.

    Raises:
        ValidationError: the connection is of another kind.
    """
    connection = _current(connection)
    if (caller := _found(_SYNC, connection)) is not None:
        return _Plain(caller, connection, store)
    if _found(_ASYNC, connection) or _found(_OVER_SYNC, connection):
        raise refusals.refused(connection, "is awaited; use within for it")
    raise refusals.unknown(connection)


class _Awaited(Transaction):
    def __init__(self, caller: _AsyncCaller, connection: object, store: Enlisting) -> None:
        _check_dialect(caller.dialect, connection, store)
        self._caller, self._store = caller, store
        self._vouched = False

    async def insert(self, drafts: Sequence[Draft]) -> list[Inserted | None]:
        opening = self._caller.opening()
        if not self._vouched:  # before it begins: one that has read may not be allowed to write
            await run_async(self._store.vouch(), self._caller.execute)
            self._vouched = True
        if opening is not None:
            await self._caller.execute(opening)
        return await run_async(self._store.enlist(drafts), self._caller.execute)


class _Plain(SyncTransaction):
    def __init__(self, caller: Callable[[Any], _Caller], connection: Any, store: Enlisting) -> None:
        self._caller, self._connection, self._store = caller, connection, store
        self._vouched = False

    def insert(self, drafts: Sequence[Draft]) -> list[Inserted | None]:
        return self.insert_on(self._connection, drafts)

    def insert_on(self, connection: Any, drafts: Sequence[Draft]) -> list[Inserted | None]:
        caller = self._caller(connection)
        _check_dialect(caller.dialect, connection, self._store)
        opening = caller.opening()
        if not self._vouched:  # before it begins: one that has read may not be allowed to write
            run(self._store.vouch(), caller.execute)
            self._vouched = True
        if opening is not None:
            caller.execute(opening)
        return run(self._store.enlist(drafts), caller.execute)


class _OverSync(Transaction):
    def __init__(self, caller: Callable[[Any], _Caller], connection: Any, store: Enlisting) -> None:
        self._connection = connection
        self._plain = _Plain(caller, connection, store)

    async def insert(self, drafts: Sequence[Draft]) -> list[Inserted | None]:
        run_sync = self._connection.run_sync
        stored: list[Inserted | None] = await run_sync(self._plain.insert_on, drafts)
        return stored


def _check_dialect(dialect: str, connection: object, store: Enlisting) -> None:
    if dialect != store.dialect:
        raise refusals.other_dialect(connection, dialect, store.dialect)


def _current(connection: Any) -> Any:
    return connection() if _found(_SCOPED, connection) else connection


def _found(kinds: dict[tuple[str, str], Any], connection: object) -> Any:
    for kind in type(connection).__mro__:
        package = kind.__module__.partition(".")[0]
        if (package, kind.__name__) in kinds:
            return kinds[package, kind.__name__]
    return None
