"""The connection on which a store in Redis hears of new jobs."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from portico.adapters.job_queue._redis import wake
from portico.adapters.job_queue._redis.wake import Listener


class Channel:
    """A subscription that takes a while to close."""

    def __init__(self) -> None:
        self.heard, self.closed = asyncio.Event(), False

    async def subscribe(self, _name: str) -> None:
        self.heard.set()

    async def get_message(self, timeout: float) -> Any:
        await asyncio.sleep(timeout)

    async def aclose(self) -> None:
        await asyncio.sleep(4 * wake._SOON)
        self.closed = True


async def test_a_connection_that_takes_its_time_to_close_is_closed() -> None:
    """The loop may be busy meanwhile; a connection left open would be told by nobody."""
    channel = Channel()
    client: Any = SimpleNamespace(place=SimpleNamespace(prefix="p:"), pubsub=lambda: channel)
    listener = Listener(client, lambda _: None, lambda: None)
    listener.start()
    await channel.heard.wait()
    await listener.stop()
    assert channel.closed
