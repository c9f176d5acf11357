"""Opening the database file, and SQLite's errors in Portico's words."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import random

from portico.adapters.job_queue._sqlite.driver import Connection, opened
from portico.adapters.job_queue._sqlite.obstacles import obstacle
from portico.adapters.job_queue._sqlite.schema import check, is_current, upgrade
from portico.adapters.job_queue._sqlite.turns import Turn, turn
from portico.exceptions import (
    ConfigurationError,
    DatabaseError,
    PorticoError,
    QueueConnectionError,
)
from portico.utils.logging import get_logger
from portico.utils.plain_files import odd_part

logger = get_logger(__name__)

BUSY_SECONDS = 5.0
"""How long a statement waits for another process's transaction."""
_CACHE_KIB = 32 * 1024
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.0002, 0.002
_NEVER = threading.Event()
_WAL_PAGES = 4000
_WAL_BYTES = 64 * 1024 * 1024

_UNREACHABLE = {
    sqlite3.SQLITE_BUSY: "another process has kept it locked",
    sqlite3.SQLITE_LOCKED: "another connection has kept it locked",
    sqlite3.SQLITE_FULL: "the disk is full; nothing was changed, free some space",
    sqlite3.SQLITE_IOERR: "the disk cannot be read or written",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened",
    sqlite3.SQLITE_READONLY: "it has become read-only",
    sqlite3.SQLITE_PERM: "this user may not open it",
    sqlite3.SQLITE_AUTH: "this user may not use it",
    sqlite3.SQLITE_PROTOCOL: "its locks cannot be had",
    sqlite3.SQLITE_NOMEM: "there is no memory left",
}
_KINDS = {sqlite3.SQLITE_BUSY: "locked", sqlite3.SQLITE_FULL: "full"}
"""For programs: an error's `details["reason"]`; any other trouble is "unreachable"."""
_PERHAPS_NOT_OURS = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM)
"""Behind these may be a right that was taken away."""
_UNUSABLE = {
    sqlite3.SQLITE_READONLY: "it is on a read-only file system, or another user's log stands "
    "beside it; give this user the right to write the file, its directory and what is there",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; this user must be able to write the file and "
    "its directory",
    sqlite3.SQLITE_PERM: "this user may not open it",
    sqlite3.SQLITE_NOTADB: "it is not an SQLite database; name another file",
    sqlite3.SQLITE_CORRUPT: "it is damaged; restore a copy, or name another file",
}


@dataclass(frozen=True)
class Place:
    """Where the database is, and how it is to be kept."""

    url: str
    path: Path
    full: bool = True
    """Whether a commit survives a power cut."""
    alone: bool = False
    """Whether nothing else in this process opens the file."""
    create: bool = True
    """Whether the file and its tables may be made or upgraded."""

    def __str__(self) -> str:
        return f"queue URL {self.url}: {self.path}"


