"""Being told of work by the server, and telling others; all of it may fail without harm.

Whoever waits looks for himself once a second anyway. Notifications carry the name of a queue at
most, and `CANCEL` when someone asked to stop a job.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from typing import Any

import asyncpg

from portico.adapters.job_queue._postgres.connections import Connections
from portico.adapters.job_queue._postgres.errors import LOST
from portico.exceptions import PorticoError
from portico.utils.logging import get_logger

CANCEL = "!"
"""Is no queue's name."""
APART = 0.01
"""Seconds between two notifications of one queue."""
_CHECK = 2.0
"""Seconds between two questions whether the connection still lives."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
_MOST_KNOWN = 1000

logger = get_logger(__name__)


class Listener:
    """A connection of its own that listens, is checked from within, and is made anew when lost.

    Args:
        connections: where to connect.
        ring: called with the names of queues in which something happened; with `None` when it
            may have happened unheard.
        ring_cancels: called when someone may have asked to stop a job.
    """

    def __init__(
        self,
        connections: Connections,
        ring: Callable[[Iterable[str] | None], None],
        ring_cancels: Callable[[], None],
    ) -> None:
        self._connections = connections
        self._ring = ring
        self._ring_cancels = ring_cancels
        self._task: asyncio.Task[None] | None = None
        self._heard = asyncio.Event()

    @property
    def hearing(self) -> bool:
        """Whether the server tells at this moment."""
        return self._heard.is_set()

    def begin(self) -> None:
        """Listen from now on, where the connection may be kept to one session."""
        if self._task is None and not self._connections.pooled:
            self._task = asyncio.get_running_loop().create_task(self._listen())

    async def begun(self, within: float) -> bool:
        """Begin, and say whether the server tells, after at most so many seconds."""
        self.begin()
        if self._task is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._heard.wait(), within)
        return self.hearing

    async def stop(self) -> None:
        """Listen no more."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _listen(self) -> None:
        pause, told = _FIRST_PAUSE, False
        while True:
            try:
                await self._hear()
            except (PorticoError, asyncpg.PostgresError, *LOST) as error:
                pause = _FIRST_PAUSE if self.hearing else min(2 * pause, _LONGEST_PAUSE)
                if self.hearing or not told:
                    told = True
                    logger.warning(
                        "postgres_listening_lost",
                        queue=self._connections.place.url,
                        error=str(error) or type(error).__name__,
                        next="polling once a second, and listening again as soon as possible",
                    )
            finally:
                self._heard.clear()
                self._tell_of_everything()
            await asyncio.sleep(pause * (0.5 + random.random()))  # noqa: S311 - no secret

    async def _hear(self) -> None:
        """Listen until that fails."""
        connection = await self._connections.connect(bare=False)
        try:
            await connection.add_listener(self._connections.place.channel, self._told)
            self._heard.set()
            self._tell_of_everything()  # what came before it listened
            while True:
                await asyncio.sleep(_CHECK)
                await connection.execute("SELECT 1", timeout=_CHECK)
        finally:
            connection.terminate()

    def _told(self, connection: Any, pid: int, channel: str, payload: object) -> None:
        del connection, pid, channel
        if payload == CANCEL:
            self._ring_cancels()
        else:
            self._ring((str(payload),))

    def _tell_of_everything(self) -> None:
        self._ring(None)
        self._ring_cancels()


class Herald:
    """Tells others of work, each queue at most once in `APART` seconds.

    Args:
        tell: notifies queues, by itself.
    """

    def __init__(self, tell: Callable[[list[str]], Any]) -> None:
        self._tell = tell
        self._told_at: dict[str, float] = {}
        self._later: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def due(self, queues: Collection[str]) -> list[str]:
        """Which of these to notify with what happens now; the others are told in a moment."""
        now = asyncio.get_running_loop().time()
        if len(self._told_at) > _MOST_KNOWN:
            self._told_at = {name: at for name, at in self._told_at.items() if now - at < APART}
        due = [
            name
            for name in queues
            if name not in self._later and now - self._told_at.get(name, 0.0) >= APART
        ]
        self._told_at.update(dict.fromkeys(due, now))
        if late := set(queues).difference(due, self._later):
            if not self._later:
                task = asyncio.get_running_loop().create_task(self._tell_later())
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            self._later |= late
        return due

    async def stop(self) -> None:
        """Tell what is left to be told."""
        await asyncio.gather(*self._tasks)

    async def _tell_later(self) -> None:
        await asyncio.sleep(APART)
        queues, self._later = sorted(self._later), set()
        self._told_at.update(dict.fromkeys(queues, asyncio.get_running_loop().time()))
        with suppress(PorticoError):  # then they look for themselves
            await self._tell(queues)
