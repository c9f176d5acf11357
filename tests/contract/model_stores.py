"""How the state machine reaches a store: two owners of leases, clocks that it turns by hand.

One class per adapter. It says how an owner is opened, how it ends, and which leases have run out
by that store's rule; everything else is the same for all.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

from portico.adapters.job_queue import DatabaseJobQueueAdapter, MemoryJobQueueAdapter
from portico.ports.job_queue import JobQueueAdapter
from tests.support.postgres_queues import ModelSchema
from tests.support.redis_queues import ClockedRedisQueue, ModelDatabase, own_namespace

LEASE_SECONDS = 60.0
OWNERS = ("one", "other")


@dataclass
class Clock:
    """Whole seconds, so that no rounding blurs what the model predicts."""

    wall: float = 1_800_000_000.0
    # No two machines' monotonic clocks have anything to do with each other.
    monotonic: dict[str, float] = field(default_factory=lambda: {"one": 50.0, "other": 9e6})

    listeners: list[Callable[[], None]] = field(default_factory=list)
    """Called when a clock has moved: they tell a store that keeps its own time."""

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        for listener in self.__dict__.get("listeners", ()):
            listener()

    def of(self, owner: str) -> Callable[[], float]:
        return lambda: self.monotonic[owner]

    def now(self) -> int:
        return int(self.wall * 1_000_000)

    def advance(self, seconds: float, owners: Iterable[str] = OWNERS) -> None:
        self.wall += seconds
        for owner in owners:
            self.monotonic[owner] += seconds


@dataclass
class Holder:
    """An owner of leases as the store sees it; one that is reopened is another one."""

    name: str
    renews_since: int | None = None
    gone: bool = False


@dataclass
class Held:
    """Who holds a running job, and when its lease was granted or last renewed."""

    holder: Holder
    step: int
    at: float


class MemoryStore:
    """Both owners share the one adapter: it is its only process, and its clock is theirs."""

    adapter: Callable[..., JobQueueAdapter] = MemoryJobQueueAdapter
    outlives_its_adapter = False
    interleaves = False
    """Two who lease at once may get every other job each."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.holders = {name: Holder(name) for name in OWNERS}
        self._shared = self.adapter(
            LEASE_SECONDS, clock=lambda: clock.wall, monotonic=clock.of("one")
        )

    def clock_of(self, owner: str) -> float:
        del owner
        return self.clock.monotonic["one"]

    async def open(self, owner: str) -> JobQueueAdapter:
        del owner
        await self._shared.initialize()
        return self._shared

    async def vanish(self, owner: str, jobs: Iterable[UUID], *, row_too: bool) -> None:
        raise NotImplementedError

    def looked(self, owner: str, step: int) -> None:
        """An owner has recovered: for some stores a lease runs out only by what it saw."""

    def interrupted(self, owner: str) -> None:
        """An owner has been told that its store failed."""

    def run_out(self, held: Held, owner: str) -> bool:
        renewed = any(holder.renews_since is not None for holder in self.holders.values())
        return renewed and held.at + LEASE_SECONDS <= self.clock_of(owner)

    def remove(self) -> None:
        """Leave nothing behind."""


class SqliteStore:
    """Two adapters on one file, each judging the other by what it saw, on its own clock."""

    adapter: Callable[..., JobQueueAdapter] = DatabaseJobQueueAdapter
    outlives_its_adapter = True
    interleaves = False

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.holders = {name: Holder(name) for name in OWNERS}
        self._folder = tempfile.TemporaryDirectory(prefix="portico-model-")
        self._path = Path(self._folder.name) / "jobs.db"
        self._looks: dict[str, list[tuple[int, float]]] = {name: [] for name in OWNERS}

    def clock_of(self, owner: str) -> float:
        return self.clock.monotonic[owner]

    async def open(self, owner: str) -> JobQueueAdapter:
        self.holders[owner] = Holder(owner)
        self._looks[owner] = []
        clock = self.clock
        adapter = self.adapter(
            f"sqlite:///{self._path}?durability=normal",
            LEASE_SECONDS,
            clock=lambda: clock.wall,
            monotonic=clock.of(owner),
        )
        await adapter.initialize()
        return adapter

    async def vanish(self, owner: str, jobs: Iterable[UUID], *, row_too: bool) -> None:
        """Let an owner's process be gone, in the eyes of everybody else.

        Its row is told by a job that it holds; an owner that holds none is missed by nobody.
        """
        self.holders[owner].gone = True
        change = "DELETE FROM" if row_too else "UPDATE"
        to = "" if row_too else "SET started = 'long ago'"
        connection = sqlite3.connect(self._path)
        with connection:
            connection.executemany(
                f"{change} portico_owners {to} WHERE id ="
                " (SELECT owner_id FROM portico_jobs WHERE id = ?)",
                [(job_id.bytes,) for job_id in jobs],
            )
        connection.close()

    def looked(self, owner: str, step: int) -> None:
        self._looks[owner].append((step, self.clock_of(owner)))

    def interrupted(self, owner: str) -> None:
        """What an owner saw before its store failed counts for nothing."""
        self._looks[owner] = []

    def run_out(self, held: Held, owner: str) -> bool:
        """Whether this owner has seen nothing new of the holder for a lease length."""
        if held.holder.gone:
            return True
        if held.holder.renews_since is None:
            return False
        seen_from = max(held.step, held.holder.renews_since)
        since = self.clock_of(owner) - LEASE_SECONDS
        return any(step > seen_from and at <= since for step, at in self._looks[owner])

    def remove(self) -> None:
        self._folder.cleanup()


