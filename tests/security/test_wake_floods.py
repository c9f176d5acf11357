"""Who may tell a store's listeners of new jobs may tell them anything, as often as he likes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack

import psutil
import psycopg
import pytest
import redis as driver

from portico import compose
from portico.adapters.job_queue import DatabaseJobQueueAdapter, RedisJobQueueAdapter
from portico.testing.contract.queue_support import enqueued, leased
from tests.support.redis_queues import own_namespace
from tests.support.servers import PostgresServer, RedisServer
from tests.support.waiting import PATIENCE, wait_until

pytestmark = [pytest.mark.security("S27"), pytest.mark.servers]

MESSAGES, BYTES = 30_000, 7_000
ALLOWED = 64 * 2**20
"""Bytes: of the 210 MB that come, what the readers and the allocator may hold on to."""
Queue = DatabaseJobQueueAdapter | RedisJobQueueAdapter


async def survives(waiting: Queue, producer: Queue, flood: Callable[[], None]) -> None:
    """After a flood nothing of it is kept, and a new job wakes who waits for it."""
    async with AsyncExitStack() as opened:
        for queue in (waiting, producer):
            await queue.initialize()
            opened.push_async_callback(queue.close)
        await _survives(waiting, producer, flood)


async def _survives(waiting: Queue, producer: Queue, flood: Callable[[], None]) -> None:
    assert await leased(waiting) == []
    resting = asyncio.create_task(waiting.wait(("elsewhere",), 60))
    await wait_until(lambda: hears(waiting))
    before = psutil.Process().memory_info().rss
    await asyncio.to_thread(flood)
    await wait_until(lambda: hears(waiting))  # a server may cut off who hears too slowly
    woken = asyncio.create_task(waiting.wait(("default",), 60))
    await enqueued(producer)
    async with asyncio.timeout(PATIENCE):
        await woken
    assert set(waiting._bell._rung) == {"default", "elsewhere"}
    assert psutil.Process().memory_info().rss - before < ALLOWED
    resting.cancel()
    assert len(await leased(waiting)) == 1


def hears(queue: Queue) -> bool:
    if isinstance(queue, RedisJobQueueAdapter):
        return queue._store._listener.hears
    listener = queue._store._listener  # type: ignore[attr-defined]
    return bool(listener.hearing)


async def test_a_flood_of_names_on_redis_is_not_kept(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("portico.adapters.job_queue._stored_queue._POLL", 60.0)
    url = own_namespace(redis.url())
    waiting, producer = RedisJobQueueAdapter(url), RedisJobQueueAdapter(url)
    channel = f"{waiting._place.prefix}wake"

    def flood() -> None:
        with driver.Redis(port=redis.port) as client:
            for first in range(0, MESSAGES, 500):
                many = client.pipeline(transaction=False)
                for number in range(first, first + 500):
                    many.publish(channel, b"\xff%d" % number + b"x" * BYTES)
                many.execute()

    await survives(waiting, producer, flood)


async def test_a_flood_of_names_on_postgresql_is_not_kept(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("portico.adapters.job_queue._stored_queue._POLL", 60.0)
    url = postgres.url(postgres.database())
    waiting, producer = compose.job_queue(url), compose.job_queue(url)
    assert isinstance(waiting, DatabaseJobQueueAdapter)
    assert isinstance(producer, DatabaseJobQueueAdapter)
    channel = waiting._store._place.channel  # type: ignore[attr-defined]

    def flood() -> None:
        with psycopg.connect(url, autocommit=True) as stranger:
            stranger.execute(
                "SELECT count(pg_notify(%s, n || repeat('x', %s))) FROM generate_series(1, %s) n",
                (channel, BYTES, MESSAGES),
            )

    await survives(waiting, producer, flood)
