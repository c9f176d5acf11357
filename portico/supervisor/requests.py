"""The supervisor's end of what handlers may ask of the store.

Each request becomes a task; requests of many workers that arrive together share what the adapter
shares (a commit, a round trip). What cannot be decoded or is not allowed is answered as invalid:
a worker is not trusted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Literal
from uuid import UUID

import msgspec

from portico.exceptions import (
    ConflictError,
    NotSupportedError,
    PorticoError,
    QueueConnectionError,
    ValidationError,
)
from portico.ports import document
from portico.ports.draft import Draft
from portico.ports.job_queue import JobQueueAdapter
from portico.supervisor import wire
from portico.utils.logging import get_logger

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
    (QueueConnectionError, "unreachable"),
    (NotSupportedError, "unsupported"),
    (ValidationError, "invalid"),
    (msgspec.MsgspecError, "invalid"),
)

_PATIENCE = 5.0
"""Seconds that requests have to end when the supervisor stops."""

logger = get_logger(__name__)


class StoreDesk:
    """Answers the workers' requests from the store."""

    def __init__(self, queue: JobQueueAdapter) -> None:
        self._queue = queue
        self._under_way: set[asyncio.Task[None]] = set()

    def take(self, request: wire.Request, reply: Callable[[wire.Answer], None]) -> None:
        """Carry out one request and call `reply` with the answer."""
        task = asyncio.get_running_loop().create_task(self._serve(request, reply))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def close(self) -> None:
        """Wait for what is under way, but not for ever: the store may hang."""
        if self._under_way:
            _, hanging = await asyncio.wait(self._under_way, timeout=_PATIENCE)
            for task in hanging:
                task.cancel()

    async def _serve(self, request: wire.Request, reply: Callable[[wire.Answer], None]) -> None:
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
                _check(draft)
        return await getattr(self._queue, request.verb)(argument)


def _check(draft: Draft) -> None:
    """Sizes and depth, without opening the documents."""
    for name, body, limit in (
        ("payload", draft.payload, document.MAX_PAYLOAD),
        ("metadata", draft.metadata, document.MAX_METADATA),
    ):
        if len(body) > limit or document.too_deep(body):
            raise ValidationError(f"{name} of job {draft.id} is over a limit")


def _code(error: Exception) -> str:
    return next((code for kind, code in _CODES if isinstance(error, kind)), "internal")
