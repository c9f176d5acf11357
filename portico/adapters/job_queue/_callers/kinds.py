"""Which kind a connection is, told by its type's name and module: no driver is imported for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol
from weakref import WeakSet

from portico.adapters.job_queue._callers import alchemy, postgres, refusals, sqlite
from portico.adapters.job_queue._callers.steps import Rows, Statement, Steps, run, run_async
from portico.ports.draft import Draft
from portico.ports.leasing import Inserted
from portico.ports.transaction import SyncTransaction, Transaction


class Enlisting(Protocol):
    """A database that says how jobs are stored on a connection to it."""

    dialect: str

    def vouch(self) -> Steps[None]: ...

    def enlist(
        self, drafts: Sequence[Draft], *, prepared: bool = False
    ) -> Steps[list[Inserted | None]]: ...


class _Caller(Protocol):
    dialect: str

    @property
    def driver(self) -> object:
        """The connection that the driver has opened."""

    @property
    def prepared(self) -> bool:
        """Whether the open transaction is to be committed in two phases."""

    def opening(self) -> Statement | None: ...

    def execute(self, statement: Statement) -> Rows: ...


class _AsyncCaller(Protocol):
    dialect: str

    @property
    def driver(self) -> object:
        """The connection that the driver has opened."""

    @property
    def prepared(self) -> bool:
        """Whether the open transaction is to be committed in two phases."""

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


class Callers:
    """The applications' connections to one database."""

    def __init__(self, store: Enlisting) -> None:
        self.store = store
        self._vouched: WeakSet[Any] = WeakSet()

    def transaction(self, connection: Any) -> Transaction:
        """The transaction of a connection that is awaited.

        Raises:
            ValidationError: the connection is of another kind.
        """
        connection = _current(connection)
        if (caller := _found(_ASYNC, connection)) is not None:
            return _Awaited(caller(connection), connection, self)
        if (plain := _found(_OVER_SYNC, connection)) is not None:
            return _OverSync(plain, connection, self)
        if _found(_SYNC, connection) is not None:
            raise refusals.refused(connection, "is not awaited; use within_sync for it")
        raise refusals.unknown(connection)

    def sync_transaction(self, connection: Any) -> SyncTransaction:
        """The transaction of a connection with plain methods.

        Raises:
            ValidationError: the connection is of another kind.
        """
        connection = _current(connection)
        if (caller := _found(_SYNC, connection)) is not None:
            return _Plain(caller, connection, self)
        if _found(_ASYNC, connection) or _found(_OVER_SYNC, connection):
            raise refusals.refused(connection, "is awaited; use within for it")
        raise refusals.unknown(connection)

    def check_dialect(self, dialect: str, connection: object) -> None:
        """Refuse a connection to another kind of database."""
        if dialect != self.store.dialect:
            raise refusals.other_dialect(connection, dialect, self.store.dialect)

    def to_vouch(self, driver: object) -> Steps[None] | None:
        """How to make sure of a connection, unless that was done; a pool gives it out again."""
        return None if _is_weak(driver) and driver in self._vouched else self.store.vouch()

    def vouched(self, driver: object) -> None:
        """The connection is the right one. Those of sqlite3 cannot be remembered, and are fast."""
        if _is_weak(driver):
            self._vouched.add(driver)


class _Awaited(Transaction):
    def __init__(self, caller: _AsyncCaller, connection: object, callers: Callers) -> None:
        callers.check_dialect(caller.dialect, connection)
        self._caller, self._callers = caller, callers

    async def insert(self, drafts: Sequence[Draft]) -> list[Inserted | None]:
        caller, callers = self._caller, self._callers
        opening = caller.opening()
        # Before it begins: one that has read may not be allowed to write.
        if (vouching := callers.to_vouch(caller.driver)) is not None:
            await run_async(vouching, caller.execute)
            callers.vouched(caller.driver)
        if opening is not None:
            await caller.execute(opening)
        steps = callers.store.enlist(drafts, prepared=caller.prepared)
        return await run_async(steps, caller.execute)


class _Plain(SyncTransaction):
    def __init__(self, caller: Callable[[Any], _Caller], connection: Any, callers: Callers) -> None:
        self._caller, self._connection, self._callers = caller, connection, callers

    def insert(self, drafts: Sequence[Draft]) -> list[Inserted | None]:
        return self.insert_on(self._connection, drafts)

    def insert_on(self, connection: Any, drafts: Sequence[Draft]) -> list[Inserted | None]:
        caller, callers = self._caller(connection), self._callers
        callers.check_dialect(caller.dialect, connection)
        opening = caller.opening()
        # Before it begins: one that has read may not be allowed to write.
        if (vouching := callers.to_vouch(caller.driver)) is not None:
            run(vouching, caller.execute)
            callers.vouched(caller.driver)
        if opening is not None:
            caller.execute(opening)
        steps = callers.store.enlist(drafts, prepared=caller.prepared)
        return run(steps, caller.execute)


class _OverSync(Transaction):
    def __init__(self, caller: Callable[[Any], _Caller], connection: Any, callers: Callers) -> None:
        self._connection = connection
        self._plain = _Plain(caller, connection, callers)

    async def insert(self, drafts: Sequence[Draft]) -> list[Inserted | None]:
        run_sync = self._connection.run_sync
        stored: list[Inserted | None] = await run_sync(self._plain.insert_on, drafts)
        return stored


def _is_weak(driver: object) -> bool:
    return type(driver).__weakrefoffset__ > 0


def _current(connection: Any) -> Any:
    return connection() if _found(_SCOPED, connection) else connection


def _found(kinds: dict[tuple[str, str], Any], connection: object) -> Any:
    for kind in type(connection).__mro__:
        package = kind.__module__.partition(".")[0]
        if (package, kind.__name__) in kinds:
            return kinds[package, kind.__name__]
    return None
