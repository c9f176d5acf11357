"""The supervisor's end of what handlers may ask of the store.

Each request becomes a task; requests of many workers that arrive together share what the adapter
shares (a commit, a round trip). What cannot be decoded or is not allowed is answered as invalid:
a worker is not trusted.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any, Literal
from uuid import UUID

import msgspec

from portico.exceptions import (
    ConfigurationError,
    ConflictError,
    NotSupportedError,
    PorticoError,
    QueueConnectionError,
    QueueFullError,
    ValidationError,
)
from portico.ports.creators import portable
from portico.ports.draft import Draft
from portico.ports.job import Job
from portico.ports.job_queue import JobQueueAdapter
from portico.supervisor import wire
from portico.utils.logging import get_logger

Reply = Callable[[wire.Answer], None]
Verb = Literal["insert", "get_job", "get_result", "cancel_job", "get_queue_stats", "redrive"]

_ARGUMENTS: dict[str, Any] = {
    "insert": list[Draft],
    "get_job": UUID,
    "get_result": UUID,
    "cancel_job": UUID,
    "get_queue_stats": str,
    "redrive": list[UUID],
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
"""Requests of one worker that are carried out at a time: its handlers may ask without waiting."""
_PATIENCE = 5.0
"""Seconds that requests have to end when the supervisor stops."""

logger = get_logger(__name__)


class StoreDesk:
    """Answers the workers' requests from the store."""

    def __init__(self, queue: JobQueueAdapter) -> None:
        self._queue = queue
        self._under_way: set[asyncio.Task[None]] = set()
        self._asking: Counter[Reply] = Counter()

    def take(self, request: wire.Request, reply: Reply) -> None:
        """Carry out one request and call `reply` with the answer.

        Requests with the same `reply` come from one worker; beyond `MOST` at a time they are
        refused.
        """
        if self._asking[reply] >= MOST:
            crowded = f"{MOST} requests of this worker are under way; wait for some of them first"
            reply(wire.Answer(request.number, msgspec.msgpack.encode(crowded), "invalid"))
            return
        self._asking[reply] += 1
        task = asyncio.get_running_loop().create_task(self._serve(request, reply))
        self._under_way.add(task)
        task.add_done_callback(partial(self._served, reply))

    def _served(self, reply: Reply, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        self._asking[reply] -= 1
        if not self._asking[reply]:
            del self._asking[reply]  # else a dead worker would be kept in memory

    async def close(self) -> None:
        """Wait for what is under way, but not for ever: the store may hang."""
        if self._under_way:
            _, hanging = await asyncio.wait(self._under_way, timeout=_PATIENCE)
            for task in hanging:
                task.cancel()

    async def _serve(self, request: wire.Request, reply: Reply) -> None:
        try:
            value = await self._carry_out(request)
            answer = wire.Answer(request.number, msgspec.msgpack.encode(value))
        except Exception as error:
            answer = wire.Answer(request.number, msgspec.msgpack.encode(str(error)), _code(error))
            if not isinstance(error, PorticoError):
                logger.exception("request_failed", verb=request.verb)
        reply(answer)

    async def _carry_out(self, request: wire.Request) -> Any:
        if request.verb not in _ARGUMENTS:
            raise ValidationError(f"{request.verb!r} is no request")
        argument = msgspec.msgpack.decode(request.body, type=_ARGUMENTS[request.verb])
        if request.verb == "insert":
            for draft in argument:
                draft.check()  # a worker is not trusted to have done so
        value = await getattr(self._queue, request.verb)(argument)
        return portable(value) if isinstance(value, Job) else value


def _code(error: Exception) -> str:
    return next((code for kind, code in _CODES if isinstance(error, kind)), "internal")
