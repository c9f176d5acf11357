"""How often a server is asked for a turn and for a bulk insert, and how often it tells others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import psycopg
import pytest
import redis as driver

from portico import compose
from portico.adapters.job_queue._postgres.connections import AnyConnection, Connections
from portico.ports.draft import Draft
from portico.ports.job import JobStatus
from portico.ports.job_queue import JobQueueAdapter
from portico.ports.leasing import Failure, Lease, Settlement, Transition
from tests.support.jobs import make_job
from tests.support.redis_queues import own_namespace
from tests.support.servers import PostgresServer, RedisServer

pytestmark = pytest.mark.servers


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[JobQueueAdapter]:
    queue = compose.job_queue(url)
    await queue.initialize()
    try:
        yield queue
    finally:
        await queue.close()


def drafts(count: int, **fields: Any) -> list[Draft]:
    return [Draft.of(make_job(**fields)) for _ in range(count)]


def ends(leases: list[Lease], transition: Transition = Transition.COMPLETE) -> list[Settlement]:
    failure = None if transition is Transition.COMPLETE else Failure("ValueError", "no")
    return [Settlement(one.id, one.token, transition, failure=failure) for one in leases]


# PostgreSQL.


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The statements of every connection that is made from now on."""
    seen: list[str] = []
    ready = Connections._ready

    async def watched(self: Connections, connection: AnyConnection) -> None:
        await ready(self, connection)
        connection.add_query_logger(lambda record: seen.append(record.query))

    monkeypatch.setattr(Connections, "_ready", watched)
    return seen


async def test_a_turn_and_a_bulk_insert_are_one_statement_on_postgresql(
    postgres: PostgresServer, asked: list[str]
) -> None:
    async with opened(postgres.url(postgres.database())) as queue:
        await queue.insert(drafts(20))
        held = (await queue.exchange((), ("default",), 20)).leases  # connected, and known by number
        asked.clear()
        await queue.insert(drafts(500))
        assert len(asked) == 1
        asked.clear()
        exchange = await queue.exchange(ends(held), ("default", "other"), 300)
        assert len(exchange.leases) == 300
        assert len(asked) == 1
        asked.clear()
        await queue.renew(exchange.leases)
        assert len(asked) == 1


async def test_a_turn_with_failures_is_one_statement_too_on_postgresql(
    postgres: PostgresServer, asked: list[str]
) -> None:
    async with opened(postgres.url(postgres.database())) as queue:
        await queue.insert(drafts(60))
        first = (await queue.exchange((), ("default",), 1)).leases
        await queue.exchange(ends(first, Transition.RETRY), ("default",), 0)  # types are known
        held = (await queue.exchange((), ("default",), 40)).leases
        asked.clear()
        failed, done = ends(held[:20], Transition.RETRY), ends(held[20:])
        exchange = await queue.exchange([*failed, *done], ("default",), 10)
        assert len(exchange.leases) == 10
        assert len(asked) == 1
        assert {receipt.status for receipt in exchange.receipts[:20]} == {JobStatus.RETRYING}
        assert {receipt.status for receipt in exchange.receipts[20:]} == {JobStatus.COMPLETED}


async def test_what_a_statement_settles_can_be_leased_by_it_on_postgresql(
    postgres: PostgresServer,
) -> None:
    async with opened(postgres.url(postgres.database())) as queue:
        await queue.insert(drafts(3))
        held = (await queue.exchange((), ("default",), 3)).leases
        exchange = await queue.exchange(ends(held, Transition.RELEASE), ("default",), 3)
        assert [lease.id for lease in exchange.leases] == [lease.id for lease in held]
        assert {lease.attempt for lease in exchange.leases} == {2}


