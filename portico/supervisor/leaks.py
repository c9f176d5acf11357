"""Tasks that a handler leaves running: noticed, and ended before the next job starts.

A task belongs to the slot in whose context it was born: a handler's context descends from its
slot's, and so does that of every task, callback and thread call that the handler starts. The
application's own tasks (what its context manager opens, and what those tasks start in turn) descend
from the worker's, and are left alone. So a job that starts no task costs nothing here.

What is to outlive a job belongs into the application's context manager; where a handler has to
start it, `create_task(..., context=contextvars.Context())` says so.
"""

from __future__ import annotations

import asyncio
from contextvars import Context, ContextVar
from typing import Any, NamedTuple
from weakref import WeakSet

_TURNS = 3
"""Turns of the loop that a task has which is ending anyway: cancelled already, or nearly done."""
_UNWIND = 1.0
"""Seconds that cancelled tasks have to end."""
_ROUNDS = 3
"""A task may start others while it ends."""
_NAMED = 5


class Leak(NamedTuple):
    """What a handler left running."""

    tasks: int
    coroutines: list[str]
    """Names of the first few."""
    still_running: int
    """How many go on after their cancellation."""


class Scope:
    """The tasks that were started under one slot's jobs and are not done."""

    __slots__ = ("tasks",)

    def __init__(self) -> None:
        self.tasks: set[asyncio.Future[Any]] = set()

    def enter(self) -> None:
        """Take charge of what is started in this context from now on."""
        _scope.set(self)

    async def clear(self) -> Leak | None:
        """End what is left; `None` when nothing had to be ended."""
        for _ in range(_TURNS):
            await asyncio.sleep(0)
            if not self.tasks:
                return None
        names = sorted(_name(task) for task in self.tasks)
        count = 0
        for _ in range(_ROUNDS):
            left = list(self.tasks)
            count += len(left)
            for task in left:
                task.cancel()
            _, stubborn = await asyncio.wait(left, timeout=_UNWIND)
            if stubborn or not self.tasks:
                break
        still_running = len(self.tasks)
        self.tasks.clear()
        return Leak(count, names[:_NAMED], still_running)


_scope: ContextVar[Scope | None] = ContextVar("portico_task_scope", default=None)


def current_scope() -> Scope | None:
    """The scope of what runs now; `None` for the application's own."""
    return _scope.get()


class Outside:
    """The tasks of the loop that are none of a handler's: the application's own, and ours."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.tasks: WeakSet[asyncio.Future[Any]] = WeakSet(asyncio.all_tasks(loop))

    def ended_by(self, error: BaseException) -> bool:
        """Whether one of them has ended with this very exception."""
        over = [task for task in self.tasks if task.done() and not task.cancelled()]
        return any(task.exception() is error for task in over)


def watch_tasks(loop: asyncio.AbstractEventLoop) -> Outside:
    """Have every new task of the loop noted in the scope of its context, or among those that have
    none."""
    make = loop.get_task_factory() or _plain
    outside = Outside(loop)

    def factory(
        loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any
    ) -> asyncio.Future[Any]:
        task = make(loop, coroutine, **options)
        context: Context | None = options.get("context")
        scope = _scope.get() if context is None else context.get(_scope)
        if scope is not None and not task.done():
            scope.tasks.add(task)
            task.add_done_callback(scope.tasks.discard)
        elif scope is None:
            outside.tasks.add(task)
        return task

    loop.set_task_factory(factory)
    return outside


def _plain(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Future[Any]:
    return asyncio.Task(coroutine, loop=loop, **options)


def _name(task: asyncio.Future[Any]) -> str:
    coroutine = task.get_coro() if isinstance(task, asyncio.Task) else task
    return str(getattr(coroutine, "__qualname__", type(coroutine).__name__))[:200]
