"""What the durable adapters ask of their stores."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager

from portico.adapters.job_queue._attempts import StoredAttempt
from portico.adapters.job_queue._callers.steps import Steps
from portico.adapters.job_queue._paging import StoredPage
from portico.adapters.job_queue._rows import StoredJob
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


class Store(ABC):
    """One database. Raises `portico.exceptions` only; wakes other processes by itself."""

    @abstractmethod
    async def connect(self) -> None: ...

    @abstractmethod
    async def close(self) -> None: ...

    @abstractmethod
    async def insert(self, drafts: Sequence[Draft]) -> list[Inserted | None]: ...

    @abstractmethod
    def exchange(
        self,
        settlements: Sequence[Settlement],
        queues: Sequence[str],
        limit: int,
        wanted: Wanted = EVERYTHING,
    ) -> asyncio.Future[Exchange]:
        """Begin an exchange; it happens even when nobody waits for the answer any more."""

    @abstractmethod
    async def renew(self, leases: Sequence[Lease]) -> list[Renewal]: ...

    @abstractmethod
    async def recover(self, limit: int) -> list[Recovered]: ...

    @abstractmethod
    async def request_cancel(self, job_id: bytes) -> bool: ...

    @abstractmethod
    async def cancel_requests(self) -> list[LeaseKey]:
        """The leases of this owner that someone asked to end."""

    @abstractmethod
    async def watch_cancels(self) -> bool:
        """Watch for such requests from now on; whether they will ring the bell for them."""

    @abstractmethod
    def hearing_cancels(self) -> AbstractContextManager[None]:
        """Within this block they ring it."""

    @abstractmethod
    async def cancel(self, job_id: bytes) -> bool: ...

    @abstractmethod
    async def redrive(self, job_ids: Sequence[bytes]) -> list[bytes]: ...

    @abstractmethod
    async def find(self, job_id: bytes) -> StoredJob | None: ...

    @abstractmethod
    async def told(self, job_id: bytes) -> tuple[StoredJob, Sequence[StoredAttempt]] | None: ...

    @abstractmethod
    async def page(self, jobs: JobFilter, limit: int, before: int | None) -> StoredPage:
        """Rows that match in all but their metadata; of those only what a list shows."""

    @abstractmethod
    async def counts(self, queue_name: str | None) -> dict[str, dict[JobStatus, int]]: ...

    @abstractmethod
    async def outlook(self) -> dict[str, Outlook]: ...

    @abstractmethod
    async def served(self) -> bool | None:
        """Whether an owner of leases gives a sign of life; `None`: there is no telling."""

    @abstractmethod
    async def purge(self, jobs: JobFilter, limit: int) -> int: ...

    @abstractmethod
    def listening(self) -> AbstractContextManager[None]:
        """Within this block, other processes' work rings this process's bell."""


class SqlStore(Store):
    """A database whose transactions an application may share."""

    dialect: str
    """As SQLAlchemy calls it."""

    @abstractmethod
    def vouch(self) -> Steps[None]:
        """How to make sure that a connection of the caller's leads here; this store need not be
        connected."""

    @abstractmethod
    def enlist(
        self, drafts: Sequence[Draft], *, prepared: bool = False
    ) -> Steps[list[Inserted | None]]:
        """How to store drafts on such a connection; `prepared`: its transaction is to be committed
        in two phases."""

    @abstractmethod
    def wake(self) -> None:
        """Wake other processes for a commit that this store has not seen."""
