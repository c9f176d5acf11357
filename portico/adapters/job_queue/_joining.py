"""Inserts that come at once, or while one is under way, become one; each has its own outcome."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from copy import copy
from typing import NamedTuple

from portico.exceptions import PorticoError, QueueConnectionError
from portico.ports.bulk import PORTION, PORTION_BYTES
from portico.ports.draft import Draft
from portico.ports.leasing import Inserted

_HOPELESS = 2
"""Inserts in a row that could not reach the store; then who waits is told so without a try."""


class _Waiting(NamedTuple):
    drafts: Sequence[Draft]
    waiter: asyncio.Future[list[Inserted | None]]


class JoinedInserts:
    """Stores the drafts of many callers in the order of their calls, one insert at a time.

    Args:
        insert: stores drafts in one transaction: when it raises, none of them is stored, or as far
            as a lost connection tells nobody knows.
    """

    def __init__(
        self, insert: Callable[[Sequence[Draft]], Awaitable[list[Inserted | None]]]
    ) -> None:
        self._insert = insert
        self._waiting: deque[_Waiting] = deque()
        self._task: asyncio.Task[None] | None = None
        self._unreachable = 0

    async def insert(self, drafts: Sequence[Draft]) -> list[Inserted | None]:
        """Store drafts together with those of whoever else waits.

        A caller that is cancelled while it waits for its turn has stored nothing.

        Raises:
            PorticoError: what `insert` raises for these drafts alone.
        """
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[list[Inserted | None]] = loop.create_future()
        self._waiting.append(_Waiting(drafts, waiter))
        if self._task is None:
            self._task = loop.create_task(self._work())  # begins when all that are ready have come
        try:
            return await waiter
        finally:
            del waiter  # else its error would keep what was to be stored, by way of this call

    async def _work(self) -> None:
        try:
            while taken := self._take():
                await self._store(taken)
        finally:
            self._task = None
            while self._waiting:  # only where the loop ends
                self._waiting.popleft().waiter.cancel()

    def _take(self) -> list[_Waiting]:
        taken: list[_Waiting] = []
        room, size = PORTION, PORTION_BYTES
        while self._waiting:
            one = self._waiting[0]
            room -= len(one.drafts)
            size -= sum(len(draft.payload) + len(draft.metadata) for draft in one.drafts)
            if taken and (room < 0 or size < 0):
                break
            self._waiting.popleft()
            if not one.waiter.done():
                taken.append(one)
        return taken

    async def _store(self, taken: Sequence[_Waiting]) -> None:
        try:
            answers = await self._insert([draft for one in taken for draft in one.drafts])
        except QueueConnectionError as error:
            self._unreachable += 1
            _refuse(taken, error)
            if self._unreachable >= _HOPELESS:
                _refuse(self._waiting, error)
                self._waiting.clear()
        except Exception as error:  # noqa: BLE001 - told to whom it concerns
            if len(taken) == 1:
                _refuse(taken, error)
                return
            for one in taken:  # it may be one's alone
                await self._store([one])
        except BaseException:
            for one in taken:
                one.waiter.cancel()
            raise
        else:
            self._unreachable = 0
            _answer(taken, answers)


def _refuse(callers: Sequence[_Waiting] | deque[_Waiting], error: Exception) -> None:
    for one in callers:
        if not one.waiter.done():
            one.waiter.set_exception(_own(error))


def _own(error: Exception) -> Exception:
    """An error for one caller: what several raise would collect the tracebacks of all."""
    if not isinstance(error, PorticoError):
        return error
    own = copy(error)
    own.__cause__ = error.__cause__
    return own


def _answer(taken: Sequence[_Waiting], answers: list[Inserted | None]) -> None:
    start = 0
    for drafts, waiter in taken:
        end = start + len(drafts)
        if not waiter.done():
            waiter.set_result(answers[start:end])
        start = end
