"""Jobs in an SQL database; the URL says which one and where."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import replace

from portico.adapters.job_queue._admission import Admission
from portico.adapters.job_queue._callers.kinds import Callers
from portico.adapters.job_queue._store import SqlStore
from portico.adapters.job_queue._stored_queue import StoredQueueAdapter
from portico.exceptions import ConfigurationError
from portico.ports.transaction import SyncTransaction, Transaction


class DatabaseJobQueueAdapter(StoredQueueAdapter[SqlStore]):
    """A durable queue in a database: in a file of this host, or on a PostgreSQL server.

    Each adapter is one owner of leases. On SQLite a lease is lost when its owner's process has
    ended, or when an owner that renews has not done so for a lease length, by the clock of
    whoever recovers; an owner that never renews is judged by its process alone. On PostgreSQL it
    is lost when nobody has renewed it for a lease length, by the server's clock.

    Args:
        url: `sqlite:///relative.db` or `sqlite:////absolute.db`, optionally with
            `?durability=normal`, which is faster and may lose the last commits in a power cut;
            or `postgresql://user:password@host/database`, which also takes the options of
            PostgreSQL's own library (`sslmode` and so on; a host that is not local must prove who
            it is), `?schema=portico`, `?migrate=no` to leave the schema as it is,
            `?pgbouncer=yes` where a pooler stands in between and is not noticed, `?pool_size=8`,
            `?connect_timeout=5` and `?command_timeout=10`, in seconds. Both take
            `?max_pending=100000`, beyond which `enqueue` and `insert` into a queue with so many
            waiting jobs raise `QueueFullError`, and `?max_horizon=30d` for scheduled jobs.
        lease_seconds: how long a lease holds without renewal.
        clock: the wall clock, in seconds since 1970 UTC; PostgreSQL goes by its own, and this one
            tells what is further ahead than `max_horizon`.
        monotonic: the clock of timeouts, and on SQLite of leases, in seconds.
        alone: nothing else in this process opens the SQLite file, neither another adapter nor
            the application, as long as this adapter is open: a faster library may be used for it,
            beside which another one would lose its locks.
        create: whether `initialize` may make or upgrade what the jobs are kept in. Without it,
            what is not there is a `ConfigurationError`, and nobody needs a right to write as long
            as he only reads.

    Raises:
        ConfigurationError: the URL is not understood, or its driver is not installed; the message
            says what to do.
    """

    def __init__(
        self,
        url: str,
        lease_seconds: float = 60.0,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        alone: bool = False,
        create: bool = True,
    ) -> None:
        super().__init__(lease_seconds, clock, monotonic)
        self._alone, self._create = alone, create
        open_one = self._postgres if _is_postgres(url) else self._sqlite
        self._store, self._admission = open_one(url)
        self._callers = Callers(self._store)

    def _sqlite(self, url: str) -> tuple[SqlStore, Admission]:
        from portico.adapters.job_queue._sqlite.place import place_of
        from portico.adapters.job_queue._sqlite.store import SqliteStore

        place, admission = place_of(url)
        store = SqliteStore(
            replace(place, alone=self._alone, create=self._create),
            self.lease_seconds,
            self._now,
            self._monotonic,
            self._bell.ring,
            ring_cancels=self._cancels.ring,
            max_pending=admission.max_pending,
        )
        return store, admission

    def _postgres(self, url: str) -> tuple[SqlStore, Admission]:
        from portico.adapters.job_queue._postgres.place import place_of

        place, admission = place_of(url, reading=not self._create)
        try:
            from portico.adapters.job_queue._postgres.store import PostgresStore
        except ModuleNotFoundError as error:
            if error.name != "asyncpg":
                raise
            raise ConfigurationError(
                f"{place} needs the driver asyncpg, which is the extra `postgres`; install it: "
                "pip install 'portico-jobs[postgres]'",
                cause=error,
            ) from error
        store = PostgresStore(
            place,
            self.lease_seconds,
            self._monotonic,
            self._bell.ring,
            ring_cancels=self._cancels.ring,
            max_pending=admission.max_pending,
        )
        return store, admission

    def within(self, connection: object) -> Transaction:
        return self._callers.transaction(connection)

    def within_sync(self, connection: object) -> SyncTransaction:
        return self._callers.sync_transaction(connection)

    def wake(self, queues: Collection[str]) -> None:
        self._bell.ring(queues)
        self._store.wake()


def _is_postgres(url: str) -> bool:
    return url.partition(":")[0] in ("postgresql", "postgres")
