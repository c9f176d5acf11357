"""Grants that nobody heard of are given back, and those alone."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from portico.adapters.job_queue import DatabaseJobQueueAdapter
from portico.exceptions import QueueConnectionError
from portico.ports.leasing import Answer
from tests.support.jobs import make_job

QUEUES = ("default",)


class Lossy:
    """A connection whose next commit takes place and is not answered."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def execute(self, statement: str, *values: Any) -> Any:
        cursor = self._connection.execute(statement, *values)
        if statement == "COMMIT":
            raise trouble(sqlite3.SQLITE_IOERR)
        return cursor

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


def trouble(code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("made by the test")
    error.sqlite_errorcode = code
    return error


@pytest.fixture
async def queue(tmp_path: Path) -> AsyncIterator[DatabaseJobQueueAdapter]:
    queue = DatabaseJobQueueAdapter(f"sqlite:///{tmp_path}/jobs.db")
    await queue.initialize()
    yield queue
    await queue.close()


async def test_the_only_job_of_a_queue_is_given_back_too(queue: DatabaseJobQueueAdapter) -> None:
    await queue.enqueue(make_job())
    writer: Any = queue._store._writer  # type: ignore[attr-defined]
    writer._connection = Lossy(writer._connection)
    with pytest.raises(QueueConnectionError):
        await queue.exchange((), QUEUES, 1)
    [lease] = (await queue.exchange((), QUEUES, 1)).leases
    assert lease.attempt == 2


async def test_what_was_heard_of_is_not_taken_back_for_another_ones_trouble(
    queue: DatabaseJobQueueAdapter,
) -> None:
    def fail(_: sqlite3.Connection) -> None:
        raise trouble(sqlite3.SQLITE_FULL)

    def hold(_: sqlite3.Connection) -> None:
        busy.set()
        go_on.wait(10)

    busy, go_on = threading.Event(), threading.Event()
    await queue.enqueue(make_job())
    writer: Any = queue._store._writer  # type: ignore[attr-defined]
    before = writer.submit(hold)
    assert await asyncio.to_thread(busy.wait, 10)
    leased = asyncio.create_task(queue.exchange((), QUEUES, 1))
    await asyncio.sleep(0)
    failed = writer.submit(fail)  # in the same transaction as the lease
    go_on.set()
    await before
    [lease] = (await leased).leases
    with pytest.raises(QueueConnectionError):
        await failed
    await queue.enqueue(make_job())
    await queue.exchange((), QUEUES, 1)
    [renewal] = await queue.renew([lease])
    assert renewal.answer is Answer.OK