def prepare(place: Place) -> None:
    """Create the file for this user alone, or say why it cannot be used.

    Raises:
        ConfigurationError: it is not this user's to use; the message says what is in the way.
        OSError: the file cannot be created.
    """
    if found := obstacle(place.path, writing=True):
        raise ConfigurationError(f"{place}: {found}")
    # One that is there is not opened: closing it would drop this process's other locks on it.
    with suppress(FileExistsError):
        os.close(os.open(place.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def open_writer(place: Place) -> Connection:
    """Connect for writing, and create or upgrade the schema.

    Raises:
        ConfigurationError: the file cannot be used as it is.
        QueueConnectionError: it cannot be reached right now.
    """
    try:
        prepare(place)
        with turn(place.path, BUSY_SECONDS) as ours:
            connection = connect(place)
            try:
                _make_ready(connection, place, ours)
                connection.execute("PRAGMA busy_timeout = 0")  # `begin` waits better
            except BaseException:
                connection.close()
                raise
        _warn_of_other_names(place)
    except sqlite3.Error as error:
        raise _refused(error, place) from error
    except OSError as error:
        raise ConfigurationError(
            f"{place} cannot be opened ({error.strerror}); this user must be able to write the "
            "file and its directory",
            cause=error,
        ) from error
    return connection


def _warn_of_other_names(place: Place) -> None:
    names = place.path.stat().st_nlink
    if names > 1:
        logger.warning(
            "store_has_other_names",
            store=str(place.path),
            names=names,
            next="keep one hard link: SQLite keeps a log of changes beside each name, and whoever "
            "opens the file by another one damages it; a symbolic link is safe",
        )


def open_reader(place: Place) -> Connection:
    """Connect to a file that is there, for whoever may not make or upgrade anything.

    Raises:
        ConfigurationError: there is no file, or it has no tables of this release.
        QueueConnectionError: it cannot be reached right now.
    """
    found = obstacle(place.path, writing=False)
    if found is None and not place.path.exists():
        found = (
            f"there is no file {place.path.name!r}; name the right one with --queue-url or "
            "PORTICO_QUEUE_URL, or create it: portico enqueue, portico supervisor"
        )
    if found:
        raise ConfigurationError(f"{place}: {found}")
    try:
        connection = connect(place)
        try:
            check(connection, str(place))
        except BaseException:
            connection.close()
            raise
    except sqlite3.Error as error:
        raise _refused(error, place) from error
    return connection


def reopen_writer(place: Place) -> Connection:
    """Connect for writing once more, to a file that `open_writer` has prepared."""
    connection = connect(place)
    connection.execute("PRAGMA busy_timeout = 0")
    return connection


class SameFile:
    """The file that was opened first; another one under its name takes no jobs of ours."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: tuple[int, int] | None = None

    @property
    def known(self) -> bool:
        """Whether a file was opened already."""
        return self._known is not None

    def remember(self) -> None:
        """The file that has this name now is the one."""
        self._known = self._identity()

    def check(self) -> None:
        """Make sure that the name still leads to the file.

        Raises:
            DatabaseError: it leads to another one, or to none. Waiting does not mend that.
        """
        now = self._identity()
        if now != self._known:
            what = "removed" if now is None else "replaced"
            raise DatabaseError(
                f"the queue {self._path} was {what} while it was in use; nothing was written to "
                "what is there now. Put the file back, or restart everything that uses it, to go "
                "on with the new one",
                {"reason": what, "path": str(self._path)},
            )

    def _identity(self) -> tuple[int, int] | None:
        try:
            status = os.stat(self._path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError:  # it cannot be told now: what is open is still the right one
            return self._known
        return status.st_dev, status.st_ino


def connect(place: Place) -> Connection:
    """Open a connection to a file that exists.

    Raises:
        QueueConnectionError: SQLite would wait for ever for what lies beside it.
    """
    if found := odd_part(place.path):
        raise QueueConnectionError(
            f"the queue {place.path} cannot be used right now: {found}",
            {"reason": "unreachable", "path": str(place.path)},
        )
    connection = opened(place.path, BUSY_SECONDS, alone=place.alone)
    connection.execute(f"PRAGMA synchronous = {'FULL' if place.full else 'NORMAL'}")
    connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    connection.execute(f"PRAGMA wal_autocheckpoint = {_WAL_PAGES}")
    connection.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES}")
    return connection


def begin(connection: Connection) -> None:
    """Begin to write, waiting for other writers.

    SQLite's own way to wait sleeps for up to 100 ms between two tries, which lets one busy process
    starve all others.
    """
    deadline = time.monotonic() + BUSY_SECONDS
    pause = _SHORTEST_PAUSE
    while True:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if primary_code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
        else:
            return
        _NEVER.wait(pause * (0.5 + random()))  # noqa: S311 - no secret
        pause = min(2 * pause, _LONGEST_PAUSE)


def _make_ready(connection: Connection, place: Place, ours: Turn) -> None:
    if ours.held_by is None:
        _write_ahead(connection, place)
        upgrade(connection, str(place))
        return
    said = f"{ours.held_by} has kept the lock of {ours.file} for {BUSY_SECONDS:g} s"
    [mode] = connection.execute("PRAGMA journal_mode").fetchone()
    if mode != "wal" or not is_current(connection):
        raise QueueConnectionError(
            f"the queue {place.path} cannot be made ready right now: {said}; end it, or remove "
            "that file: it is made anew",
            {"reason": "locked", "path": str(place.path)},
        )
    logger.warning(
        "wake_file_held",
        store=str(place.path),
        note=f"{said}; the queue is used all the same, for there is nothing to be made",
        next="end that process, or remove the file: it is made anew",
    )


def _write_ahead(connection: Connection, place: Place) -> None:
    mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise ConfigurationError(
            f"{place} cannot use a write-ahead log (journal mode stays {mode!r}); put it on a "
            "local file system"
        )


def _refused(error: sqlite3.Error, place: Place) -> PorticoError:
    code = primary_code(error)
    if code not in _UNUSABLE:
        return translated(error, place)
    seen = obstacle(place.path, writing=True) if code in _PERHAPS_NOT_OURS else None
    reason = seen or _UNUSABLE[code]
    return ConfigurationError(f"{place} cannot be used: {reason}", cause=error)


def translated(error: sqlite3.Error, place: Place) -> PorticoError:
    """The error as callers know it."""
    reason = _UNREACHABLE.get(primary_code(error))
    if primary_code(error) in _PERHAPS_NOT_OURS:
        reason = obstacle(place.path, writing=True) or reason
    if reason is None:
        return DatabaseError(f"{place.path}: {error}", cause=error)
    return QueueConnectionError(
        f"the queue {place.path} cannot be used right now: {reason} ({error})",
        {"reason": _KINDS.get(primary_code(error), "unreachable"), "path": str(place.path)},
        cause=error,
    )


def primary_code(error: sqlite3.Error) -> int:
    """SQLite's result code without the detail in its upper bytes; 0 when it has none."""
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