async def test_producers_that_create_at_once_share_an_insert_on_postgresql(
    postgres: PostgresServer, asked: list[str]
) -> None:
    async with opened(postgres.url(postgres.database())) as queue:
        await queue.insert(drafts(1))
        asked.clear()
        await asyncio.gather(*(queue.enqueue(make_job()) for _ in range(500)))
        assert len([query for query in asked if "INSERT INTO" in query]) == 1


@contextmanager
def listening(url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute('LISTEN "portico.portico"')
        yield connection


def heard(connection: psycopg.Connection) -> list[str]:
    connection.execute("SELECT 1")  # what was told before this is here after it
    return sorted(note.payload for note in connection.notifies(timeout=0))


async def test_a_batch_of_settlements_notifies_once_per_queue(postgres: PostgresServer) -> None:
    url = postgres.url(postgres.database())
    async with opened(url) as queue:
        await queue.insert([*drafts(20), *drafts(20, queue_name="other")])
        held = (await queue.exchange((), ("default", "other"), 40)).leases
        assert len(held) == 40
        with listening(url) as connection:
            settlements = [
                *ends(held[:10], Transition.RETRY), *ends(held[10:20], Transition.RELEASE),
                *ends(held[20:30], Transition.SNOOZE), *ends(held[30:]),
            ]  # fmt: skip
            await queue.exchange(settlements, (), 0)
            assert heard(connection) == ["default", "other"]


async def test_a_batch_of_completions_notifies_nobody(postgres: PostgresServer) -> None:
    url = postgres.url(postgres.database())
    async with opened(url) as queue:
        await queue.insert(drafts(20))
        held = (await queue.exchange((), ("default",), 20)).leases
        with listening(url) as connection:
            await queue.exchange(ends(held), (), 0)
            assert heard(connection) == []


async def test_a_recovery_notifies_once_per_queue(postgres: PostgresServer) -> None:
    url = postgres.url(postgres.database())
    async with opened(url) as queue:
        await queue.insert([*drafts(20), *drafts(20, queue_name="other")])
        assert len((await queue.exchange((), ("default", "other"), 40)).leases) == 40
        with listening(url) as connection:
            connection.execute("UPDATE portico.portico_jobs SET expires_at = 0")
            assert len(await queue.recover(100)) == 40
            assert heard(connection) == ["default", "other"]


# Redis.


@pytest.fixture
def own(tmp_path: Any) -> Iterator[RedisServer]:
    """A server that counts what is asked by nobody else."""
    server = RedisServer(tmp_path / "redis")
    server.start()
    yield server
    server.kill()


class Asked:
    """What a server was asked since the last look: how often it read, and its scripts."""

    def __init__(self, server: RedisServer) -> None:
        self._client = driver.Redis(host=server.host, port=server.port)
        self.look()

    def look(self) -> tuple[int, int]:
        reads = int(self._client.info("stats")["total_reads_processed"])
        scripts = self._client.info("commandstats").get("cmdstat_evalsha", {}).get("calls", 0)
        self._client.config_resetstat()
        return reads - 1, scripts


async def test_a_turn_and_a_bulk_insert_are_one_round_trip_on_redis(own: RedisServer) -> None:
    async with opened(own_namespace(own.url())) as queue:
        await queue.insert(drafts(20))
        held = (await queue.exchange((), ("default",), 10)).leases
        await queue.exchange(ends(held), ("default",), 1)  # connected, and the scripts are known
        held = (await queue.exchange((), ("default",), 9)).leases
        await queue.renew(held)
        asked = Asked(own)

        await queue.insert(drafts(10))
        assert asked.look() == (1, 1)
        await asyncio.gather(*(queue.enqueue(make_job()) for _ in range(30)))
        assert asked.look() == (1, 1)
        failed, done = ends(held[:4], Transition.RETRY), ends(held[4:])
        leases = (await queue.exchange([*failed, *done], ("default", "other"), 5)).leases
        assert len(leases) == 5
        assert asked.look() == (1, 2)  # to settle, and to lease
        await queue.renew(leases)
        assert asked.look() == (1, 1)
