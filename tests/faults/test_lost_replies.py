"""Replies that are lost on the wire, a server that is not ready, a reaper that looked too early."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import hiredis
import psycopg
import pytest

from portico import compose
from portico.adapters.job_queue import DatabaseJobQueueAdapter, RedisJobQueueAdapter
from portico.adapters.job_queue._redis.client import Call, RedisClient
from portico.adapters.job_queue._redis.scripts import script
from portico.exceptions import QueueConnectionError
from portico.ports.job import JobStatus
from portico.ports.job_queue import JobQueueAdapter
from portico.ports.leasing import Answer, Lease, Settlement, Transition
from tests.faults.server_faults import APP, gated, open_gate, ran_once
from tests.support.jobs import make_job
from tests.support.redis_queues import own_namespace
from tests.support.servers import PostgresServer, RedisServer
from tests.support.supervisors import Place, place
from tests.support.waiting import wait_until

pytestmark = pytest.mark.servers


@asynccontextmanager
async def closing(queue: JobQueueAdapter) -> AsyncIterator[JobQueueAdapter]:
    try:
        yield queue
    finally:
        await queue.close()


class Door:
    """Stands before a server on a port of its own, while `standing` lasts."""

    def __init__(self, port: int) -> None:
        self._behind = port
        self._open: set[asyncio.StreamWriter] = set()
        self._passing: set[asyncio.Task[Any]] = set()
        self.port = 0

    @asynccontextmanager
    async def standing(self) -> AsyncIterator[Self]:
        door = await asyncio.start_server(self._entered, "127.0.0.1", 0)
        self.port = door.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            door.close()
            for writer in self._open:
                writer.close()
            await asyncio.gather(*self._passing, return_exceptions=True)

    async def _entered(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._passing.add(task)
        try:
            replies, requests = await asyncio.open_connection("127.0.0.1", self._behind)
        except OSError:
            writer.close()  # left open, it would keep whoever came waiting
            return
        self._open |= {writer, requests}
        back = asyncio.create_task(self.back(replies, writer))
        back.add_done_callback(lambda _: writer.close())
        try:
            await self.there(reader, requests, writer)
        except OSError:
            pass  # whoever spoke is gone
        finally:
            requests.close()
            await asyncio.gather(back, return_exceptions=True)

    async def there(
        self,
        reader: asyncio.StreamReader,
        requests: asyncio.StreamWriter,
        writer: asyncio.StreamWriter,
    ) -> None:
        """Pass requests on."""
        raise NotImplementedError

    async def back(self, replies: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass replies on."""
        while data := await replies.read(1 << 20):
            writer.write(data)
        writer.close()


