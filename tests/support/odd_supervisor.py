"""A supervisor whose surroundings are odd: `python -m tests.support.odd_supervisor ODDITY ...`.

Each oddity changes what Portico stands on (SQLite, the clock) and nothing of Portico's own, save
for a constant that makes a test short, or the one call whose answer is to get lost.
"""

from __future__ import annotations

import itertools
import os
import sqlite3
import sys
import time
from pathlib import Path
from typing import Any

import apsw

from tests.support.supervisors import COMMAND


def odd(oddity: str) -> tuple[str, ...]:
    """The command that starts such a supervisor."""
    return (COMMAND[0], "-m", "tests.support.odd_supervisor", oddity)


def impatient() -> None:
    """Waits 0.2 s for the store's lock, instead of five."""
    from portico.adapters.job_queue._sqlite import connection

    connection.BUSY_SECONDS = 0.2


def no_shared_memory() -> None:
    """As on a file system without shared memory maps: SQLite can have no write-ahead log there."""
    connect = apsw.Connection

    def without(path: str, **options: Any) -> apsw.Connection:
        return connect(path, vfs="unix-dotfile", **options)

    apsw.Connection = without  # type: ignore[assignment,misc]


def traced() -> None:
    """Writes every statement to `$TRACE`, led by a number for its connection."""
    connect, numbers = apsw.Connection, itertools.count(1)
    trace = os.open(os.environ["TRACE"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def tracing(*arguments: Any, **options: Any) -> apsw.Connection:
        connection, number = connect(*arguments, **options), next(numbers)

        def write(told: dict[str, Any]) -> None:
            line = f"{os.getpid()}.{number} {' '.join(told['sql'].split())}"
            os.write(trace, f"{line[:200]}\n".encode(errors="replace"))

        connection.trace_v2(apsw.SQLITE_TRACE_STMT, write)
        return connection

    apsw.Connection = tracing  # type: ignore[assignment,misc]


def other_clock() -> None:
    """A wall clock that is ahead by the number of seconds in `$CLOCK`."""
    now, ahead = time.time, Path(os.environ["CLOCK"])
    time.time = lambda: now() + float(ahead.read_text())


def dribbling() -> None:
    """Writes and reads the pipes of its workers byte by byte."""
    from portico.supervisor import intake

    write = os.write
    os.write = lambda fd, data: write(fd, data if fd <= 2 else bytes(data[:1]))
    intake._READ = 1


def answer_lost() -> None:
    """The first commit of a settlement takes place, and the answer to it does not arrive."""
    from portico.adapters.job_queue._sqlite.store import SqliteStore, settling

    settle, committed, state = settling.settle, SqliteStore._committed, {"at": "start"}

    def settling_now(connection: Any, settlements: Any, *how: Any) -> Any:
        if settlements and state["at"] == "start":
            state["at"] = "settled"
        return settle(connection, settlements, *how)

    def fails_once(self: SqliteStore) -> None:
        if state["at"] == "settled":
            state["at"] = "end"
            raise _disk_error()
        committed(self)

    settling.settle = settling_now
    SqliteStore._committed = fails_once  # type: ignore[method-assign]


def not_applied() -> None:
    """The first settlement is not committed, and its answer does not arrive either."""
    from portico.adapters.job_queue._sqlite.store import settling

    settle, failed = settling.settle, itertools.count()

    def fails_once(connection: Any, settlements: Any, *how: Any) -> Any:
        if settlements and next(failed) == 0:
            raise _disk_error()
        return settle(connection, settlements, *how)

    settling.settle = fails_once


def _disk_error() -> sqlite3.Error:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
    return error


if __name__ == "__main__":
    globals()[sys.argv[1]]()
    from portico.supervisor.cli import main

    main(sys.argv[2:])
