"""The worker's end of what handlers may ask of the store: `JobCreator` and `QueueView` over the
pipe. A call returns when the supervisor has the store's answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import count
from typing import Any, NoReturn, TypeVar
from uuid import UUID

import msgspec

from portico.exceptions import (
    ConflictError,
    NotSupportedError,
    PorticoError,
    QueueConnectionError,
    QueueFullError,
    ValidationError,
)
from portico.ports.bulk import PORTION, taken
from portico.ports.creators import as_given
from portico.ports.draft import Draft, checked_id
from portico.ports.job import Job, JobStatus, QueueStats
from portico.ports.job_queue import JobQueueAdapter
from portico.ports.leasing import Inserted
from portico.ports.worker_context import QueueView
from portico.supervisor import requests, wire
from portico.supervisor.inbox import Outbox

T = TypeVar("T")

_ERRORS: dict[str, type[PorticoError]] = {
    "conflict": ConflictError,
    "full": QueueFullError,
    "invalid": ValidationError,
    "unreachable": QueueConnectionError,
    "unsupported": NotSupportedError,
}
"""The only errors that a supervisor answers with; anything else arrives as a `PorticoError`."""


class Link:
    """Questions under way, by number."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._numbers = count(1)
        self._waiting: dict[int, asyncio.Future[wire.Answer]] = {}

    async def ask(self, verb: requests.Verb, body: object, answer: type[T]) -> T:
        """Send a question, and wait for its answer.

        Raises:
            PorticoError: what the store said, as its nearest class.
        """
        number = next(self._numbers)
        future = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        try:
            self._outbox.send(wire.Request(number, verb, _encoded(body)))
            reply = await future
        finally:
            del self._waiting[number]
        if reply.error is not None:
            error = _ERRORS.get(reply.error, PorticoError)
            raise error(msgspec.msgpack.decode(reply.value, type=str))
        return msgspec.msgpack.decode(reply.value, type=answer)

    def answered(self, reply: wire.Answer) -> None:
        """Hand an answer to whoever waits for it."""
        future = self._waiting.get(reply.number)
        if future is not None and not future.done():
            future.set_result(reply)


class PipeQueue(JobQueueAdapter, QueueView):
    """The queue as a handler sees it: it can create, read, cancel and redrive jobs, not lease."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def initialize(self) -> None:
        """Nothing to do: the supervisor has the store."""

    async def close(self) -> None:
        """Nothing to do."""

    async def insert(self, drafts: Sequence[Draft]) -> list[Inserted | None]:
        if len(drafts) > PORTION:
            raise ValidationError(
                f"a request of {len(drafts):,} jobs, over the limit of {PORTION:,}; "
                "make several of it"
            )
        return await self._link.ask("insert", list(drafts), list[Inserted | None])

    async def enqueue(self, job: Job) -> Job:
        if job.status in (JobStatus.FAILED, JobStatus.DEAD_LETTER) and await self.redrive([job.id]):
            stored = await self.get_job(job.id)
            return stored if stored is not None else job
        draft = Draft.of(job)
        (inserted,) = await self.insert([draft])
        if inserted is None:
            raise taken(job.id)
        return draft.stored(inserted.status, inserted.created_at)

    async def get_job(self, job_id: UUID | str) -> Job | None:
        job: Job | None = await self._ask_of_job("get_job", job_id, Job | None)
        return None if job is None else as_given(job)

    async def get_result(self, job_id: UUID | str) -> dict[str, Any] | None:
        result: dict[str, Any] | None = await self._ask_of_job(
            "get_result", job_id, dict[str, Any] | None
        )
        return result

    async def cancel_job(self, job_id: UUID | str) -> bool:
        return bool(await self._ask_of_job("cancel_job", job_id, bool))

    async def get_queue_stats(self, queue_name: str) -> QueueStats:
        return await self._link.ask("get_queue_stats", queue_name, QueueStats)

    async def redrive(self, job_ids: Sequence[UUID | str]) -> list[UUID]:
        ids = [checked_id(job_id, "job_id") for job_id in job_ids]
        done: list[UUID] = []
        for start in range(0, len(ids), PORTION):
            some = ids[start : start + PORTION]
            done += await self._link.ask("redrive", some, list[UUID])
        return done

    async def dequeue(self, queue_name: str, timeout: float = 30) -> NoReturn:
        raise _not_here("lease jobs")

    async def acknowledge(self, job_id: UUID) -> NoReturn:
        raise _not_here("settle jobs")

    async def reject(
        self,
        job_id: UUID,
        requeue: bool = True,
        error_message: str | None = None,
        *,
        delay: float = 0.0,
    ) -> NoReturn:
        raise _not_here("settle jobs")

    async def _ask_of_job(self, verb: requests.Verb, job_id: UUID | str, answer: Any) -> Any:
        return await self._link.ask(verb, checked_id(job_id, "job_id"), answer)


def _encoded(body: object) -> bytes:
    encoded = msgspec.msgpack.encode(body)
    if len(encoded) > wire.MAX_BODY:
        raise ValidationError(
            f"a request of {len(encoded):,} bytes, over the limit of {wire.MAX_BODY:,}; "
            "make several of it"
        )
    return encoded


def _not_here(what: str) -> NotSupportedError:
    return NotSupportedError(f"a handler cannot {what}; its supervisor does that")
