"""Waking those of this process who wait for jobs, or for news of another kind."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence

_LONGEST = 86_400.0


class Bell:
    """Rings when jobs may have become available, and loses no ring.

    A ring that comes between a look at the store that found a queue empty and the wait that
    follows ends that wait at once: `count` is read before the look and handed to `quiet` after it.
    Names come from whoever may write to the store: only those are kept that somebody here has
    asked for. Of all others it is known when the last one rang, and whoever asks for a queue for
    the first time takes that ring for his own.
    """

    def __init__(self) -> None:
        self.count = 0
        self._rung_all = 0
        self._rung_strange = 0
        self._rung: dict[str, int] = {}
        self._quiet: dict[str, int] = {}
        self._waiting: dict[str, set[asyncio.Future[None]]] = defaultdict(set)

    def ring(self, queues: Iterable[str] | None = None) -> None:
        """Wake who waits for these queues; for any queue when none is named."""
        self.count += 1
        if queues is None:
            self._rung_all = self.count
            queues = list(self._waiting)
        for name in queues:
            if name not in self._rung:
                self._rung_strange = self.count
                continue
            self._rung[name] = self.count
            for waiter in self._waiting.get(name, ()):
                _wake(waiter)

    def quiet(self, queues: Sequence[str], count: int) -> None:
        """These queues held nothing that is due when `count` was read."""
        for name in queues:
            self._learn(name)
            self._quiet[name] = max(count, self._quiet.get(name, 0))

    async def wait(self, queues: Sequence[str], timeout: float) -> None:
        """Return at the next ring for one of the queues, or after `timeout` seconds."""
        if self._unheard(queues) or timeout <= 0:
            self.quiet(queues, self.count)
            return
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        timer = loop.call_later(min(timeout, _LONGEST), _wake, waiter)
        for name in queues:
            self._learn(name)
            self._waiting[name].add(waiter)
        try:
            await waiter
        finally:
            timer.cancel()
            self._forget(queues, waiter)

    def _unheard(self, queues: Sequence[str]) -> bool:
        return any(
            max(self._rung.get(name, self._rung_strange), self._rung_all) > self._quiet.get(name, 0)
            for name in queues
        )

    def _learn(self, name: str) -> None:
        self._rung.setdefault(name, self._rung_strange)

    def _forget(self, queues: Sequence[str], waiter: asyncio.Future[None]) -> None:
        for name in queues:
            waiters = self._waiting.get(name)
            if waiters is not None:
                waiters.discard(waiter)
                if not waiters:
                    del self._waiting[name]


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
