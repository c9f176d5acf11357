"""Asynchronous generators that a handler left early: cleaned up as the loop does it, under the
name of the job that began them.

What comes after such a generator's `yield` (give back a connection, roll back) needs the loop, and
often some time. It is work of the loop and none that the handler has left on: it goes on beside the
next jobs, and is let run to its end within `LONGEST`.
"""

from __future__ import annotations

import asyncio
import sys
import weakref
from collections.abc import AsyncGenerator, Callable, Iterable
from contextvars import Context, copy_context
from typing import Any

from portico.kits.job.failures import failure_of
from portico.supervisor.leaks import Scope, current_scope
from portico.utils.logging import get_logger

LONGEST = 30.0
"""Seconds that a generator has to clean up after itself."""

Generator = AsyncGenerator[Any, Any]

logger = get_logger(__name__)


class Generators:
    """The asynchronous generators of one loop, and the clean-ups of those that were left."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._begun_in: dict[int, tuple[weakref.ref[Generator], Context]] = {}
        self._dying: dict[int, Context] = {}
        """Of those that are being collected right now: their references go before their hook is
        called, nothing comes in between, and of those that have ended the hook is not called."""
        self._cleanups: dict[asyncio.Task[None], Scope | None] = {}
        self._usual: Callable[[Generator], Any] | None = None

    def watch(self) -> None:
        """Take over from the loop; to be called whenever it has begun to run."""
        usual = sys.get_asyncgen_hooks().firstiter
        if usual == self._begun:
            return
        self._usual = usual
        sys.set_asyncgen_hooks(firstiter=self._begun, finalizer=self._left)

    def of(self, scope: Scope) -> list[asyncio.Task[None]]:
        """The clean-ups under way of what one slot's jobs began."""
        return [task for task, begun_by in self._cleanups.items() if begun_by is scope]

    async def settle(self, seconds: float) -> None:
        """Wait for all clean-ups that are under way, so long at most."""
        if self._cleanups:
            await asyncio.wait(self._cleanups, timeout=seconds)

    def _begun(self, generator: Generator) -> None:
        if self._usual is not None:
            self._usual(generator)  # notes it for `shutdown_asyncgens`
        key = id(generator)
        self._dying.clear()
        self._begun_in[key] = weakref.ref(generator, lambda _: self._dies(key)), copy_context()

    def _dies(self, key: int) -> None:
        self._dying[key] = self._begun_in.pop(key)[1]

    def _left(self, generator: Generator) -> None:
        """Called where the last reference went, in whatever thread and job that is."""
        context = self._dying.pop(id(generator), None)
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(
                self._clean_up, generator, context=context or copy_context()
            )

    def _clean_up(self, generator: Generator) -> None:
        task = asyncio.Task(_closed(generator), loop=self._loop)  # past the factory: no leftover
        self._cleanups[task] = current_scope()
        task.add_done_callback(self._cleanups.pop)


async def _closed(generator: Generator) -> None:
    """Close a generator, and say so where that goes wrong: nobody awaits this."""
    limit = asyncio.timeout(LONGEST)
    try:
        async with limit:
            await generator.aclose()
    except BaseException as raised:  # noqa: BLE001 - it is the application's code
        reason = failure_of(raised)
        logger.warning(
            "generator_cleanup_overdue" if limit.expired() else "generator_cleanup_failed",
            generator=getattr(generator, "__qualname__", type(generator).__name__)[:200],
            error_type=reason.type,
            error=reason.message,
            traceback=reason.traceback,
            note="the job left this generator before its end; what stands in its `finally` did not "
            "come to an end. Use contextlib.aclosing to close it in the handler",
        )


def cancel(cleanups: Iterable[asyncio.Task[None]]) -> None:
    """End clean-ups that may not go on."""
    for task in cleanups:
        task.cancel()
