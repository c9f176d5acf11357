"""Every key, field and entry of a Redis namespace made into what Portico never writes, at every
moment of a job's life: it costs its own job at most, is told in words, and stops nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any
from uuid import UUID

import pytest
import redis as driver

from portico.exceptions import DatabaseError
from portico.ports.job import JobStatus
from portico.ports.job_queue import JobQueueAdapter
from portico.ports.leasing import Failure, JobFilter, Lease, Settlement, Transition
from portico.ports.wanted import Wanted
from portico.testing.contract.queue_support import LEASE_SECONDS, Clocks, enqueued
from tests.support.redis_queues import redis_queue
from tests.support.servers import RedisServer

pytestmark = [pytest.mark.servers, pytest.mark.security("S28")]

FAILURE = Failure("ValueError", "it broke", "Traceback")
MANY = 500
ROUNDS = 12
"""After which every sound job has ended, and so has every damaged one."""

Damage = Callable[[driver.Redis, str, Sequence[UUID]], None]
"""Is given a connection, the prefix of the keys, and the jobs to damage."""


@dataclass
class Life:
    """Jobs on their way through a store, sound ones beside those that are damaged."""

    queue: JobQueueAdapter
    clocks: Clocks
    victims: list[UUID]
    sound: list[UUID] = field(default_factory=list)
    held: list[Lease] = field(default_factory=list)

    async def more(self) -> None:
        self.sound += [(await enqueued(self.queue, max_retries=9)).id for _ in range(2)]

    async def lease(self) -> None:
        self.held += (await self.queue.exchange((), ("default",), MANY)).leases

    async def renew(self) -> None:
        await self.queue.request_cancel(self.victims[0])
        await self.queue.renew(self.held)

    async def settle(self) -> None:
        ends, self.held = [self._end(lease) for lease in self.held], []
        receipts = (await self.queue.exchange(ends, (), 0)).receipts
        assert len(receipts) == len(ends)

    def _end(self, lease: Lease) -> Settlement:
        if lease.job_id in self.victims:
            return Settlement(lease.id, lease.token, Transition.RETRY, failure=FAILURE)
        return Settlement(lease.id, lease.token, Transition.COMPLETE, b"{}")

    async def expire(self) -> None:
        await self.lease()
        self.held = []
        self.clocks.advance(LEASE_SECONDS + 1)
        await self.queue.recover(MANY)

    async def cancel(self) -> None:
        for job_id in self.victims:
            await self.queue.cancel_job(job_id)

    async def redrive(self) -> None:
        await self.queue.redrive(self.victims)

    async def purge(self) -> None:
        await self.queue.purge(JobFilter(job_type="nothing.like.it"))

    async def look(self) -> None:
        """What people ask."""
        for documents in (True, False):
            page = await self.queue.list_jobs(JobFilter(documents=documents), 100)
            assert len(page.jobs) <= len(self.victims) + len(self.sound)
        await self.queue.list_jobs(JobFilter(statuses=(JobStatus.DEAD_LETTER,)), 100)
        await self.queue.all_stats()
        await self.queue.get_queue_stats("default")
        await self.queue.outlook()
        for job_id in self.victims:
            await self.queue.inspect(job_id)
            for ask in (self.queue.get_job, self.queue.get_result):
                await self._told(ask(job_id), job_id)

    async def _told(self, asked: Awaitable[object], job_id: UUID) -> None:
        """It answers, or says of which job it cannot."""
        try:
            await asked
        except DatabaseError as error:
            if str(job_id) not in str(error):
                raise

    async def wanted(self) -> None:
        """Lease what is looked for by its type."""
        wanted = Wanted(frozenset({"other"}))
        self.held += (await self.queue.exchange((), ("default",), MANY, wanted)).leases

    async def come_to_an_end(self) -> None:
        """The sound ones complete."""
        for _ in range(ROUNDS):
            await self.queue.recover(MANY)
            await self.lease()
            await self.settle()
            self.clocks.advance(LEASE_SECONDS + 1)
        for job_id in self.sound:
            job = await self.queue.get_job(job_id)
            assert job is not None
            assert job.status is JobStatus.COMPLETED, job
        await self.look()

    async def adds_up(self) -> None:
        """What is counted is what is listed, once a round of mending was made."""
        listed = Counter(
            (job.queue_name, job.status)
            for job in (await self.queue.list_jobs(JobFilter(), 1000)).jobs
        )
        for name, stats in (await self.queue.all_stats()).items():
            for status in JobStatus:
                counted = getattr(stats, f"{status.value}_count")
                assert counted == listed[name, status], (name, status, stats, listed)


STEPS = [
    Life.lease, Life.renew, Life.settle, Life.wanted, Life.expire, Life.cancel, Life.redrive,
    Life.look, Life.purge,
]  # fmt: skip
each_step = pytest.mark.parametrize("step", STEPS, ids=lambda step: f"before-{step.__name__}")


@pytest.fixture
def client(redis: RedisServer) -> Iterator[driver.Redis]:
    with driver.Redis(port=redis.port) as found:
        yield found


@asynccontextmanager
async def opened(redis: RedisServer, clocks: Clocks) -> AsyncIterator[Any]:
    known = {"clock": clocks.wall, "monotonic": clocks.monotonic}
    queue = redis_queue(redis, clocks, lease_seconds=LEASE_SECONDS, **known)
    await queue.initialize()
    try:
        yield queue
    finally:
        await queue.close()


async def lives_through(
    redis: RedisServer,
    client: driver.Redis,
    damage: Damage,
    step: Any,
    victims: int = 1,
    *,
    adds_up: bool = False,
) -> None:
    """All steps of a life, with the damage done before one of them."""
    clocks = Clocks()
    async with opened(redis, clocks) as queue:
        jobs = [await enqueued(queue, priority=5, max_retries=3) for _ in range(victims)]
        life = Life(queue, clocks, [job.id for job in jobs])
        for each in STEPS:
            await life.more()
            if each is step:
                damage(client, queue._store._place.prefix, life.victims)
            await each(life)
        await life.come_to_an_end()
        if adds_up:
            await life.adds_up()


# Keys of another kind.

KINDS: dict[str, Callable[[driver.Redis, str], Any]] = {
    "string": lambda client, key: client.set(key, "x"),
    "list": lambda client, key: client.rpush(key, "x"),
    "set": lambda client, key: client.sadd(key, "x"),
    "zset": lambda client, key: client.zadd(key, {"x": 1}),
    "hash": lambda client, key: client.hset(key, "x", "y"),
    "stream": lambda client, key: client.xadd(key, {"x": "y"}),
}
OF_A_JOB = ["job", "body", "history"]
OF_ALL = [
    "queue:default:ready", "queue:default:later", "queue:default:counts", "queue:default:completed",
    "queue:default:failed", "queue:default:failed:by", "queue:default:dead_letter",
    "queue:default:dead_letter:by", "leases", "cancels", "queues", "seq", "all",
]  # fmt: skip


@each_step
@pytest.mark.parametrize("name", OF_A_JOB)
async def test_a_key_of_a_job_that_is_of_another_kind_harms_no_other(
    redis: RedisServer, client: driver.Redis, name: str, step: Any
) -> None:
    def damage(client: driver.Redis, prefix: str, victims: Sequence[UUID]) -> None:
        for victim, make in zip(victims, [*KINDS.values(), client_deletes], strict=True):
            client.delete(f"{prefix}{name}:{victim.hex}")
            make(client, f"{prefix}{name}:{victim.hex}")

    def client_deletes(client: driver.Redis, key: str) -> None:
        client.delete(key)

    await lives_through(redis, client, damage, step, len(KINDS) + 1, adds_up=True)


@pytest.mark.parametrize("name", OF_ALL)
async def test_a_key_of_a_queue_that_is_of_another_kind_is_put_aside_and_loses_no_job(
    redis: RedisServer, client: driver.Redis, name: str
) -> None:
    for step, kind in zip(STEPS, [*KINDS, *KINDS], strict=False):

        def damage(
            client: driver.Redis, prefix: str, victims: Sequence[UUID], kind: str = kind
        ) -> None:
            del victims
            client.delete(prefix + name)
            KINDS[kind](client, prefix + name)

        await lives_through(redis, client, damage, step, adds_up=name != "all")


@each_step
async def test_a_store_of_which_only_the_rows_are_left_finds_all_its_jobs_again(
    redis: RedisServer, client: driver.Redis, step: Any
) -> None:
    def damage(client: driver.Redis, prefix: str, victims: Sequence[UUID]) -> None:
        del victims
        client.delete(*(prefix + name for name in OF_ALL if name != "all"))

    await lives_through(redis, client, damage, step, adds_up=True)


async def test_a_lease_of_no_job_goes_and_no_lease_is_looked_at_for_each_queue(
    redis: RedisServer, client: driver.Redis
) -> None:
    names = [f"queue-{number}" for number in range(20)]
    async with opened(redis, Clocks()) as queue:
        for name in names:
            await enqueued(queue, queue_name=name)
        assert len((await queue.exchange((), names, MANY)).leases) == len(names)
        leases = f"{queue._store._place.prefix}leases"
        client.zadd(leases, {"f" * 32: 10**18})
        client.config_resetstat()
        await queue.recover(MANY)
        looked = client.info("commandstats")["cmdstat_hmget"]["calls"]
        assert looked < 10 * len(names)
        assert client.zcard(leases) == len(names)
        assert {stats.running_count for stats in (await queue.all_stats()).values()} == {1}


# Fields of a row.

ODD: list[bytes | None] = [
    b"", b"text", b"\xff\xfe", b"9" * 40, b"-1", b"1e999", b"nan", b"a\0b\n c", b"x" * 70_000, None,
]  # fmt: skip
FIELDS = [
    "status", "queue", "type", "priority", "max", "created", "due", "seq", "token", "ended_as",
    "retries", "releases", "snoozes", "since", "crashes", "expiries", "suspect", "cancel",
    "started", "ended", "ended_by", "error_type", "error", "traceback", "owner", "result",
]  # fmt: skip


@each_step
async def test_an_odd_value_in_any_field_of_a_row_harms_no_other_job(
    redis: RedisServer, client: driver.Redis, step: Any
) -> None:
    cases = [(name, value) for name in FIELDS for value in ODD]

    def damage(client: driver.Redis, prefix: str, victims: Sequence[UUID]) -> None:
        for victim, (name, value) in zip(victims, cases, strict=True):
            key = f"{prefix}job:{victim.hex}"
            if value is None:
                client.hdel(key, name)
            elif client.exists(key):
                client.hset(key, name, value)

    await lives_through(redis, client, damage, step, len(cases))


BODIES = [
    b"", b"\n", b"x", b"\xff" * 100, b"1 " + b"9" * 30 + b" 0   0 test.job\n{}",
    b"9" * 300 + b" 0 0   0 test.job\n{}", b"1 0 0 " + b"9" * 40 + b"  0 test.job\n{}",
    b"1 0 0   " + b"9" * 5000 + b" test.job\n{}", b"1 0 0  zz 0 test.job\n{}",
    b"1 9 0   0 no op\x1b[2J\xff\n{}", b"1 0 0   -5 test.job\n{}", b" " * 5000,
    b"nan inf 1e999 - - - -\n" + b"[" * 5000,
]  # fmt: skip


@each_step
async def test_an_odd_body_harms_no_other_job(
    redis: RedisServer, client: driver.Redis, step: Any
) -> None:
    def damage(client: driver.Redis, prefix: str, victims: Sequence[UUID]) -> None:
        for victim, body in zip(victims, BODIES, strict=True):
            client.set(f"{prefix}body:{victim.hex}", body)

    await lives_through(redis, client, damage, step, len(BODIES))


# Entries of indexes.

STRANGER = "Z" * 32
PLACE = f"{1:018d}:{1:016d}:"
PLACES = [
    b"", b"x", b"0000-garbage", b"\xff\xfe", b"a b", b"0" * 18, b"9" * 18, PLACE.encode(),
    f"{PLACE}{STRANGER}".encode(), f"{PLACE}{'0' * 32}".encode(), b"x" * 68, b"0017 garbage",
    f"{10**17:018d}:garbage".encode(), b"y" * 100_000,
]  # fmt: skip
SCORES = [-(10.0**30), -1.5, 0, 1.0, 10.0**30, float("inf"), float("-inf")]


def garbage(client: driver.Redis, prefix: str, victims: Sequence[UUID]) -> None:
    """Entries in every index that stand for no job, and a row that no index should lead to."""
    row = {"status": "pending", "queue": "default", "type": "test.job", "priority": 9, "seq": 1}
    client.hset(f"{prefix}job:{STRANGER}", mapping=row)  # type: ignore[arg-type]
    ids = [*PLACES, STRANGER.encode(), b"0" * 32]
    for number, place in enumerate(PLACES):
        score = SCORES[number % len(SCORES)]
        client.zadd(f"{prefix}queue:default:ready", {place: score})
        client.zadd(f"{prefix}queue:default:later", {place: 0})
    for name in ("completed", "failed", "failed:by", "dead_letter", "dead_letter:by"):
        client.zadd(f"{prefix}queue:default:{name}", dict.fromkeys(ids, 1))
    client.zadd(f"{prefix}leases", dict.fromkeys(ids, 1))
    client.zadd(f"{prefix}all", {entry: SCORES[n % len(SCORES)] for n, entry in enumerate(ids)})
    client.sadd(f"{prefix}cancels", *ids)
    client.sadd(f"{prefix}queues", b"\xff\xfe", b"", b"no such queue")
    client.hset(f"{prefix}queue:default:counts", mapping={"pending": "many", "bogus": "7"})
    client.hset(f"{prefix}queue:\udcff\udcfe:counts".encode(errors="surrogateescape"), "x", "y")
    client.set(f"{prefix}version", b"1e999\xff")
    for key in client.scan_iter(f"{prefix}grant:*"):
        client.rpush(key, *ids)
    for victim in victims:
        client.rpush(f"{prefix}history:{victim.hex}", b"", b"\xc1", b"\x96\1\2\3\4\5\6", "x" * 99)


@each_step
async def test_entries_that_stand_for_no_job_hide_no_job_and_stop_nobody(
    redis: RedisServer, client: driver.Redis, step: Any
) -> None:
    await lives_through(redis, client, garbage, step, adds_up=True)


# All of it at random.

ANY: list[bytes] = [
    *(value for value in ODD if value is not None), b"0", b"inf", b"1e18", b"running", b"pending",
    b"completed", b"retrying", b"default", b"00000001" + b"a" * 24, b"f" * 32,
    b"1 0 3   0 test.job\n{}",
]  # fmt: skip


def hurt(client: driver.Redis, prefix: str, chance: Random) -> str:
    """Do something to one of the keys that are there; what it was."""
    found = sorted(key for key in client.scan_iter(f"{prefix}*") if b"test:now" not in key)
    key, value, way = chance.choice(found), chance.choice(ANY), chance.randrange(5)
    if way <= 1:
        client.delete(key)
        kind = chance.choice([*KINDS, "gone"])
        if kind != "gone":
            KINDS[kind](client, key)  # type: ignore[arg-type]
        return f"{key!r} is a {kind}"
    match client.type(key):
        case b"hash":
            client.hset(key, chance.choice([*client.hkeys(key), b"status", b"queue"]), value)
        case b"string":
            client.set(key, value)
        case b"list":
            client.lset(key, 0, value)
        case b"set":
            client.sadd(key, value)
        case b"zset":
            entries = [value, *client.zrange(key, 0, -1)]
            client.zadd(key, {chance.choice(entries): chance.choice(SCORES)})
            client.zrem(key, chance.choice(entries))
    return f"{key!r} has {value[:40]!r}"


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_was_done_to_a_namespace_new_jobs_complete_in_it(
    redis: RedisServer, client: driver.Redis, seed: int
) -> None:
    chance, clocks = Random(seed), Clocks()
    async with opened(redis, clocks) as queue:
        jobs = [await enqueued(queue, priority=5, max_retries=3) for _ in range(3)]
        life = Life(queue, clocks, [job.id for job in jobs])
        for _ in range(15):
            await life.more()
            for _ in range(chance.randrange(4)):
                print(hurt(client, queue._store._place.prefix, chance))
            step = chance.choice(STEPS)
            print(step.__name__)
            await step(life)
        life.victims, life.sound = life.victims + life.sound, []
        await life.more()
        await life.come_to_an_end()
