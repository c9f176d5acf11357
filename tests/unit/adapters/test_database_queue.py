"""What the database adapter does around its store."""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager, nullcontext
from typing import Any
from uuid import UUID

from portico.adapters.job_queue import DatabaseJobQueueAdapter
from portico.ports.leasing import Exchange


class SlowStore:
    """A store whose exchanges end when the test says so."""

    def __init__(self) -> None:
        self.asked: list[asyncio.Future[Exchange]] = []

    def exchange(self, *_: Any) -> asyncio.Future[Exchange]:
        self.asked.append(asyncio.get_running_loop().create_future())
        return self.asked[-1]

    async def redrive(self, keys: list[bytes]) -> list[bytes]:
        return keys

    def listening(self) -> AbstractContextManager[None]:
        return nullcontext()


async def test_work_that_comes_while_the_store_is_looking_is_not_slept_over() -> None:
    queue = DatabaseJobQueueAdapter("sqlite:///never-opened.db")
    store: Any = SlowStore()
    queue._store = store
    looking = asyncio.create_task(queue.exchange((), ("default",), 1))
    await asyncio.sleep(0)
    await queue.redrive([UUID(int=1)])
    store.asked[0].set_result(Exchange([], []))
    await looking
    async with asyncio.timeout(0.5):
        await queue.wait(("default",), 30)
