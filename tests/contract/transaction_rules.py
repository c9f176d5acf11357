"""The rules of creating jobs within a transaction of the application's, for every driver."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from statistics import median
from uuid import uuid4

import pytest

from portico.adapters.audit.memory_audit import MemoryAuditAdapter
from portico.exceptions import ConflictError, QueueFullError, ValidationError
from portico.kits.job import JobService
from portico.ports.audit import AuditQuery
from portico.ports.job import JobStatus
from portico.ports.job_queue import JobQueueAdapter
from tests.support.producers import Producer


class TransactionRules:
    """`producer` has begun; `orders` tells its table, as everybody else sees it.

    `limited` opens another one, whose service admits less.
    """

    async def test_a_job_exists_once_its_transaction_is_committed(
        self, producer: Producer, queue: JobQueueAdapter, orders: Callable[[], dict[int, str]]
    ) -> None:
        await producer.run("INSERT INTO orders (id) VALUES (1)")
        later = datetime.now(UTC) + timedelta(hours=1)
        job = await producer.create(
            payload={"n": 1}, queue_name="mail", priority=7, scheduled_at=later, max_retries=1,
            created_by=uuid4(), metadata={"k": "v"},
        )  # fmt: skip
        assert job.status is JobStatus.SCHEDULED
        assert await queue.get_job(job.id) is None
        await producer.commit()
        assert await queue.get_job(job.id) == job
        assert list(orders()) == [1]
        assert (await queue.get_queue_stats("mail")).scheduled_count == 1

    async def test_a_rollback_leaves_no_trace_of_it(
        self, producer: Producer, queue: JobQueueAdapter, orders: Callable[[], dict[int, str]]
    ) -> None:
        await producer.run("INSERT INTO orders (id) VALUES (1)")
        job = await producer.create()
        await producer.create_many({"job_type": "a.b", "payload": {"n": n}} for n in range(300))
        await producer.rollback()
        assert await queue.get_job(job.id) is None
        assert await queue.all_stats() == {}
        assert orders() == {}

    async def test_nobody_leases_it_before_the_commit(
        self, producer: Producer, queue: JobQueueAdapter
    ) -> None:
        job = await producer.create()
        assert await queue.dequeue("default", timeout=0) is None
        await producer.commit()
        leased = await queue.dequeue("default", timeout=0)
        assert leased is not None
        assert leased.id == job.id
        await queue.acknowledge(job.id)

    async def test_a_savepoint_that_is_rolled_back_takes_the_jobs_created_since(
        self, producer: Producer, queue: JobQueueAdapter, orders: Callable[[], dict[int, str]]
    ) -> None:
        await producer.run("INSERT INTO orders (id) VALUES (1)")
        kept = await producer.create()
        await producer.run("SAVEPOINT here")
        await producer.run("INSERT INTO orders (id) VALUES (2)")
        gone = await producer.create()
        await producer.run("ROLLBACK TO here")
        also_kept = await producer.create()
        await producer.commit()
        assert await queue.get_job(gone.id) is None
        assert await queue.get_job(kept.id) == kept
        assert await queue.get_job(also_kept.id) == also_kept
        assert (await queue.get_queue_stats("default")).total == 2
        assert list(orders()) == [1]

    async def test_a_taken_id_is_a_conflict_that_leaves_the_transaction_usable(
        self, producer: Producer, queue: JobQueueAdapter, orders: Callable[[], dict[int, str]]
    ) -> None:
        await producer.run("INSERT INTO orders (id) VALUES (1)")
        job = await producer.create(payload={"n": 1})
        with pytest.raises(ConflictError, match=str(job.id)):
            await producer.create(payload={"n": 2}, job_id=job.id)
        await producer.run("INSERT INTO orders (id) VALUES (2)")
        await producer.commit()
        assert list(orders()) == [1, 2]
        assert await queue.get_job(job.id) == job

    async def test_a_delay_counts_from_when_the_database_took_the_job(
        self, producer: Producer, queue: JobQueueAdapter
    ) -> None:
        delay = timedelta(hours=1, microseconds=1)
        job = await producer.create(delay=delay)
        await producer.commit()
        assert job.scheduled_at == job.created_at + delay
        assert job.status is JobStatus.SCHEDULED
        assert await queue.get_job(job.id) == job

    async def test_a_bad_value_is_refused_and_leaves_the_transaction_usable(
        self, producer: Producer, orders: Callable[[], dict[int, str]], queue: JobQueueAdapter
    ) -> None:
        await producer.run("INSERT INTO orders (id) VALUES (1)")
        with pytest.raises(ValidationError, match=r"payload\['x'\]"):
            await producer.create(payload={"x": range(3)})
        await producer.commit()
        assert list(orders()) == [1]
        assert await queue.all_stats() == {}

    async def test_in_bulk_each_job_has_its_own_outcome(
        self, producer: Producer, queue: JobQueueAdapter
    ) -> None:
        twin = uuid4()
        created = await producer.create_many(
            [
                {"job_type": "a.b", "payload": {"n": 1}, "job_id": twin},
                {"job_type": "a.b", "payload": {"n": 2}, "job_id": twin},
                {"job_type": "a.b", "payload": ["x"]},
                {"job_type": "a.b", "payload": {"n": 3}, "queue_name": "mail"},
            ]
        )
        await producer.commit()
        assert [type(outcome.error) for outcome in created] == [
            type(None), ConflictError, ValidationError, type(None),
        ]  # fmt: skip
        assert created[0].job == await queue.get_job(twin)
        stats = await queue.all_stats()
        assert {name: found.total for name, found in stats.items()} == {"default": 1, "mail": 1}

    async def test_a_thousand_jobs_keep_their_order(
        self, producer: Producer, queue: JobQueueAdapter
    ) -> None:
        created = await producer.create_many(
            {"job_type": "a.b", "payload": {"n": n}} for n in range(1000)
        )
        await producer.commit()
        leases = (await queue.exchange((), ("default",), 1000)).leases
        ids = [outcome.job.id for outcome in created if outcome.job is not None]
        assert [lease.job_id for lease in leases] == ids
        assert len(ids) == 1000

    async def test_a_full_queue_counts_what_the_transaction_sees(
        self,
        limited: Callable[[], AbstractAsyncContextManager[Producer]],
        queue: JobQueueAdapter,
    ) -> None:
        async with limited() as producer:
            await producer.begin()
            await producer.create_many({"job_type": "a.b", "payload": {}} for _ in range(4))
            with pytest.raises(QueueFullError, match="2 more do not fit"):
                await producer.create_many({"job_type": "a.b", "payload": {}} for _ in range(2))
            await producer.create()
            with pytest.raises(QueueFullError, match="takes 5"):
                await producer.create()
            await producer.rollback()
            await producer.begin()
            await producer.create()
            await producer.commit()
        assert (await queue.get_queue_stats("default")).total == 1

    async def test_the_horizon_and_the_job_types_hold_within_a_transaction(
        self,
        limited: Callable[[], AbstractAsyncContextManager[Producer]],
        queue: JobQueueAdapter,
    ) -> None:
        async with limited() as producer:
            await producer.begin()
            with pytest.raises(ValidationError, match="max_horizon"):
                await producer.create(scheduled_at=datetime.now(UTC) + timedelta(days=31))
            with pytest.raises(ValidationError, match="which no handler here serves"):
                await producer.create(job_type="c.d")
            await producer.create()
            await producer.commit()
        assert (await queue.get_queue_stats("default")).total == 1

    async def test_the_commit_wakes_who_waits(
        self, producer: Producer, queue: JobQueueAdapter, service: JobService
    ) -> None:
        """Who polls waits for half a second in the mean."""
        took = []
        for _ in range(7):
            await queue.exchange((), ("default",), 1)
            waiting = asyncio.create_task(queue.wait(("default",), 10))
            job = await producer.create()
            await asyncio.sleep(0)
            await producer.commit()
            start = time.monotonic()
            await service.committed([job])
            await waiting
            took.append(time.monotonic() - start)
            [lease] = (await queue.exchange((), ("default",), 1)).leases
            assert lease.job_id == job.id
            await producer.begin()
        assert median(took) < 0.1, took

    async def test_only_what_was_committed_is_audited(
        self, producer: Producer, queue: JobQueueAdapter
    ) -> None:
        audit = MemoryAuditAdapter()
        service = JobService(queue, audit=audit)
        kept = await producer.create(created_by=uuid4())
        await producer.commit()
        await producer.begin()
        gone = await producer.create()
        await producer.rollback()
        assert await audit.search_events(AuditQuery()) == []
        await service.committed([kept, gone])
        [event] = await audit.search_events(AuditQuery())
        assert event.resource_id == str(kept.id)
        assert event.user_id == kept.created_by
        assert event.details["event"] == "created"
