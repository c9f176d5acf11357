"""An audit log in a SQLite file: its own, or the one that holds the jobs."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar
from uuid import UUID

from portico.adapters.audit._rows import (
    COLUMNS,
    PLACES,
    SCHEMA,
    conditions,
    event_of,
    micros,
    row_of,
)
from portico.exceptions import DatabaseError
from portico.ports.audit import AuditAdapter, AuditEvent, AuditQuery, AuditSummary
from portico.utils.logging import get_logger
from portico.utils.plain_files import odd_part

log = get_logger(__name__)

T = TypeVar("T")

MOST_WAITING = 10_000
"""Events that may wait for a disk that does not answer; further ones are lost, and logged."""

_PATIENCE = 30.0
_INSERT = f"INSERT OR IGNORE INTO audit_events ({COLUMNS}) VALUES ({PLACES})"
_NEWEST_FIRST = "ORDER BY at DESC, sequence DESC"


class DatabaseAuditAdapter(AuditAdapter):
    """Keeps audit events in the table `audit_events` of a SQLite file.

    Opens the file at the first use, on a thread of its own, and creates what is missing, for this
    user alone. Events that arrive while a commit is under way share the next one. A commit
    survives the death of any process; after a loss of power the last ones may be missing. An event
    logged twice is kept once. Also an async context manager.

    Args:
        path: the file.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = os.fspath(path)
        self._thread: ThreadPoolExecutor | None = None
        self._connection: sqlite3.Connection | None = None  # of that thread alone
        self._waiting: list[tuple[tuple[Any, ...], asyncio.Future[None]]] = []
        self._writer: asyncio.Task[None] | None = None

    async def initialize(self) -> None:
        """Open the file now; left out, the first event does.

        Raises:
            DatabaseError: the file cannot be opened or written.
        """
        await self._run(sqlite3.Connection.commit)

    async def close(self) -> None:
        """Write what waits, and close the file. May be called twice; later use opens it again."""
        if self._writer is not None:
            await self._writer
        thread, self._thread = self._thread, None
        if thread is not None:
            await asyncio.get_running_loop().run_in_executor(thread, self._disconnect)
            thread.shutdown()

    async def __aenter__(self) -> Self:
        await self.initialize()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def log_event(self, event: AuditEvent) -> None:
        try:
            await self._stored(row_of(event))
        except Exception:
            log.exception("audit event lost", resource_id=event.resource_id, action=event.action)

    async def search_events(self, query: AuditQuery) -> list[AuditEvent]:
        return await self._events(query, query.limit, query.offset)

    async def get_user_activity(self, user_id: UUID, days: int = 30) -> list[AuditEvent]:
        since = datetime.now(UTC) - timedelta(days=days)
        return await self._events(AuditQuery(user_id=user_id, start_date=since))

    async def get_resource_history(self, resource_type: str, resource_id: str) -> list[AuditEvent]:
        return await self._events(AuditQuery(resource_type=resource_type, resource_id=resource_id))

    async def generate_summary(self, start_date: datetime, end_date: datetime) -> AuditSummary:
        where, values = conditions(AuditQuery(start_date=start_date, end_date=end_date))
        columns = ("action", "user_id", "resource_type", "group_id")

        def count(connection: sqlite3.Connection) -> tuple[int, int, list[dict[str, int]]]:
            total, successes = connection.execute(
                f"SELECT count(*), coalesce(sum(success), 0) FROM audit_events WHERE {where}",
                values,
            ).fetchone()
            groups = [_counts(connection, column, where, values) for column in columns]
            return total, successes, groups

        total, successes, (actions, users, types, groups) = await self._run(count)
        return AuditSummary(
            total_events=total,
            events_by_action=actions,
            events_by_user=users,
            events_by_resource_type=types,
            events_by_group=groups,
            success_rate=successes / total if total else 1.0,
            time_range=(start_date, end_date),
        )

    async def cleanup_old_events(self, older_than_days: int) -> int:
        limit = micros(datetime.now(UTC) - timedelta(days=older_than_days))
        return await self._run(
            lambda connection: (
                connection.execute("DELETE FROM audit_events WHERE at < ?", (limit,)).rowcount
            )
        )

    async def _stored(self, row: tuple[Any, ...]) -> None:
        if len(self._waiting) >= MOST_WAITING:
            raise DatabaseError(f"{MOST_WAITING:,} audit events wait for {self._path} already")
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((row, future))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write())
        await future

    async def _write(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            failure = await self._failure_of(partial(_insert, [row for row, _ in batch]))
            for _, future in batch:
                if future.done():  # its caller gave up
                    continue
                if failure is None:
                    future.set_result(None)
                else:
                    future.set_exception(failure)

    async def _failure_of(self, work: Callable[[sqlite3.Connection], None]) -> Exception | None:
        try:
            await self._run(work)
        except Exception as error:  # noqa: BLE001 - each caller of the batch gets it
            return error
        return None

    async def _events(
        self, query: AuditQuery, limit: int = -1, offset: int = 0
    ) -> list[AuditEvent]:
        where, values = conditions(query)
        statement = (
            f"SELECT {COLUMNS} FROM audit_events WHERE {where} {_NEWEST_FIRST} LIMIT ? OFFSET ?"
        )
        return await self._run(
            lambda connection: [
                event_of(row) for row in connection.execute(statement, [*values, limit, offset])
            ]
        )

    async def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do one transaction on the thread that owns the connection."""
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "portico-audit")
        return await asyncio.get_running_loop().run_in_executor(
            self._thread, self._transaction, work
        )

    def _transaction(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            connection = self._connection or self._connect()
            with connection:
                return work(connection)
        except sqlite3.Error as error:
            raise DatabaseError(
                f"audit log {self._path}: {error}; check that the file and its directory exist, "
                "are writable and have room",
                cause=error,
            ) from error

    def _connect(self) -> sqlite3.Connection:
        path = Path(self._path).absolute()
        if found := odd_part(path):
            raise DatabaseError(f"audit log {self._path}: {found}")
        with suppress(OSError):  # it exists; or it cannot be made, as SQLite will say
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        # Never made by SQLite, which would follow a link to a file that is not there.
        address = f"{path.as_uri()}?mode=rw"
        connection = sqlite3.connect(address, uri=True, timeout=_PATIENCE)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.executescript(SCHEMA)
        except sqlite3.Error:
            connection.close()
            raise
        self._connection = connection
        return connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _insert(rows: list[tuple[Any, ...]], connection: sqlite3.Connection) -> None:
    connection.executemany(_INSERT, rows)


def _counts(
    connection: sqlite3.Connection, column: str, where: str, values: list[Any]
) -> dict[str, int]:
    rows = connection.execute(
        f"SELECT {column}, count(*) FROM audit_events "
        f"WHERE {where} AND {column} IS NOT NULL GROUP BY {column}",
        values,
    )
    return Counter(dict(rows.fetchall()))
