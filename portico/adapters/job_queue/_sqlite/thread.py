"""The threads that talk to SQLite, so that the event loop never waits for a disk.

One thread writes, with one connection; what waits for it together is committed together, each
request with an outcome of its own. Another one reads, so that readers do not queue behind writers.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

from portico.adapters.job_queue._sqlite.connection import (
    Place,
    SameFile,
    begin,
    connect,
    open_reader,
    open_writer,
    primary_code,
    reopen_writer,
    translated,
)
from portico.adapters.job_queue._sqlite.driver import Connection
from portico.exceptions import QueueConnectionError

T = TypeVar("T")

_TOGETHER = 128
"""Requests in one commit."""
_SPOILT = {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_CORRUPT}
"""After these a connection is not to be trusted with another transaction."""


class Request(Generic[T]):
    """Work for a thread, and who waits for it.

    `look` runs before the transaction and may answer without one, by returning something else
    than `None`.
    """

    __slots__ = ("answer", "error", "look", "looked", "loop", "waiter", "work")

    def __init__(
        self,
        work: Callable[[Connection], T],
        look: Callable[[Connection], T | None] | None = None,
    ) -> None:
        self.work = work
        self.look = look
        self.looked = False
        self.loop = asyncio.get_running_loop()
        self.waiter: asyncio.Future[T] = self.loop.create_future()
        self.answer: T | None = None
        self.error: BaseException | None = None

    def answered(self, connection: Connection) -> bool:
        """Whether a look was enough."""
        if self.look is not None:
            self.answer = self.look(connection)
            self.looked = self.answer is not None
        return self.looked


class SqliteThread:
    """Runs requests one after the other on a connection of its own."""

    def __init__(self, place: Place, name: str, file: SameFile) -> None:
        self._place = place
        self._file = file
        self._connection: Connection | None = None
        self._inbox: SimpleQueue[Request[Any] | None] = SimpleQueue()
        self._ended: Request[None] | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(
        self,
        work: Callable[[Connection], T],
        look: Callable[[Connection], T | None] | None = None,
    ) -> asyncio.Future[T]:
        """Queue some work."""
        request = Request(work, look)
        self._inbox.put(request)
        return request.waiter

    async def stop(self) -> None:
        """Finish what was asked, close the connection, and return when the thread has ended."""
        self._ended = Request(lambda _: None)
        self._inbox.put(None)
        await self._ended.waiter
        self._thread.join()

    def _run(self) -> None:
        while batch := self._take():
            try:
                self._serve(batch)
            except Exception as error:  # noqa: BLE001 - goes to whoever asked
                self._undo(error)
                self._fail(batch, error)
            _deliver(batch)
            del batch  # what was to be stored is not kept until somebody asks for something else
        self._disconnect()
        assert self._ended is not None
        _deliver([self._ended])

    def _take(self) -> list[Request[Any]]:
        first = self._inbox.get()
        return [] if first is None else [first]

    def _serve(self, batch: list[Request[Any]]) -> None:
        raise NotImplementedError

    def _undo(self, error: Exception) -> None:
        """Leave nothing of a failed transaction; SQLite may have rolled it back by itself."""
        connection = self._connection
        if connection is None:
            return
        with suppress(sqlite3.Error):
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        spoilt = isinstance(error, sqlite3.Error) and primary_code(error) in _SPOILT
        if spoilt or connection.in_transaction:
            self._disconnect()

    def _fail(self, batch: list[Request[Any]], error: Exception) -> None:
        """Each has an error of its own: one for all would keep what all have asked for."""
        for request in batch:
            if not request.looked:
                request.error = request.error or self._told(error)

    def _told(self, error: Exception) -> Exception:
        if not isinstance(error, sqlite3.Error):
            return error
        return translated(error.with_traceback(None), self._place)

    def _disconnect(self) -> None:
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None


class Reader(SqliteThread):
    """Answers questions, each from one snapshot."""

    def _serve(self, batch: list[Request[Any]]) -> None:
        connection = self._opened()
        connection.execute("BEGIN")
        for request in batch:
            request.answer = request.work(connection)
        connection.execute("COMMIT")

    def _opened(self) -> Connection:
        if not self._file.known:
            self._connection = open_reader(self._place)
            self._file.remember()
            return self._connection
        self._file.check()
        if self._connection is None:
            self._connection = connect(self._place)
        return self._connection


class Writer(SqliteThread):
    """Changes the database, and tells when it failed to.

    Args:
        place: the database.
        name: the thread's name.
        file: what the place's name led to first.
        committed: called in the thread after each commit.
        failed: called in the thread when the store could not be reached.
    """

    def __init__(
        self,
        place: Place,
        name: str,
        file: SameFile,
        committed: Callable[[], None],
        failed: Callable[[], None],
    ) -> None:
        self._committed = committed
        self._failed = failed
        super().__init__(place, name, file)

    def _take(self) -> list[Request[Any]]:
        batch = super()._take()
        with suppress(Empty):
            while batch and len(batch) < _TOGETHER:
                following = self._inbox.get_nowait()
                if following is None:
                    self._inbox.put(None)
                    break
                batch.append(following)
        return batch

    def _serve(self, batch: list[Request[Any]]) -> None:
        connection = self._opened()
        changing = [request for request in batch if not request.answered(connection)]
        if not changing:
            return
        begin(connection)
        if len(changing) == 1:
            changing[0].answer = changing[0].work(connection)
        else:
            for request in changing:
                self._one_of_many(request, connection)
        connection.execute("COMMIT")
        self._committed()

    def _one_of_many(self, request: Request[Any], connection: Connection) -> None:
        connection.execute("SAVEPOINT request")
        try:
            request.answer = request.work(connection)
        except Exception as error:
            if not connection.in_transaction:
                raise  # all of the batch is undone
            connection.execute("ROLLBACK TO request")
            super()._fail([request], error)  # the others' answers will be heard, once committed
        connection.execute("RELEASE request")

    def _opened(self) -> Connection:
        if not self._file.known:
            self._connection = open_writer(self._place)
            self._file.remember()
            return self._connection
        self._file.check()
        if self._connection is None:
            self._connection = reopen_writer(self._place)
        return self._connection

    def _undo(self, error: Exception) -> None:
        super()._undo(error)
        full = isinstance(error, sqlite3.Error) and primary_code(error) == sqlite3.SQLITE_FULL
        if full and self._connection is not None:
            with suppress(sqlite3.Error):  # makes room where the log of changes has grown
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _fail(self, batch: list[Request[Any]], error: Exception) -> None:
        super()._fail(batch, error)
        if any(isinstance(request.error, QueueConnectionError) for request in batch):
            self._failed()


def _deliver(batch: list[Request[Any]]) -> None:
    for loop in {request.loop for request in batch}:
        own = [request for request in batch if request.loop is loop]
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(_hand_over, own)


def _hand_over(batch: list[Request[Any]]) -> None:
    for request in batch:
        error, request.error = request.error, None  # whose traceback leads back to the request
        if request.waiter.done():
            continue
        if error is not None:
            request.waiter.set_exception(error)
        else:
            request.waiter.set_result(request.answer)
