"""What must not be lost, run unasked or given up when a Redis server answers late, in part, or as
another one than before."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import redis as driver

from portico import compose
from portico.adapters.job_queue import RedisJobQueueAdapter
from portico.adapters.job_queue._redis import rows
from portico.adapters.job_queue._redis.client import Call
from portico.exceptions import ConfigurationError, DatabaseError, QueueConnectionError
from portico.ports.job import JobStatus
from portico.ports.leasing import Answer, Failure, JobFilter, Settlement, Transition
from portico.testing.contract.queue_support import enqueued, leased, record
from tests.support.redis_queues import own_namespace
from tests.support.server_sets import Cluster, replica, until
from tests.support.servers import RedisServer, free_port, server_folder
from tests.support.waiting import wait_until

pytestmark = pytest.mark.servers


@asynccontextmanager
async def opened(url: str, **options: float) -> AsyncIterator[RedisJobQueueAdapter]:
    queue = compose.job_queue(url, **options)
    assert isinstance(queue, RedisJobQueueAdapter)
    await queue.initialize()
    try:
        yield queue
    finally:
        await queue.close()


class TestGrants:
    async def test_what_was_granted_beside_a_refused_settlement_is_given_back_uncharged(
        self, redis: RedisServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with opened(own_namespace(redis.url())) as queue:
            await enqueued(queue)
            [held] = await leased(queue)
            job = await enqueued(queue, max_retries=0)
            retry = Settlement(held.id, held.token, Transition.RETRY)
            with monkeypatch.context() as patched:
                patched.setattr(rows, "settlement_arguments", lambda _: ["one of four"])
                with pytest.raises(DatabaseError):
                    await queue.exchange([retry], ("default",), 10)
            [lease] = await leased(queue)
            assert lease.job_id == job.id
            found = await record(queue, job.id)
            assert (found.release_count, found.expiry_count) == (1, 0)

    async def test_a_request_that_arrives_after_it_was_given_up_grants_nothing(
        self, redis: RedisServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with opened(own_namespace(redis.url())) as queue:
            job = await enqueued(queue)
            client = queue._store._client
            run, late = client.run, list[Call]()

            async def held_up(*calls: Call) -> None:
                late.extend(calls)
                raise QueueConnectionError("no answer in time")

            monkeypatch.setattr(client, "run", held_up)
            with pytest.raises(QueueConnectionError):
                await leased(queue)
            monkeypatch.setattr(client, "run", run)
            await queue.exchange((), ("another",), 1)
            await run(*late)
            assert (await record(queue, job.id)).job.status is JobStatus.PENDING
            [lease] = await leased(queue)
            assert lease.attempt == 1

    async def test_what_is_granted_while_the_queue_closes_is_given_back(
        self, redis: RedisServer
    ) -> None:
        url = own_namespace(redis.url())
        async with opened(url) as other:
            job = await enqueued(other, max_retries=0)
            for steps in range(100):
                queue = compose.job_queue(url)
                await queue.initialize()
                asking = asyncio.create_task(queue.exchange((), ("default",), 1))
                for _ in range(steps):
                    await asyncio.sleep(0)
                answered = asking.done()
                asking.cancel()
                await asyncio.gather(asking, return_exceptions=True)
                await queue.close()
                if answered:
                    assert steps > 1
                    return  # each moment before that has been tried
                found = await record(other, job.id)
                assert (steps, found.job.status) == (steps, JobStatus.PENDING)
            pytest.fail("it was never answered")


class TestWhatALeaseTells:
    async def test_a_redriven_job_still_tells_its_last_error_though_it_has_no_past_attempt(
        self, redis: RedisServer
    ) -> None:
        async with opened(own_namespace(redis.url())) as queue:
            await enqueued(queue)
            [held] = await leased(queue)
            failure = Failure("ValueError", "no such page")
            failed = Settlement(held.id, held.token, Transition.FAIL, failure=failure)
            await queue.exchange([failed], (), 0)
            await queue.redrive([held.job_id])
            [lease] = await leased(queue)
            assert (lease.attempt, lease.retry_count) == (1, 0)
            assert lease.error_message == "no such page"


class TestDamage:
    @pytest.mark.parametrize(
        "field",
        ["created", "crashes", "due", "expiries", "max", "priority", "retries", "seq", "since",
         "started"],
    )  # fmt: skip
    @pytest.mark.parametrize("transition", [Transition.RETRY, Transition.SNOOZE, Transition.CRASH])
    async def test_a_row_with_a_damaged_field_is_run_to_its_end_and_harms_no_other(
        self, redis: RedisServer, field: str, transition: Transition
    ) -> None:
        async with opened(own_namespace(redis.url()), lease=0.2) as queue:
            later = datetime.now(UTC) + timedelta(seconds=0.1)
            jobs = [await enqueued(queue, scheduled_at=later, max_retries=9) for _ in range(3)]
            with driver.Redis(port=redis.port) as client:
                key = f"{queue._store._place.prefix}job:{jobs[1].id.hex}"
                client.hset(key, field, "damaged")
                await asyncio.sleep(0.1)
                leases = await leased(queue, limit=10)
                assert {lease.job_id for lease in leases} == {job.id for job in jobs}
                client.hset(key, field, "damaged")
                exchanged = await queue.exchange(
                    [Settlement(one.id, one.token, transition, patience=60) for one in leases],
                    (), 0,
                )  # fmt: skip
                assert {receipt.answer for receipt in exchanged.receipts} == {Answer.OK}
                client.hset(key, field, "damaged")
                again = await wait_until(lambda: leased(queue, limit=10))
                client.hset(key, field, "damaged")
                assert len(await wait_until(queue.recover)) == len(again)
            await queue.renew(again)
            await queue.list_jobs(JobFilter())
            stats = await queue.get_queue_stats("default")
            assert (stats.running_count, stats.pending_count, stats.scheduled_count) == (0, 0, 0)
            assert stats.retrying_count + stats.dead_letter_count == len(jobs)

    @pytest.mark.parametrize(
        "body",
        [b"", b"{}", b"\n", b"1 2\n{}", b"x x x x x x x\n{}", b"1 0 3   9999999 a.type\n{}",
         b"1 0 3   -9 a.type\n{}", b"1 0 3   0 \xff\n{}"],
    )  # fmt: skip
    async def test_a_damaged_body_is_leased_and_harms_no_other(
        self, redis: RedisServer, body: bytes
    ) -> None:
        async with opened(own_namespace(redis.url())) as queue:
            jobs = [await enqueued(queue) for _ in range(3)]
            with driver.Redis(port=redis.port) as client:
                client.set(f"{queue._store._place.prefix}body:{jobs[1].id.hex}", body)
            leases = await leased(queue, limit=10)
            assert [lease.job_id for lease in leases] == [job.id for job in jobs]
            assert leases[2].payload == leases[0].payload != b""
            assert len((await queue.list_jobs(JobFilter())).jobs) == len(jobs)

    @pytest.mark.parametrize("token", [b"damaged", b"0000", b"\xff" * 32, b"-0000001" + b"ab" * 12])
    async def test_a_job_with_a_damaged_token_is_shown_recovered_and_leased_again(
        self, redis: RedisServer, token: bytes
    ) -> None:
        async with opened(own_namespace(redis.url()), lease=0.2) as queue:
            jobs = [await enqueued(queue) for _ in range(3)]
            leases = await leased(queue, limit=10)
            with driver.Redis(port=redis.port) as client:
                client.hset(f"{queue._store._place.prefix}job:{jobs[1].id.hex}", "token", token)
            assert len((await queue.list_jobs(JobFilter())).jobs) == len(jobs)
            assert await queue.inspect(jobs[1].id) is not None
            told = [Settlement(one.id, one.token, Transition.COMPLETE) for one in leases]
            answers = [one.answer for one in (await queue.exchange(told, (), 0)).receipts]
            assert answers == [Answer.OK, Answer.LOST, Answer.OK]
            assert len(await wait_until(queue.recover)) == 1
            [again] = await wait_until(lambda: leased(queue, limit=10))
            assert again.job_id == jobs[1].id

    async def test_a_job_whose_body_was_deleted_still_tells_its_type(
        self, redis: RedisServer
    ) -> None:
        async with opened(own_namespace(redis.url())) as queue:
            job = await enqueued(queue, priority=7)
            with driver.Redis(port=redis.port) as client:
                client.delete(f"{queue._store._place.prefix}body:{job.id.hex}")
            [lease] = await leased(queue)
            assert (lease.job_type, lease.priority, lease.payload) == (job.job_type, 7, b"")


class TestConnections:
    async def test_a_thousand_who_enqueue_at_once_all_get_through_a_few_connections(
        self, redis: RedisServer
    ) -> None:
        async with opened(own_namespace(redis.url())) as queue:
            await asyncio.gather(*(enqueued(queue) for _ in range(1000)))
            assert (await queue.get_queue_stats("default")).pending_count == 1000
            with driver.Redis(port=redis.port) as client:
                mine = [one for one in client.client_list() if one["name"] == "portico"]
            assert len(mine) <= 100

    async def test_a_primary_that_became_a_replica_is_left_for_where_its_name_leads_now(
        self, tmp_path: Path
    ) -> None:
        first = RedisServer(tmp_path / "first")
        first.start()
        second = replica(tmp_path / "second", first)
        leads_to = first.port

        async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
                while data := await source.read(65536):
                    sink.write(data)
                sink.close()

            there = await asyncio.open_connection("127.0.0.1", leads_to)
            await asyncio.gather(
                copy(reader, there[1]), copy(there[0], writer), return_exceptions=True
            )

        door = await asyncio.start_server(pass_on, "127.0.0.1", 0)
        port = door.sockets[0].getsockname()[1]
        try:
            async with opened(f"redis://127.0.0.1:{port}/0") as queue:
                job = await enqueued(queue)
                until(lambda: second.run("DBSIZE") == first.run("DBSIZE"), "all is replicated")
                second.run("REPLICAOF", "NO", "ONE")
                first.run("REPLICAOF", "127.0.0.1", str(second.port))
                leads_to = second.port

                async def again() -> object:
                    try:
                        return await leased(queue)
                    except QueueConnectionError:
                        return None

                [lease] = await wait_until(again, 5)
                assert lease.job_id == job.id
        finally:
            door.close()
            second.kill()
            first.kill()

    async def test_a_cluster_that_is_not_there_is_a_matter_of_waiting(self) -> None:
        queue = compose.job_queue(f"redis+cluster://127.0.0.1:{free_port()}")
        with pytest.raises(QueueConnectionError, match="cannot be reached"):
            await queue.initialize()

    async def test_a_cluster_that_goes_away_is_waited_for(self) -> None:
        cluster = Cluster(server_folder("mishaps"))
        cluster.start()
        try:
            async with opened(own_namespace(f"redis+cluster://{cluster.hosts()}")) as queue:
                await enqueued(queue)
                cluster.kill()
                for _ in range(4):
                    with pytest.raises(QueueConnectionError):
                        await leased(queue)
        finally:
            cluster.kill()

    async def test_a_node_of_a_cluster_is_not_spoken_to_as_one_server(self) -> None:
        cluster = Cluster(server_folder("mishaps"))
        cluster.start()
        try:
            said = []
            for node in cluster.nodes[:2]:  # the namespace lies on one of them at most
                try:
                    async with opened(node.url()) as queue:
                        await enqueued(queue)
                except ConfigurationError as error:
                    said.append(str(error))
            assert said
            assert all("give redis+cluster://" in one for one in said)
        finally:
            cluster.kill()
