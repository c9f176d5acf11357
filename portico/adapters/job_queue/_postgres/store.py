"""One schema of a PostgreSQL database as a store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any, TypeVar
from uuid import UUID

from portico.adapters.job_queue._attempts import StoredAttempt
from portico.adapters.job_queue._callers import postgres
from portico.adapters.job_queue._callers.steps import Steps, run_async
from portico.adapters.job_queue._paging import StoredPage
from portico.adapters.job_queue._postgres import acting, enlisting, schema
from portico.adapters.job_queue._postgres.admitting import Doorkeeper
from portico.adapters.job_queue._postgres.connections import AnyConnection, Connections
from portico.adapters.job_queue._postgres.exchanging import Exchanging
from portico.adapters.job_queue._postgres.inserts import (
    answers_of,
    insert_arguments,
    insert_statement,
)
from portico.adapters.job_queue._postgres.leasing import Owner
from portico.adapters.job_queue._postgres.listening import Herald, Listener
from portico.adapters.job_queue._postgres.place import PostgresPlace
from portico.adapters.job_queue._postgres.reading import Reading, can_match, is_text
from portico.adapters.job_queue._rows import StoredJob
from portico.adapters.job_queue._store import SqlStore
from portico.adapters.job_queue._sweep import Sweeps
from portico.exceptions import PorticoError
from portico.ports.draft import Draft
from portico.ports.job import JobStatus
from portico.ports.leasing import (
    Exchange,
    Inserted,
    JobFilter,
    Lease,
    LeaseKey,
    Outlook,
    Recovered,
    Renewal,
    Settlement,
)
from portico.ports.wanted import EVERYTHING, Wanted

T = TypeVar("T")

_FIRST_NEWS = 1.0
"""Seconds for which a first question for cancel requests waits until somebody listens."""
_FAREWELL = 2.0
"""Seconds for giving back what was granted to nobody, when this closes."""


class PostgresStore(SqlStore):
    """Each method is one statement, and one transaction."""

    dialect = postgres.DIALECT

    def __init__(
        self,
        place: PostgresPlace,
        lease_seconds: float,
        monotonic: Callable[[], float],
        ring: Callable[[Iterable[str] | None], None],
        *,
        ring_cancels: Callable[[], None],
        max_pending: int | None = None,
    ) -> None:
        self._place = place
        self._identity = enlisting.identity_of(place)
        self._max_pending = max_pending
        self._connections = Connections(place)
        self._reading = Reading(place.quoted_schema)
        self._insert = insert_statement(place)
        self._owner = Owner(self._connections, lease_seconds, monotonic)
        self._exchanging = Exchanging(
            self._connections, self._owner, ring_cancels, Sweeps(monotonic)
        )
        self._listener = Listener(self._connections, ring, ring_cancels)
        self._herald = Herald(self._tell)
        self._door = (
            None
            if max_pending is None
            else Doorkeeper(max_pending, self._connections, self._reading)
        )
        self._tasks: set[asyncio.Task[Any]] = set()

    async def connect(self) -> None:
        if self._connections.open:
            return
        await self._connections.start(self._prepare)

    async def _prepare(self, connection: AnyConnection) -> None:
        if self._place.migrate:
            await schema.upgrade(connection, self._place)
        await schema.check(connection, self._place)
        self._identity = await run_async(
            enlisting.identify(), lambda asked: connection.fetch(asked.text, *asked.arguments)
        )

    async def close(self) -> None:
        if not self._connections.open:
            return
        await self._listener.stop()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._herald.stop()
        with suppress(PorticoError, TimeoutError):  # else these leases run out
            async with asyncio.timeout(_FAREWELL):
                await self._exchanging.give_back()
        await self._owner.leave()
        await self._connections.stop()

    async def insert(self, drafts: Sequence[Draft]) -> list[Inserted | None]:
        if self._door is not None:
            await self._door.admit(drafts)
        woken = self._herald.due({draft.queue_name for draft in drafts})
        values = insert_arguments(drafts, self._place, woken)
        rows = await self._run(lambda found: found.fetch(self._insert, *values))
        return answers_of(drafts, rows)

    def vouch(self) -> Steps[None]:
        return enlisting.vouch(self._place, self._identity)

    def enlist(
        self, drafts: Sequence[Draft], *, prepared: bool = False
    ) -> Steps[list[Inserted | None]]:
        return enlisting.enlist(self._place, drafts, self._max_pending, prepared=prepared)

    def wake(self) -> None:
        """Nothing to do: each commit tells the server, and the server everybody."""

    def exchange(
        self,
        settlements: Sequence[Settlement],
        queues: Sequence[str],
        limit: int,
        wanted: Wanted = EVERYTHING,
    ) -> asyncio.Future[Exchange]:
        known = [name for name in queues if is_text(name)]
        return self._begun(self._exchanging.exchange(settlements, known, limit, wanted))

    async def renew(self, leases: Sequence[Lease]) -> list[Renewal]:
        renewals = await self._owner.renew(leases)
        await self._exchanging.give_back()
        return renewals

    async def recover(self, limit: int) -> list[Recovered]:
        return await self._owner.recover(limit)

    async def request_cancel(self, job_id: bytes) -> bool:
        return await self._run(lambda found: acting.request_cancel(found, self._place, job_id))

    async def cancel_requests(self) -> list[LeaseKey]:
        return await self._owner.cancel_requests()

    async def watch_cancels(self) -> bool:
        return await self._listener.begun(_FIRST_NEWS)

    def hearing_cancels(self) -> AbstractContextManager[None]:
        return nullcontext()

    async def cancel(self, job_id: bytes) -> bool:
        return await self._run(lambda found: acting.cancel(found, self._place, job_id))

    async def redrive(self, job_ids: Sequence[bytes]) -> list[bytes]:
        return await self._run(lambda found: acting.redrive(found, self._place, job_ids))

    async def find(self, job_id: bytes) -> StoredJob | None:
        key = UUID(bytes=job_id)
        return await self._run(lambda found: self._reading.find(found, key))

    async def told(self, job_id: bytes) -> tuple[StoredJob, Sequence[StoredAttempt]] | None:
        key = UUID(bytes=job_id)
        return await self._run(lambda found: self._reading.told(found, key))

    async def page(self, jobs: JobFilter, limit: int, before: int | None) -> StoredPage:
        if not can_match(jobs):
            return StoredPage([])
        return await self._run(lambda found: self._reading.page(found, jobs, limit, before))

    async def counts(self, queue_name: str | None) -> dict[str, dict[JobStatus, int]]:
        return await self._run(lambda found: self._reading.counts(found, queue_name))

    async def outlook(self) -> dict[str, Outlook]:
        return await self._run(self._reading.outlook)

    async def served(self) -> bool | None:
        return await self._run(self._reading.served)

    async def purge(self, jobs: JobFilter, limit: int) -> int:
        if not can_match(jobs):
            return 0
        return await self._run(lambda found: self._reading.purge(found, jobs, limit), atomic=True)

    def listening(self) -> AbstractContextManager[None]:
        self._listener.begin()
        return nullcontext()

    async def _run(
        self, work: Callable[[AnyConnection], Coroutine[Any, Any, T]], *, atomic: bool = False
    ) -> T:
        return await self._connections.run(work, atomic=atomic)

    def _begun(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _tell(self, queues: list[str]) -> None:
        await self._run(
            lambda found: found.execute(
                "SELECT pg_catalog.pg_notify($1, queue) "
                "FROM pg_catalog.unnest($2::text[]) AS one (queue)",
                self._place.channel,
                queues,
            )
        )
