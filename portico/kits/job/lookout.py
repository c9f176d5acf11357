"""Knowing when it is worth to look into the store again, without asking it all the time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from portico.ports.job_queue import JobQueueAdapter
from portico.ports.leasing import Exchange

_POLL = 1.0
"""Seconds after which to look although nobody has said a word: a notification may get lost."""
_SHORTEST = 0.001
_CONTENDED = 0.02
"""Seconds until the next look for a job that is due but was not given: somebody else is at it."""


class Lookout:
    """Calls `wake` when jobs may have become available in queues that were found empty."""

    def __init__(
        self, queue: JobQueueAdapter, queues: Sequence[str], wake: Callable[[], None]
    ) -> None:
        self.dry = False
        """The last look found nothing more that is due, and nothing was heard since."""
        self._queue = queue
        self._queues = queues
        self._wake = wake
        self._waiting: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def looked(self, exchange: Exchange, limit: int) -> None:
        """Take note of what an exchange found; with a limit of 0 nobody has looked."""
        self.dry = len(exchange.leases) < limit and not exchange.unseen
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.dry and exchange.next_due is not None and exchange.next_due < _POLL:
            delay = max(exchange.next_due, _SHORTEST) if exchange.next_due > 0 else _CONTENDED
            self._timer = asyncio.get_running_loop().call_later(delay, self._is_due)

    def watch(self) -> None:
        """Wait for the store in the background, unless that is so already."""
        if self._waiting is None:
            self._waiting = asyncio.create_task(self._queue.wait(self._queues, _POLL))
            self._waiting.add_done_callback(lambda _: self._wake())

    def listen(self) -> None:
        """Take note of what the wait has brought.

        Raises:
            QueueConnectionError: the store was lost meanwhile.
        """
        if self._waiting is not None and self._waiting.done():
            done, self._waiting = self._waiting, None
            self.dry = False
            done.result()

    async def close(self) -> None:
        """Watch no more."""
        if self._timer is not None:
            self._timer.cancel()
        if self._waiting is not None:
            self._waiting.cancel()
            await asyncio.gather(self._waiting, return_exceptions=True)

    def _is_due(self) -> None:
        self.dry = False
        self._wake()
