"""What is set on a worker's loop: what the application set stays, what a job sets goes with it.

A handler may give the loop another executor, or shut its own down; turn on its debug mode; put
another exception handler or task factory there. The jobs after it have nothing to do with that.
The loop cannot be asked for all of these, so the calls that set them are noted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from threading import Thread
from typing import Any

_SETTERS = ("set_debug", "set_exception_handler", "set_task_factory", "set_default_executor")


def _new_executor() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(thread_name_prefix="asyncio")


_spare = [_new_executor()]
"""One without a thread yet, made before workers are forked: so it takes no memory of theirs."""


class LoopSettings:
    """The settings of one loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Take over: the default executor is ours from now on, as large as it would be."""
        self._loop: Any = loop
        self._set: dict[str, Callable[..., None]] = {}
        self._kept: dict[str, Any] = {}
        self._executor: Executor
        self.changed = False
        """Something was set since `keep`."""
        for name in _SETTERS:
            self._set[name] = getattr(loop, name)
            setattr(loop, name, self._noting(name))
        setattr(loop, "shutdown_default_executor", self._shut_down)  # noqa: B010 - for mypy
        self._renew()

    def keep(self) -> None:
        """What is set now is the application's: it stays."""
        self._kept = {
            "set_debug": self._loop.get_debug(),
            "set_exception_handler": self._loop.get_exception_handler(),
            "set_task_factory": self._loop.get_task_factory(),
            "set_default_executor": self._executor,
        }
        self.changed = False

    def restore(self) -> None:
        """Take back what was set since then; an executor that was shut down is replaced."""
        for name, value in self._kept.items():
            self._set[name](value)
        self._executor = self._kept["set_default_executor"]
        if getattr(self._executor, "_shutdown", False):
            self._renew()
        self.keep()

    def holds(self, thread: Thread) -> bool:
        """Whether a thread is one of the default executor's."""
        return thread in getattr(self._executor, "_threads", ())

    @property
    def most_threads(self) -> int:
        """How many the default executor may have."""
        return int(getattr(self._executor, "_max_workers", 1))

    def _noting(self, name: str) -> Callable[..., None]:
        def note(value: Any) -> None:
            self._set[name](value)
            self.changed = True
            if name == "set_default_executor":
                self._executor = value

        return note

    async def _shut_down(self, timeout: float | None = None) -> None:
        """As the loop's own, but that there is another executor afterwards."""
        former = self._executor
        self._renew()
        self.changed = True
        if not getattr(former, "_threads", True):  # there may be no room for one, at the end
            former.shutdown()
            return
        waiting = ThreadPoolExecutor(1, "portico-shutdown")
        ended = self._loop.run_in_executor(waiting, former.shutdown)
        waiting.shutdown(wait=False)
        await asyncio.wait([ended], timeout=timeout)

    def _renew(self) -> None:
        self._executor = _spare.pop() if _spare else _new_executor()
        self._set["set_default_executor"](self._executor)
        self._kept["set_default_executor"] = self._executor
