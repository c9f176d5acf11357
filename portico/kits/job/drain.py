"""The way down: lease no more, let the executor drain, settle what is left within a limit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Self

from portico.ports.job_executor import JobExecutor


class Drain:
    """Begun once or more often, done when nothing runs any more.

    As an async context it limits its block: a `TimeoutError` ends the block some seconds after
    nothing runs any more. That is `expired`, and the time in which to settle what is left.
    """

    def __init__(
        self, executor: JobExecutor, flush_seconds: float, wake: Callable[[], None]
    ) -> None:
        self.begun = asyncio.Event()
        self._executor = executor
        self._flush_seconds = flush_seconds
        self._wake = wake
        self._drains: list[asyncio.Task[None]] = []
        self._limit = asyncio.timeout(None)
        self._limiting = False

    @property
    def expired(self) -> bool:
        """Whether the limit has ended the block."""
        return self._limit.expired()

    def begin(self, grace: float) -> None:
        """Let what runs go on for `grace` seconds; a second, shorter one shortens the first."""
        self.begun.set()
        drain = asyncio.create_task(self._executor.drain(grace))
        self._drains.append(drain)
        drain.add_done_callback(lambda _: self._set_limit())

    def done(self) -> bool:
        """Whether nothing runs any more; raises what the executor raised."""
        if not self._all_done():
            return False
        for drain in self._drains:
            drain.result()
        return True

    def tasks(self) -> list[asyncio.Task[None]]:
        """What is under way."""
        return list(self._drains)

    async def __aenter__(self) -> Self:
        await self._limit.__aenter__()
        self._limiting = True
        self._set_limit()
        return self

    async def __aexit__(self, *error: object) -> None:
        self._limiting = False
        await self._limit.__aexit__(*error)  # type: ignore[arg-type]

    def _all_done(self) -> bool:
        return bool(self._drains) and all(drain.done() for drain in self._drains)

    def _set_limit(self) -> None:
        self._wake()
        if self._limiting and self._all_done():
            now = asyncio.get_running_loop().time()
            self._limit.reschedule(now + self._flush_seconds)
