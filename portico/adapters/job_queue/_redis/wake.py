"""Hearing of new jobs: one connection that waits for messages, and shows that it still hears."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from portico.adapters.job_queue._redis.client import RedisClient
from portico.adapters.job_queue._redis.errors import translated
from portico.exceptions import PorticoError
from portico.utils.logging import get_logger

_SILENCE = 5.0
"""Seconds after which the connection is asked for a sign of life, and in which it must give it."""
_PAUSE = 1.0
"""Seconds between two tries to connect; meanwhile whoever waits looks for himself."""
_SOON = 0.05
_EVERYTHING = b"*"
_BREATH = 100
"""Messages after which everything else in the loop has its turn: they may come without end."""

logger = get_logger(__name__)


class Listener:
    """Rings when a script published that there is something new.

    Args:
        client: open for as long as this listens.
        ring: told a queue's name, or `None` when anything may have come.
        ring_cancels: told that someone asked for a running job to be stopped.
    """

    def __init__(
        self,
        client: RedisClient,
        ring: Callable[[str | None], None],
        ring_cancels: Callable[[], None],
    ) -> None:
        self._client = client
        self._channel = f"{client.place.prefix}wake"
        self._ring = ring
        self._ring_cancels = ring_cancels
        self._task: asyncio.Task[None] | None = None
        self.hears = False
        self._parting = False
        """Whether a connection is being closed: that is let come to its end."""

    def start(self) -> None:
        """Listen from now on."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._listen(), name="portico-redis-listener")

    async def has_others(self) -> bool | None:
        """Whether anybody listens, as whoever leases does; `None`: a cluster does not tell it."""
        return await self._client.has_subscribers(self._channel)

    async def stop(self) -> None:
        """Listen no more."""
        task, self._task = self._task, None
        while task is not None and not task.done():
            if not self._parting:
                task.cancel()  # again and again: the driver takes one that comes while it connects
            await asyncio.wait([task], timeout=_SOON)
        self.hears = False

    async def _listen(self) -> None:
        told = False
        while True:
            pubsub = self._client.pubsub()
            try:
                await pubsub.subscribe(self._channel)
                await self._hear(pubsub)
            except asyncio.CancelledError:
                raise
            except Exception as error:  # noqa: BLE001 - of whatever kind: polling goes on, and so does this
                if self.hears or not told:
                    told = True
                    said = error if isinstance(error, PorticoError) else self._translated(error)
                    logger.warning(
                        "store_wakes_nobody", error=str(said),
                        next="looks for jobs once a second until it is connected again",
                    )  # fmt: skip
            finally:
                self.hears, self._parting = False, True
                with suppress(Exception):
                    await pubsub.aclose()
                self._parting = False
            await asyncio.sleep(_PAUSE)

    def _translated(self, error: Exception) -> PorticoError:
        return translated(error, self._client.place)

    async def _hear(self, pubsub: Any) -> None:
        asked, heard = False, 0
        while True:
            message = await pubsub.get_message(timeout=_SILENCE)
            heard += 1
            if heard % _BREATH == 0:
                await asyncio.sleep(0)
            if message is None:
                if asked:
                    raise TimeoutError(f"no sign of life for {2 * _SILENCE:g} s")
                asked = True
                await pubsub.ping()
                continue
            asked = False
            if message["type"] == "subscribe":
                self.hears = True
                self._ring(None)  # whatever was published before
                self._ring_cancels()
            elif message["type"] == "message":
                self._tell(message["data"])

    def _tell(self, data: bytes) -> None:
        if data == _EVERYTHING:
            self._ring_cancels()
        else:
            self._ring(data.decode("utf-8", "replace"))