class PostgresStore:
    """Two adapters in one schema; the server's clock alone says whose leases have run out."""

    adapter: Callable[..., JobQueueAdapter] = DatabaseJobQueueAdapter
    outlives_its_adapter = True
    interleaves = True

    def __init__(self, clock: Clock, schema: ModelSchema) -> None:
        self.clock = clock
        self.holders = {name: Holder(name) for name in OWNERS}
        self._schema = schema
        schema.empty()

    def clock_of(self, owner: str) -> float:
        del owner
        return self.clock.wall

    async def open(self, owner: str) -> JobQueueAdapter:
        self.holders[owner] = Holder(owner)
        clock = self.clock
        adapter = self.adapter(
            self._schema.url, LEASE_SECONDS, clock=lambda: clock.wall, monotonic=clock.of(owner)
        )
        await adapter.initialize()
        self._tell()
        if self._tell not in clock.listeners:
            clock.listeners.append(self._tell)
        return adapter

    def _tell(self) -> None:
        self._schema.install(self.clock.now())

    async def vanish(self, owner: str, jobs: Iterable[UUID], *, row_too: bool) -> None:
        """Let an owner be gone; nobody can tell, for the jobs' own rows decide."""
        del owner
        if row_too:
            self._schema.forget_owners(jobs)

    def looked(self, owner: str, step: int) -> None:
        """What an owner has seen before counts for nothing."""

    def interrupted(self, owner: str) -> None:
        """Nor does it count what an owner has met with."""

    def run_out(self, held: Held, owner: str) -> bool:
        del owner
        return held.at + LEASE_SECONDS <= self.clock.wall

    def remove(self) -> None:
        """The schema is the next example's."""


class RedisStore:
    """Two adapters on one namespace; the server judges both, by the one clock that it has."""

    adapter: Callable[..., JobQueueAdapter] = ClockedRedisQueue
    outlives_its_adapter = True
    interleaves = False

    def __init__(self, clock: Clock, database: ModelDatabase) -> None:
        self.clock = clock
        self.holders = {name: Holder(name) for name in OWNERS}
        self._database = database
        self._url = own_namespace(database.url)

    def clock_of(self, owner: str) -> float:
        del owner
        return self.clock.wall

    async def open(self, owner: str) -> JobQueueAdapter:
        self.holders[owner] = Holder(owner)
        clock = self.clock
        adapter = self.adapter(
            self._url, LEASE_SECONDS, clock=lambda: clock.wall, monotonic=clock.of(owner)
        )
        await adapter.initialize()
        return adapter

    async def vanish(self, owner: str, jobs: Iterable[UUID], *, row_too: bool) -> None:
        """An owner is nothing but a name on its leases: they run out or they do not."""

    def looked(self, owner: str, step: int) -> None:
        """What an owner has seen before counts for nothing."""

    def interrupted(self, owner: str) -> None:
        """Nor does it count what an owner has met with."""

    def run_out(self, held: Held, owner: str) -> bool:
        return held.at + LEASE_SECONDS <= self.clock_of(owner)

    def remove(self) -> None:
        self._database.empty()


Store = MemoryStore | SqliteStore | PostgresStore | RedisStore
STORES: dict[str, Callable[..., Store]] = {
    "memory": MemoryStore,
    "sqlite": SqliteStore,
    "postgres": PostgresStore,
    "redis": RedisStore,
}
"""The stores that the state machine runs on; a further one joins by its entry here."""
