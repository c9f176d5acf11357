"""One SQLite file as a store: its threads, its owner, and the file that wakes other processes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from typing import TypeVar

from portico.adapters.job_queue._admission import Gate
from portico.adapters.job_queue._attempts import StoredAttempt
from portico.adapters.job_queue._callers import sqlite
from portico.adapters.job_queue._callers.steps import Steps
from portico.adapters.job_queue._opening import not_open
from portico.adapters.job_queue._paging import StoredPage
from portico.adapters.job_queue._rows import PENDING, RETRYING, SCHEDULED, STATUS, StoredJob
from portico.adapters.job_queue._sqlite import (
    attempts,
    enlisting,
    granting,
    leasing,
    reading,
    settling,
)
from portico.adapters.job_queue._sqlite.choosing import Choosing
from portico.adapters.job_queue._sqlite.connection import Place, SameFile
from portico.adapters.job_queue._sqlite.driver import Connection
from portico.adapters.job_queue._sqlite.thread import Reader, Writer
from portico.adapters.job_queue._sqlite.wake_file import Toucher, Watcher
from portico.adapters.job_queue._store import SqlStore
from portico.adapters.job_queue._sweep import Sweeps
from portico.exceptions import DatabaseError, QueueConnectionError
from portico.ports.draft import Draft
from portico.ports.job import JobStatus
from portico.ports.leasing import (
    Exchange,
    Inserted,
    JobFilter,
    Lease,
    LeaseKey,
    Outlook,
    Receipt,
    Recovered,
    Renewal,
    Settlement,
)
from portico.ports.wanted import EVERYTHING, Wanted

T = TypeVar("T")

_LONG_WAIT = 1 / 4
"""Of a lease length, for the lock; after that nobody's silence counts."""
_WAITING = frozenset({STATUS[PENDING], STATUS[SCHEDULED], STATUS[RETRYING]})


