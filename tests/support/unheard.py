"""Answers that get lost inside of an adapter: what was asked for is done, and an error comes."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import asyncpg
from redis import exceptions as trouble

from portico.adapters.job_queue._redis.errors import translated
from portico.ports.job_queue import JobQueueAdapter


class Loss:
    """Whether an answer is to be lost, and how many are heard before it."""

    def __init__(self) -> None:
        self.armed = False
        self.heard = 0

    def strikes(self) -> bool:
        """Whether this is the answer; the next one is not."""
        if self.armed and self.heard:
            self.heard -= 1
            return False
        armed, self.armed = self.armed, False
        return armed

    @contextmanager
    def of_the_next_answer(self) -> Iterator[None]:
        self.armed = True
        try:
            yield
        finally:
            assert not self.armed, "nothing was done whose answer could be lost"


class _Unheard:
    """A SQLite connection whose commit takes place, and is told as a failure of the disk."""

    def __init__(self, connection: Any, loss: Loss) -> None:
        self._connection = connection
        self._loss = loss

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, sql: str, *values: Any) -> Any:
        found = self._connection.execute(sql, *values)
        if sql == "COMMIT" and self._loss.strikes():
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR
            raise error
        return found


def loss_on_sqlite(queue: JobQueueAdapter) -> Loss:
    """Of the next commit of an open queue."""
    loss, writer = Loss(), queue._store._writer  # type: ignore[attr-defined]
    opened = writer._opened
    writer._opened = lambda: _Unheard(opened(), loss)
    return loss


def loss_on_postgres(queue: JobQueueAdapter) -> Loss:
    """Of the next piece of work, committed, on a connection that then breaks."""
    loss, connections = Loss(), queue._store._connections  # type: ignore[attr-defined]
    once = connections._once

    async def unheard(work: Any, *, atomic: bool) -> Any:
        found = await once(work, atomic=atomic)
        if loss.strikes():
            raise asyncpg.ConnectionDoesNotExistError("connection was closed in the middle")
        return found

    connections._once = unheard
    return loss


def loss_on_redis(queue: JobQueueAdapter) -> Loss:
    """Of the next scripts, which the server has run."""
    loss, client = Loss(), queue._store._client  # type: ignore[attr-defined]
    run = client._run

    async def unheard(*asked: Any) -> Any:
        answers = await run(*asked)
        if loss.strikes():
            gone = trouble.ConnectionError("Connection closed by server.")
            raise translated(gone, client.place)
        return answers

    client._run = unheard
    return loss
