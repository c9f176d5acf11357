"""The supervisor's end of what handlers may ask of the store.

Each request becomes a task; requests of many workers that arrive together share what the adapter
shares (a commit, a round trip). What cannot be decoded or is not allowed is answered as invalid:
a worker is not trusted.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from time import monotonic
from traceback import clear_frames
from typing import Annotated, Any, Literal, Protocol
from uuid import UUID

import msgspec
from msgspec import Meta, Raw

from portico.exceptions import (
    ConfigurationError,
    ConflictError,
    NotSupportedError,
    PorticoError,
    QueueConnectionError,
    QueueFullError,
    ValidationError,
)
from portico.ports.bulk import PORTION
from portico.ports.creators import portable
from portico.ports.draft import Draft
from portico.ports.job import Job
from portico.ports.job_queue import JobQueueAdapter
from portico.supervisor import allocation, wire
from portico.utils.log_lines import encodable
from portico.utils.logging import get_logger

Verb = Literal["insert", "get_job", "get_result", "cancel_job", "get_queue_stats", "redrive"]

_ARGUMENTS: dict[str, Any] = {
    "insert": Annotated[list[Raw], Meta(max_length=PORTION)],
    "get_job": UUID,
    "get_result": UUID,
    "cancel_job": UUID,
    "get_queue_stats": str,
    "redrive": Annotated[list[UUID], Meta(max_length=PORTION)],
}

_CODES: tuple[tuple[type[Exception], str], ...] = (
    (ConflictError, "conflict"),
    (QueueFullError, "full"),
    (QueueConnectionError, "unreachable"),
    (ConfigurationError, "unreachable"),  # it was well when this process began
    (NotSupportedError, "unsupported"),
    (ValidationError, "invalid"),
    (msgspec.MsgspecError, "invalid"),
)

MOST = 1000
"""Requests of one worker that may be here before nothing more is read from it."""
MOST_BYTES = 16 * 1024 * 1024
"""The same, in bytes."""
_SHARE = 256 * 1024
"""Bytes of a worker's requests that are carried out at a time, but for a single one that is larger:
what others ask meanwhile comes after no more than that."""
_LARGE = 4 * 1024 * 1024
"""Bytes of a request that are seldom needed again so soon."""
_AT_ONCE = 256
"""Requests of one worker that are carried out at a time; inserts that come together share much."""
_LOOKS_AT_ONCE = 4
"""The same of those for a job or a result, whose answers may be large."""
_LOOKS = ("get_job", "get_result")
_DRAFTS_IN_A_TURN = 1000
"""That are decoded and checked before the others have a turn."""
_PATIENCE = 5.0
"""Seconds that requests have to end when the supervisor stops."""
_LONGEST_ERROR = 8 * 1024
"""Characters of an error that quotes what was asked."""
_LONGEST_VERB = 100
_QUIET = 1.0
"""Seconds after an error that is no refusal in which no other one is logged."""

logger = get_logger(__name__)


class Asker(Protocol):
    """A worker whose handlers ask."""

    alive: bool

    @property
    def full(self) -> bool:
        """Whether it has left too many answers unread to be given more."""

    def send(self, message: wire.Answer) -> None:
        """Give it an answer."""

    def hold(self, *, held: bool) -> None:
        """Read nothing more of what it writes, or go on."""

    def call_on_room(self, act: Callable[[], None]) -> None:
        """Have something done each time that it is full no more, and when it is gone."""


class _Tab:
    """What one worker has asked for and was not given yet."""

    def __init__(self) -> None:
        self.waiting: deque[wire.Request] = deque()
        self.bytes = 0
        """Of what waits and of what is under way."""
        self.bytes_under_way = self.under_way = self.looks = 0
        self.held = False
        """Nothing more is read from that worker for now."""

    def over(self, share: float) -> bool:
        """Whether more than this share of what may be here is."""
        return self.bytes > MOST_BYTES * share or len(self.waiting) > MOST * share

    def may_begin(self) -> bool:
        """Whether the next one may be carried out beside the others."""
        if not self.under_way:
            return True
        asked = self.waiting[0]
        return (
            self.under_way < _AT_ONCE
            and self.bytes_under_way + len(asked.body) <= _SHARE
            and (asked.verb not in _LOOKS or self.looks < _LOOKS_AT_ONCE)
        )

    def begin(self) -> wire.Request:
        """Take the next one to carry it out."""
        asked = self.waiting.popleft()
        self.under_way += 1
        self.bytes_under_way += len(asked.body)
        self.looks += asked.verb in _LOOKS
        return asked

    def end(self, asked: wire.Request) -> None:
        """It was answered."""
        self.under_way -= 1
        self.bytes_under_way -= len(asked.body)
        self.bytes -= len(asked.body)
        self.looks -= asked.verb in _LOOKS

    def drop(self) -> None:
        """Nobody waits for what has not begun."""
        self.bytes = self.bytes_under_way
        self.waiting.clear()


class StoreDesk:
    """Answers the workers' requests from the store.

    What a worker may have under way is bounded by bytes: its requests, the drafts that they become,
    and its answers, which count until it has read them. Beyond, it waits as for any full pipe.
    """

    def __init__(self, queue: JobQueueAdapter) -> None:
        self._queue = queue
        self._under_way: set[asyncio.Task[None]] = set()
        self._tabs: dict[Asker, _Tab] = {}
        self._quiet_until = 0.0

    def take(self, request: wire.Request, asker: Asker) -> None:
        """Carry out one request of a worker when its turn comes, and give it the answer."""
        tab = self._tabs.get(asker)
        if tab is None:
            tab = self._tabs[asker] = _Tab()
            asker.call_on_room(partial(self._go_on, asker))
        tab.waiting.append(request)
        tab.bytes += len(request.body)
        self._go_on(asker)

    def _go_on(self, asker: Asker) -> None:
        """Begin what may begin now; hold the worker back while too much of its own is here."""
        tab = self._tabs.get(asker)
        if tab is None:
            return
        if not asker.alive:
            tab.drop()
        while tab.waiting and not asker.full and tab.may_begin():
            self._begin(tab.begin(), asker)
        if not tab.waiting and not tab.under_way:
            del self._tabs[asker]  # else a dead worker would be kept in memory
        tab.held = tab.over(0.5 if tab.held else 1.0)
        asker.hold(held=tab.held)

    def _begin(self, request: wire.Request, asker: Asker) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(request, asker))
        self._under_way.add(task)
        task.add_done_callback(partial(self._served, request, asker))

    def _served(self, request: wire.Request, asker: Asker, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        self._tabs[asker].end(request)
        if len(request.body) > _LARGE:
            allocation.give_back()  # what it became leaves holes that nothing else fills
        self._go_on(asker)

    async def close(self) -> None:
        """Wait for what is under way, but not for ever: the store may hang."""
        if self._under_way:
            _, hanging = await asyncio.wait(self._under_way, timeout=_PATIENCE)
            for task in hanging:
                task.cancel()

    async def _serve(self, request: wire.Request, asker: Asker) -> None:
        try:
            value = await self._carry_out(request)
            answer = wire.Answer(request.number, msgspec.msgpack.encode(value))
        except Exception as error:
            said = msgspec.msgpack.encode(encodable(str(error))[:_LONGEST_ERROR])
            answer = wire.Answer(request.number, said, _code(error))
            if not isinstance(error, PorticoError) and self._may_tell():
                logger.exception("request_failed", verb=request.verb)
            _let_go(error)
        asker.send(answer)

    def _may_tell(self) -> bool:
        """Whether an error may be logged now, so soon after the last one: a worker may cause any
        number of them."""
        if (now := monotonic()) < self._quiet_until:
            return False
        self._quiet_until = now + _QUIET
        return True

    async def _carry_out(self, request: wire.Request) -> Any:
        if request.verb not in _ARGUMENTS:
            raise ValidationError(f"{request.verb[:_LONGEST_VERB]!r} is no request")
        argument = msgspec.msgpack.decode(request.body, type=_ARGUMENTS[request.verb])
        if request.verb == "insert":
            argument = await _drafts(argument)
        value = await getattr(self._queue, request.verb)(argument)
        return portable(value) if isinstance(value, Job) else value


async def _drafts(raw: Sequence[Raw]) -> list[Draft]:
    """What is to be inserted; the worker is not trusted to have checked it."""
    drafts: list[Draft] = []
    for start in range(0, len(raw), _DRAFTS_IN_A_TURN):
        if start:
            await asyncio.sleep(0)
        for one in raw[start : start + _DRAFTS_IN_A_TURN]:
            draft = msgspec.msgpack.decode(one, type=Draft)
            draft.check()
            drafts.append(draft)
    return drafts


def _let_go(error: BaseException | None) -> None:
    """Drop what the frames hold that an error came through, which may be a part of a circle: the
    request, and what it became, until garbage is collected, and a supervisor seldom does that."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:  # one that is raised again follows itself
        seen.add(id(error))
        clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def _code(error: Exception) -> str:
    return next((code for kind, code in _CODES if isinstance(error, kind)), "internal")