class Cutter(Door):
    """Once armed, it passes one matching request on and cuts the reply."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self._mark: bytes | None = None
        self._doomed: set[asyncio.StreamWriter] = set()
        self.cut = asyncio.Event()

    def arm(self, mark: bytes) -> None:
        """The next request with these bytes is carried out, and nobody hears of it."""
        self._mark = mark

    async def there(
        self,
        reader: asyncio.StreamReader,
        requests: asyncio.StreamWriter,
        writer: asyncio.StreamWriter,
    ) -> None:
        while data := await reader.read(1 << 20):
            if self._mark is not None and self._mark in data:
                self._doomed.add(writer)
                self._mark = None
            requests.write(data)

    async def back(self, replies: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await replies.read(1 << 20):
            if writer in self._doomed:  # the server has done it
                self.cut.set()
                break
            writer.write(data)
        writer.close()


@pytest.fixture
def there(tmp_path: Path, redis: RedisServer) -> Iterator[Place]:
    with place(tmp_path) as found:
        found.url = own_namespace(redis.url())
        yield found


@pytest.mark.fault("D30")
async def test_a_reply_to_a_settlement_that_redis_sent_in_vain_is_made_up_for_by_the_token(
    there: Place, redis: RedisServer
) -> None:
    async with (
        closing(compose.job_queue(there.url)) as queue,
        Cutter(redis.port).standing() as cutter,
    ):
        await queue.initialize()
        there.url = there.url.replace(f":{redis.port}/", f":{cutter.port}/")
        supervisor = there.supervisor("--workers", "1", app=APP)
        await supervisor.started()
        first = await queue.enqueue(make_job(job_type="test.fine"))
        await ran_once(there, queue, first.id)  # and the script is known to the server
        job = await queue.enqueue(gated(there))
        await supervisor.until(lambda: there.ledger.count("BEGIN", job.id))
        cutter.arm(script("settle").digest.encode())
        open_gate(there)
        await supervisor.until(lambda: there.ledger.count("END", job.id), what="the job's end")
        await supervisor.until(cutter.cut.is_set, what="the settlement")
        told = await supervisor.event("ack_ambiguous_resolved", job_id=str(job.id))
        assert told["transition"] == "complete"
        await ran_once(there, queue, job.id)
        assert not supervisor.events("settlement_refused") + supervisor.events("lease_lost")
        later = await queue.enqueue(make_job(job_type="test.fine"))
        await ran_once(there, queue, later.id)


class Loader(Door):
    """Answers for the server that it loads its data, as long as it is told to."""

    loading = False

    async def there(
        self,
        reader: asyncio.StreamReader,
        requests: asyncio.StreamWriter,
        writer: asyncio.StreamWriter,
    ) -> None:
        asked = hiredis.Reader()
        while data := await reader.read(1 << 20):
            asked.feed(data)
            while (command := asked.gets()) is not False:
                if self.loading and command[0] not in (b"INFO", b"HELLO", b"CLIENT", b"AUTH"):
                    writer.write(b"-LOADING Redis is loading the dataset in memory\r\n")
                else:
                    requests.write(hiredis.pack_command(tuple(command)))


@pytest.mark.fault("D23")
async def test_a_server_that_loads_its_data_is_waited_for(there: Place, redis: RedisServer) -> None:
    async with Loader(redis.port).standing() as loader:
        there.url = there.url.replace(f":{redis.port}/", f":{loader.port}/")
        async with closing(compose.job_queue(there.url)) as queue:
            loader.loading = True
            with pytest.raises(QueueConnectionError, match="loading its data") as refused:
                await queue.initialize()
            assert refused.value.details["reason"] == "loading"
            loader.loading = False
            await queue.initialize()
            supervisor = there.supervisor(app=APP)
            await supervisor.started()
            job = await queue.enqueue(gated(there))
            await supervisor.until(lambda: there.ledger.count("BEGIN", job.id))
            loader.loading = True
            open_gate(there)
            told = await supervisor.event("store_unreachable")
            assert "loading its data" in told["error"]
            loader.loading = False
            await supervisor.event("store_back")
            await ran_once(there, queue, job.id)
            assert supervisor.process.poll() is None


SHORT = 1.0
"""A lease length, in seconds, that a test can wait for."""


async def leased_and_expired(queue: JobQueueAdapter) -> Lease:
    """A lease that has run out, and that nobody has taken."""
    await queue.enqueue(make_job())
    [lease] = (await queue.exchange((), ("default",), 1)).leases
    loop = asyncio.get_running_loop()
    until = loop.time() + SHORT + 0.1
    await wait_until(lambda: loop.time() > until)
    return lease


async def is_completed_once(queue: JobQueueAdapter, lease: Lease) -> None:
    record = await queue.inspect(lease.job_id)
    assert record is not None
    assert record.accounted
    assert record.job.status is JobStatus.COMPLETED
    assert (record.expiry_count, record.job.retry_count, record.attempt) == (0, 0, 1)


async def complete(queue: JobQueueAdapter, lease: Lease) -> Answer:
    done = Settlement(lease.id, lease.token, Transition.COMPLETE, b"{}")
    [receipt] = (await queue.exchange([done], (), 0)).receipts
    return receipt.answer


@asynccontextmanager
async def holder_and_reaper(
    kind: type[DatabaseJobQueueAdapter | RedisJobQueueAdapter], url: str
) -> AsyncIterator[tuple[JobQueueAdapter, JobQueueAdapter]]:
    holder, reaper = kind(url, SHORT), kind(url, 60.0)
    await holder.initialize()
    await reaper.initialize()
    try:
        yield holder, reaper
    finally:
        await holder.close()
        await reaper.close()


@pytest.mark.fault("D31")
async def test_on_redis_a_job_that_ends_after_the_reaper_looked_at_the_clock_stays_completed(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with holder_and_reaper(RedisJobQueueAdapter, own_namespace(redis.url())) as (
        holder, reaper,
    ):  # fmt: skip
        lease = await leased_and_expired(holder)
        sent, answers = RedisClient._sent, []

        async def too_late(self: RedisClient, client: Any, calls: Any) -> list[Any]:
            if calls[0].script == "recover":  # it is on its way, and the holder is faster
                done = Call("settle", (lease.id.hex(), lease.token.hex(), "complete", b"{}"))
                answers.extend(await sent(self, client, [done]))
            return await sent(self, client, calls)

        monkeypatch.setattr(RedisClient, "_sent", too_late)
        assert await reaper.recover(10) == []
        monkeypatch.undo()
        assert answers == [[b"ok:completed"]]
        await is_completed_once(holder, lease)


@pytest.mark.fault("D31")
async def test_on_postgresql_a_job_that_ends_after_the_reaper_looked_at_the_clock_stays_completed(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = postgres.url(postgres.database())
    async with holder_and_reaper(DatabaseJobQueueAdapter, url) as (holder, reaper):
        lease = await leased_and_expired(holder)
        assert isinstance(reaper, DatabaseJobQueueAdapter)
        connections: Any = reaper._store._connections
        run, asked, answers = connections.run, [], []

        async def too_late(work: Any, *, atomic: bool = False) -> Any:
            asked.append(work)
            if len(asked) == 2:  # the first was what time it is
                answers.append(await complete(holder, lease))
            return await run(work, atomic=atomic)

        monkeypatch.setattr(connections, "run", too_late)
        assert await reaper.recover(10) == []
        monkeypatch.undo()
        assert answers == [Answer.OK]
        await is_completed_once(holder, lease)


@pytest.mark.fault("D31")
async def test_on_postgresql_a_reaper_passes_over_a_job_that_is_being_completed(
    postgres: PostgresServer,
) -> None:
    url = postgres.url(postgres.database())
    async with holder_and_reaper(DatabaseJobQueueAdapter, url) as (holder, reaper):
        lease = await leased_and_expired(holder)
        with psycopg.connect(url) as connection:
            connection.execute(
                "UPDATE portico.portico_jobs SET status = 'completed', settled_as = 'complete',"
                " ended_by_attempt = true WHERE id = %s",
                (lease.job_id,),
            )
            assert await reaper.recover(10) == []  # its snapshot shows a job that runs
            connection.commit()
        await is_completed_once(holder, lease)


@pytest.mark.fault("D31")
@pytest.mark.parametrize("kind", ["postgres", "redis"])
async def test_a_settlement_that_comes_after_the_reaper_changes_nothing(
    request: pytest.FixtureRequest, kind: str
) -> None:
    server = request.getfixturevalue(kind)
    if isinstance(server, PostgresServer):
        made = holder_and_reaper(DatabaseJobQueueAdapter, server.url(server.database()))
    else:
        made = holder_and_reaper(RedisJobQueueAdapter, own_namespace(server.url()))
    async with made as (holder, reaper):
        lease = await leased_and_expired(holder)
        assert [one.status for one in await reaper.recover(10)] == [JobStatus.RETRYING]
        assert await complete(holder, lease) is Answer.LOST
        record = await holder.inspect(lease.job_id)
        assert record is not None
        assert record.accounted
        assert (record.job.status, record.expiry_count) == (JobStatus.RETRYING, 1)
