"""Which library talks to SQLite, and what the rest needs of either.

apsw brings a newer SQLite of its own and takes less than half the time for the statements that
lease and settle. It may be used only where nothing else in the process opens the same file: a
second copy of the library would drop the first one's locks whenever it closes the file
(https://sqlite.org/howtocorrupt.html, "multiple copies of SQLite linked into the same
application"). A supervisor, which runs no code of the application, knows that; an application that
enqueues does not, and gets the standard library's.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

try:
    import apsw
except ImportError:  # no wheel for this platform: the standard library does all of it
    apsw = None  # type: ignore[assignment]

Values = Sequence[Any] | dict[str, Any]
Row = tuple[Any, ...]

_STATEMENTS = 256
_KINDS: dict[int, type[sqlite3.Error]] = {
    sqlite3.SQLITE_CONSTRAINT: sqlite3.IntegrityError,
    sqlite3.SQLITE_MISMATCH: sqlite3.IntegrityError,
    sqlite3.SQLITE_CORRUPT: sqlite3.DatabaseError,
    sqlite3.SQLITE_NOTADB: sqlite3.DatabaseError,
    sqlite3.SQLITE_TOOBIG: sqlite3.DataError,
    sqlite3.SQLITE_MISUSE: sqlite3.InterfaceError,
    sqlite3.SQLITE_RANGE: sqlite3.InterfaceError,
    sqlite3.SQLITE_INTERNAL: sqlite3.InternalError,
}
"""As the standard library sorts result codes; others are operational errors."""


class Cursor(Protocol):
    """What a statement has brought."""

    @property
    def rowcount(self) -> int:
        """How many rows it has changed."""

    def fetchone(self) -> Any:
        """The next row, or `None`."""

    def fetchall(self) -> list[Any]:
        """The rows that are left."""

    def __iter__(self) -> Iterator[Any]:
        """One row after the other."""


class Connection(Protocol):
    """One connection in autocommit mode; errors are those of `sqlite3`, whatever the library."""

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open."""

    def execute(self, sql: str, parameters: Values = ..., /) -> Cursor:
        """Run one statement."""

    def executemany(self, sql: str, parameters: Iterable[Values], /) -> Cursor:
        """Run one statement with each of these."""

    def close(self) -> None:
        """Let go of the file."""


def opened(path: Path, timeout: float, *, alone: bool) -> Connection:
    """Connect to a file that exists.

    Args:
        path: the file.
        timeout: seconds to wait for another connection's lock.
        alone: nothing else in this process has the file open, or will while this connection is.

    Raises:
        sqlite3.Error: it cannot be opened.
    """
    if alone and apsw is not None:
        return _Apsw(path, timeout)
    connection = sqlite3.connect(
        f"{path.as_uri()}?mode=rw",
        uri=True,
        timeout=timeout,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=_STATEMENTS,
    )
    # Text that is none, in one row, is that row's trouble: an error would be everybody's.
    connection.text_factory = partial(str, encoding="utf-8", errors="replace")
    return connection


class _Apsw:
    """apsw with the standard library's manners, for one thread at a time."""

    def __init__(self, path: Path, timeout: float) -> None:
        try:
            self._connection = apsw.Connection(
                str(path),
                flags=apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_NOMUTEX,
                statementcachesize=_STATEMENTS,
            )
            self._connection.set_busy_timeout(int(timeout * 1000))
        except apsw.Error as error:
            raise _as_known(error) from error

    @property
    def in_transaction(self) -> bool:
        return bool(self._connection.in_transaction)

    def execute(self, sql: str, parameters: Values = (), /) -> Cursor:
        try:
            found = self._connection.execute(sql, parameters)
        except apsw.Error as error:
            raise _as_known(error) from error
        return _Rows(self._connection, found, sql, parameters)

    def executemany(self, sql: str, parameters: Iterable[Values], /) -> Cursor:
        before = self._connection.total_changes()
        try:
            self._connection.executemany(sql, parameters)
        except apsw.Error as error:
            raise _as_known(error) from error
        return _Changes(self._connection.total_changes() - before)

    def close(self) -> None:
        self._connection.close()


class _Changes:
    """What a statement without rows has done."""

    def __init__(self, rowcount: int) -> None:
        self.rowcount = rowcount

    def fetchone(self) -> Any:
        return None

    def fetchall(self) -> list[Any]:
        return []

    def __iter__(self) -> Iterator[Any]:
        return iter(())


class _Rows:
    """What a statement has brought, fetched as it is asked for."""

    __slots__ = ("_connection", "_cursor", "_parameters", "_sql", "rowcount")

    def __init__(self, connection: Any, cursor: Any, sql: str, parameters: Values) -> None:
        self._connection = connection
        self._cursor = cursor
        self._sql = sql
        self._parameters = parameters
        self.rowcount: int = connection.changes()

    def fetchone(self) -> Any:
        return next(iter(self._fetched(1)), None)

    def fetchall(self) -> list[Any]:
        return self._fetched(None)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._fetched(None))

    def _fetched(self, most: int | None) -> list[Any]:
        try:
            return self._cursor.fetchall() if most is None else list(islice(self._cursor, most))
        except UnicodeDecodeError:
            return self._leniently()
        except apsw.Error as error:
            raise _as_known(error) from error

    def _leniently(self) -> list[Any]:
        """The same rows, with text that is none made readable: apsw stops at it."""
        try:
            width = len(self._connection.execute(self._sql, self._parameters).description)
            names = [f"c{number}" for number in range(width)]
            found = self._connection.execute(
                f"WITH found ({', '.join(names)}) AS ({self._sql}) "
                f"SELECT {', '.join(map(_AS_BYTES.format, names))} FROM found",
                self._parameters,
            )
            return [_readable(row) for row in found]
        except apsw.Error as error:
            raise _as_known(error) from error


_AS_BYTES = "typeof({0}), CASE typeof({0}) WHEN 'text' THEN CAST({0} AS BLOB) ELSE {0} END"


def _readable(row: Row) -> Row:
    return tuple(
        value.decode("utf-8", "replace") if kind == "text" else value
        for kind, value in zip(row[::2], row[1::2], strict=True)
    )


def _as_known(error: Any) -> sqlite3.Error:
    """An error of apsw as the standard library would raise it."""
    code = getattr(error, "extendedresult", 0)
    known = _KINDS.get(code & 0xFF, sqlite3.OperationalError if code else sqlite3.ProgrammingError)
    told = known(str(error))
    told.sqlite_errorcode = code
    error.__traceback__ = None  # by its frames it would keep what the caller was to store
    return told
