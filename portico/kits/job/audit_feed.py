"""The way from the pipeline to the audit log: a bounded queue, so that a slow one delays nobody."""

from __future__ import annotations

import asyncio
from typing import Protocol

from portico.ports.job import JobStatus
from portico.ports.leasing import Failure, Lease
from portico.utils.logging import get_logger

_CAPACITY = 10_000
_AT_ONCE = 16

Entry = tuple[Lease, JobStatus, Failure | None]

logger = get_logger(__name__)


class Audit(Protocol):
    """What is told of every job that ended. Must not raise; may take its time."""

    async def settled(self, lease: Lease, status: JobStatus, failure: Failure | None) -> None: ...


class AuditFeed:
    """Hands entries to an audit, some at a time; what it has no room for is counted and lost."""

    def __init__(self, audit: Audit, capacity: int = _CAPACITY) -> None:
        self.dropped = 0
        self._audit = audit
        self._entries: asyncio.Queue[Entry] = asyncio.Queue(capacity)

    def put(self, lease: Lease, status: JobStatus, failure: Failure | None) -> None:
        """Take an entry; never waits."""
        if not self._entries.full():
            self._entries.put_nowait((lease, status, failure))
            return
        self.dropped += 1
        if self.dropped == 1 or self.dropped % _CAPACITY == 0:
            logger.error("audit_events_dropped", dropped=self.dropped)

    async def feed(self) -> None:
        """Hand on what comes in, for ever."""
        while True:
            batch = [await self._entries.get()]
            while len(batch) < _AT_ONCE and not self._entries.empty():
                batch.append(self._entries.get_nowait())
            try:
                await asyncio.gather(*(self._audit.settled(*entry) for entry in batch))
            finally:
                for _ in batch:
                    self._entries.task_done()

    async def flushed(self) -> None:
        """Return when everything that was put has been handed on."""
        await self._entries.join()
