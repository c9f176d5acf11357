"""Deadlines of running tasks, watched with one timer of the loop for all of them.

A timer per job costs more than everything else that is done for a small job; nearly all of them
are taken back unused. Here a job costs two dictionary operations, and the one timer is set again
only when it fires or an earlier deadline comes in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import inf
from typing import Any

Expire = Callable[["asyncio.Task[Any]"], None]


class Deadlines:
    """Calls `expire(task)` for every task that is past its deadline and was not cleared."""

    def __init__(self, expire: Expire, loop: asyncio.AbstractEventLoop) -> None:
        self._expire = expire
        self._loop = loop
        self._due: dict[asyncio.Task[Any], float] = {}
        self._next = inf
        self._timer: asyncio.TimerHandle | None = None

    def set(self, task: asyncio.Task[Any], seconds: float) -> None:
        """Watch a task for the next so many seconds."""
        self._due[task] = due = self._loop.time() + seconds
        if due < self._next:
            self._arm(due)

    def clear(self, task: asyncio.Task[Any]) -> None:
        """Watch it no more; one that is not watched is no matter."""
        self._due.pop(task, None)

    def _arm(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._next = due
        self._timer = self._loop.call_at(due, self._fire)

    def _fire(self) -> None:
        self._timer, self._next = None, inf
        now = self._loop.time()
        for task in [task for task, due in self._due.items() if due <= now]:
            del self._due[task]
            self._expire(task)
        if self._due:
            self._arm(min(self._due.values()))