class SqliteStore(SqlStore):
    """Each method is one request to one of the two threads."""

    dialect = sqlite.DIALECT

    def __init__(
        self,
        place: Place,
        lease_seconds: float,
        clock: Callable[[], int],
        monotonic: Callable[[], float],
        ring: Callable[[], None],
        *,
        ring_cancels: Callable[[], None],
        max_pending: int | None = None,
    ) -> None:
        self._place = place
        self._clock = clock
        self._monotonic = monotonic
        self._owner = leasing.Owner(lease_seconds)
        self._sweeps = Sweeps(monotonic)
        self._toucher = Toucher(place.path)
        self._watcher = Watcher(place.path, ring)
        self._ring_cancels = ring_cancels
        self._cancel_watcher = Watcher(place.path, ring_cancels, alerts_only=True)
        self._touch = self._alert = False
        self._max_pending = max_pending
        self._gate = None if max_pending is None else Gate(max_pending, reading.waiting)
        self._file = SameFile(place.path)
        self._writer: Writer | None = None
        self._reader: Reader | None = None

    async def connect(self) -> None:
        if self._reader is not None:
            return
        self._file = SameFile(self._place.path)
        if self._place.create:
            await self._connect_writer()
        self._reader = Reader(self._place, "portico-sqlite-reader", self._file)
        if not self._place.create:
            await self._connect_reader()

    async def _connect_writer(self) -> None:
        self._writer = self._made_writer()
        try:
            await self._write(lambda _: self._watcher.open())
        except BaseException:
            await self._writer.stop()
            self._writer = None
            raise

    async def _connect_reader(self) -> None:
        """Alone: where nothing may be made, whoever writes is the first to need a writer."""
        assert self._reader is not None
        try:
            await self._read(lambda _: None)
        except BaseException:
            await self._reader.stop()
            self._reader = None
            raise

    async def close(self) -> None:
        writer, reader = self._writer, self._reader
        if reader is None:
            return
        self._writer = self._reader = None
        try:
            if writer is not None:
                with suppress(QueueConnectionError, DatabaseError):  # a dead process owns nothing
                    await writer.submit(self._leave)
        finally:
            await reader.stop()
            if writer is not None:
                await writer.stop()
            self._watcher.close()
            self._cancel_watcher.close()
            self._toucher.close()

    def _leave(self, connection: Connection) -> None:
        self._touch = self._touch or self._owner.in_doubt
        self._owner.give_back(connection, self._clock())
        self._owner.leave(connection)

    async def insert(self, drafts: Sequence[Draft]) -> list[Inserted | None]:
        def work(connection: Connection) -> list[Inserted | None]:
            refusal = self._gate and self._gate.refusal(connection, drafts)
            if refusal:
                raise refusal
            self._touch = True
            return reading.insert(connection, drafts, self._clock())

        return await self._write(work)

    def vouch(self) -> Steps[None]:
        return enlisting.vouch(self._place)

    def enlist(
        self, drafts: Sequence[Draft], *, prepared: bool = False
    ) -> Steps[list[Inserted | None]]:
        del prepared
        return enlisting.enlist(drafts, self._clock(), self._max_pending)

    def wake(self) -> None:
        toucher = Toucher(self._place.path)  # the other one is the writer's, in its thread
        toucher.touch()
        toucher.close()

    def exchange(
        self,
        settlements: Sequence[Settlement],
        queues: Sequence[str],
        limit: int,
        wanted: Wanted = EVERYTHING,
    ) -> asyncio.Future[Exchange]:
        choosing = None if wanted.everything else Choosing(self._sweeps, wanted)
        asked = self._monotonic()

        def look(connection: Connection) -> Exchange | None:
            if self._owner.in_doubt:
                return None  # what is to be given back is not due yet
            now = self._clock()
            nothing = granting.anything_due(connection, queues, now, choosing)
            return None if nothing is None else _exchange([], nothing, now)

        def work(connection: Connection) -> Exchange:
            self._waited_since(asked)
            now = self._clock()
            receipts = settling.settle(connection, settlements, now, self._owner.places)
            self._touch = self._touch or any(r.status in _WAITING for r in receipts)
            granted = granting.grant(connection, self._owner, queues, limit, now, choosing=choosing)
            self._alert = self._alert or granted.to_stop
            return _exchange(receipts, granted, now)

        return self._open_writer().submit(work, None if settlements else look)

    async def renew(self, leases: Sequence[Lease]) -> list[Renewal]:
        asked = self._monotonic()

        def work(connection: Connection) -> list[Renewal]:
            self._waited_since(asked)
            return leasing.renew(connection, self._owner, leases)

        return await self._write(work)

    def _waited_since(self, asked: float) -> None:
        """What keeps this owner waiting keeps others from renewing."""
        if self._monotonic() - asked > self._owner.lease_seconds * _LONG_WAIT:
            self._owner.sightings.clear()

    async def recover(self, limit: int) -> list[Recovered]:
        asked = self._monotonic()

        def work(connection: Connection) -> list[Recovered]:
            self._waited_since(asked)
            now = self._monotonic()
            recovered = leasing.recover(connection, self._owner, limit, self._clock(), now)
            self._touch = self._touch or any(r.status in _WAITING for r in recovered)
            return recovered

        return await self._write(work)

    async def request_cancel(self, job_id: bytes) -> bool:
        def work(connection: Connection) -> bool:
            asked = settling.request_cancel(connection, job_id)
            self._alert = self._alert or asked
            return asked

        return await self._write(work)

    async def cancel_requests(self) -> list[LeaseKey]:
        return await self._read(lambda found: leasing.cancel_requests(found, self._owner))

    async def watch_cancels(self) -> bool:
        if not self._cancel_watcher.watching():
            await self._read(lambda _: self._cancel_watcher.open())  # takes no lock
            if self._cancel_watcher.watching():
                self._ring_cancels()  # for what was asked before
        return self._cancel_watcher.watching()

    def hearing_cancels(self) -> AbstractContextManager[None]:
        return self._cancel_watcher.listening()

    async def cancel(self, job_id: bytes) -> bool:
        return await self._write(lambda found: settling.cancel(found, job_id, self._clock()))

    async def redrive(self, job_ids: Sequence[bytes]) -> list[bytes]:
        def work(connection: Connection) -> list[bytes]:
            now = self._clock()
            changed = [key for key in job_ids if settling.redrive(connection, key, now)]
            self._touch = self._touch or bool(changed)
            return changed

        return await self._write(work)

    async def find(self, job_id: bytes) -> StoredJob | None:
        return await self._read(lambda found: reading.find(found, job_id))

    async def told(self, job_id: bytes) -> tuple[StoredJob, list[StoredAttempt]] | None:
        def work(connection: Connection) -> tuple[StoredJob, list[StoredAttempt]] | None:
            row = reading.find(connection, job_id)
            return None if row is None else (row, attempts.history(connection, job_id))

        return await self._read(work)

    async def page(self, jobs: JobFilter, limit: int, before: int | None) -> StoredPage:
        now = self._clock()
        return await self._read(lambda found: reading.page(found, jobs, limit, before, now))

    async def counts(self, queue_name: str | None) -> dict[str, dict[JobStatus, int]]:
        return await self._read(lambda found: reading.counts(found, queue_name))

    async def outlook(self) -> dict[str, Outlook]:
        now = self._clock()
        return await self._read(lambda found: reading.outlook(found, now))

    async def served(self) -> bool | None:
        return await self._read(leasing.served)

    async def purge(self, jobs: JobFilter, limit: int) -> int:
        now = self._clock()
        found = await self._read(lambda reader: reading.ended(reader, jobs, limit, now))
        return await self._write(lambda writer: reading.purge(writer, found)) if found else 0

    def listening(self) -> AbstractContextManager[None]:
        return self._watcher.listening()

    async def _write(self, work: Callable[[Connection], T]) -> T:
        return await self._open_writer().submit(work)

    async def _read(self, work: Callable[[Connection], T]) -> T:
        if self._reader is None:
            raise self._closed()
        return await self._reader.submit(work)

    def _open_writer(self) -> Writer:
        if self._writer is None:
            if self._reader is None:
                raise self._closed()
            self._writer = self._made_writer()
        return self._writer

    def _made_writer(self) -> Writer:
        return Writer(
            self._place, "portico-sqlite-writer", self._file, self._committed,
            self._interrupted,
        )  # fmt: skip

    def _closed(self) -> QueueConnectionError:
        return not_open(f"the queue {self._place.path}")

    def _interrupted(self) -> None:
        self._owner.interrupted()
        self._sweeps.forget()

    def _committed(self) -> None:
        self._owner.committed()
        if self._touch:
            self._touch = False
            self._toucher.touch()
        if self._alert:
            self._alert = False
            self._toucher.alert()


def _exchange(receipts: list[Receipt], granted: granting.Granted, now: int) -> Exchange:
    due = granted.next_due
    next_due = None if due is None else max(0, due - now) / 1_000_000
    return Exchange(receipts, granted.leases, next_due, granted.unseen)
