"""Redis queues for the contract: a namespace for each, and a server clock that tests turn.

The scripts take the time from one file; here another stands in its place, which reads it from a
key. It is written before each call, so that the server's time is the test's.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache
from typing import Any, Protocol
from uuid import uuid4

import redis

from portico.adapters.job_queue import RedisJobQueueAdapter
from portico.adapters.job_queue._redis import scripts
from portico.ports.job_queue import JobQueueAdapter
from tests.support.servers import RedisServer

_CLOCK = """
local function clock()
    local turned = redis.call('GET', KEYS[1] .. 'test:now')
    if turned then return tonumber(turned) end
    local now = redis.call('TIME')
    return tonumber(now[1]) * 1000000 + tonumber(now[2])
end
"""


@cache
def _on_that_clock(name: str) -> scripts.Script:
    return scripts.assembled(name, _CLOCK)


class ClockedRedisQueue(RedisJobQueueAdapter):
    """One whose server lives in the time of `clock`."""

    def __init__(
        self,
        url: str,
        lease_seconds: float = 60.0,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(url, lease_seconds, clock=clock, monotonic=monotonic)
        client = self._store._client
        client.script_of = _on_that_clock
        run, key = client.run, f"{client.place.prefix}test:now"

        async def run_then(*calls: Any) -> list[Any]:
            if client._client is not None:
                await client._client.set(key, int(clock() * 1_000_000))
            return await run(*calls)

        client.run = run_then


class _Clocks(Protocol):
    one_for_all: bool


def redis_queue(server: RedisServer, clocks: _Clocks, **known: Any) -> JobQueueAdapter:
    """A queue in a namespace of its own, whose server goes by the wall clock that it is given."""
    clocks.one_for_all = True
    return ClockedRedisQueue(own_namespace(server.url()), **known)


def own_namespace(url: str) -> str:
    return f"{url}?namespace=test-{uuid4().hex[:12]}"


class ModelDatabase:
    """One database for all examples of a state machine, emptied after each."""

    def __init__(self, server: RedisServer) -> None:
        self.url = server.url(5)
        self._client = redis.Redis.from_url(self.url)

    def empty(self) -> None:
        self._client.flushdb()

    def close(self) -> None:
        self._client.close()
