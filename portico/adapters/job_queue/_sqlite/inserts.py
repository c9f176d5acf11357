"""Inserts that come while the writer is busy become one; each is admitted or refused by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple

from portico.adapters.job_queue._admission import Gate
from portico.adapters.job_queue._sqlite import reading
from portico.adapters.job_queue._sqlite.driver import Connection
from portico.exceptions import QueueConnectionError, QueueFullError
from portico.ports.draft import Draft
from portico.ports.leasing import Inserted

Work = Callable[[Connection], None]


class _Waiting(NamedTuple):
    drafts: Sequence[Draft]
    waiter: asyncio.Future[list[Inserted | None]]


_AT_ONCE = 2000
"""Drafts after which a transaction takes no more callers, so that others get their turn."""


class Inserts:
    """Collects drafts until the writer takes them, and hands each caller its own answers.

    Callers are coroutines of one event loop, the writer is a thread: appending to the list and
    deleting its head are single steps that both may do at any time.
    """

    def __init__(
        self,
        clock: Callable[[], int],
        submit: Callable[[Work], asyncio.Future[None]],
        max_pending: int | None = None,
    ) -> None:
        self._gate = None if max_pending is None else Gate(max_pending, reading.waiting)
        self._clock = clock
        self._submit = submit
        self._waiting: list[_Waiting] = []

    async def insert(self, drafts: Sequence[Draft]) -> list[Inserted | None]:
        """Store drafts together with those of whoever else waits.

        Raises:
            QueueFullError: a queue has no room for them; none of them is stored.
        """
        waiter: asyncio.Future[list[Inserted | None]] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(drafts, waiter))
        if len(self._waiting) == 1:
            self._begin()
        return await waiter

    def _begin(self) -> None:
        taken: list[_Waiting] = []
        refused: list[tuple[_Waiting, QueueFullError]] = []
        answers: list[Inserted | None] = []

        def work(connection: Connection) -> None:
            taken.extend(self._admitted(connection, refused))
            drafts = [draft for one in taken for draft in one.drafts]
            answers.extend(reading.insert(connection, drafts, self._clock()))

        def finished(done: asyncio.Future[None]) -> None:
            error = done.exception()
            if error is not None:
                _refuse(taken or self._take(), error)
            else:
                _answer(taken, answers)
            for one, refusal in refused:
                _refuse([one], refusal)
            if self._waiting:
                self._begin()

        try:
            self._submit(work).add_done_callback(finished)
        except QueueConnectionError as error:
            while self._waiting:
                _refuse(self._take(), error)

    def _admitted(
        self, connection: Connection, refused: list[tuple[_Waiting, QueueFullError]]
    ) -> list[_Waiting]:
        """Those whose turn it is and for whom there is room; the others join the refused."""
        taken = self._take()
        if self._gate is None:
            return taken
        admitted = []
        for one in taken:
            refusal = self._gate.refusal(connection, one.drafts)
            if refusal is None:
                admitted.append(one)
            else:
                refused.append((one, refusal))
        return admitted

    def _take(self) -> list[_Waiting]:
        count = drafts = 0
        for one in self._waiting:
            drafts += len(one.drafts)
            if count and drafts > _AT_ONCE:
                break
            count += 1
        taken = self._waiting[:count]
        del self._waiting[:count]
        return taken


def _refuse(taken: list[_Waiting], error: BaseException) -> None:
    for one in taken:
        if not one.waiter.done():
            one.waiter.set_exception(error)


def _answer(taken: list[_Waiting], answers: list[Inserted | None]) -> None:
    start = 0
    for drafts, waiter in taken:
        end = start + len(drafts)
        if not waiter.done():
            waiter.set_result(answers[start:end])
        start = end
