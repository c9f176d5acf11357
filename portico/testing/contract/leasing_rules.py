"""The rules of leases: renewal, recovery, requests to stop, and waiting; and those of exchanges."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

from portico.exceptions import ConflictError
from portico.ports.draft import Draft
from portico.ports.job import Job, JobStatus
from portico.ports.job_queue import JobQueueAdapter
from portico.ports.leasing import Answer, LeaseKey, Receipt, Renewal, Settlement, Transition
from portico.testing.contract.exchange_rules import ExchangeRules
from portico.testing.contract.queue_support import (
    LEASE_SECONDS,
    Clocks,
    ended,
    ending,
    enqueued,
    failure,
    leased,
    leased_job,
    record,
    run_out,
    settled,
    status,
)
from portico.testing.jobs import make_job


def in_(clocks: Clocks, seconds: float) -> datetime:
    return datetime.fromtimestamp(clocks.wall() + seconds, UTC)


class LeasingRules(ExchangeRules):
    async def test_a_settlement_without_a_token_speaks_for_the_running_attempt(
        self, queue: JobQueueAdapter
    ) -> None:
        lease = await leased_job(queue)
        unfenced = Settlement(lease.id, None, Transition.COMPLETE)
        first, again = await settled(queue, unfenced, unfenced)
        assert first == Receipt(Answer.OK, JobStatus.COMPLETED)
        assert again == Receipt(Answer.LOST, JobStatus.COMPLETED)

    async def test_a_job_that_waits_cannot_be_settled(self, queue: JobQueueAdapter) -> None:
        job = await enqueued(queue)
        for transition in Transition:
            for token in (None, bytes(16)):
                [receipt] = await settled(queue, Settlement(job.id.bytes, token, transition))
                assert receipt == Receipt(Answer.LOST, JobStatus.PENDING)
        assert (await record(queue, job.id)).job == job

    async def test_more_completions_than_one_statement_holds(self, queue: JobQueueAdapter) -> None:
        await queue.insert([Draft.of(make_job()) for _ in range(1300)])
        leases = await leased(queue, limit=2000)
        receipts = await settled(queue, *(ending(one, Transition.COMPLETE) for one in leases))
        assert receipts == [Receipt(Answer.OK, JobStatus.COMPLETED)] * 1300
        assert (await queue.get_queue_stats("default")).completed_count == 1300

    async def test_insert_answers_none_for_each_id_that_is_taken(
        self, queue: JobQueueAdapter, clocks: Clocks
    ) -> None:
        present = await enqueued(queue, payload={"first": True})
        new = make_job(scheduled_at=in_(clocks, 50))
        drafts = [Draft.of(job) for job in (make_job(id=present.id), new, make_job(), new)]
        answers = await queue.insert(drafts)
        assert [answer and answer.status for answer in answers] == [
            None, JobStatus.SCHEDULED, JobStatus.PENDING, None,
        ]  # fmt: skip
        assert await queue.get_job(present.id) == present
        assert (await queue.get_queue_stats("default")).total == 3
        assert await queue.insert([]) == []

    async def test_renewal_answers_each_lease(self, queue: JobQueueAdapter) -> None:
        assert await queue.renew([]) == []
        held, finished = await leased_job(queue), await leased_job(queue)
        await ended(queue, finished, Transition.COMPLETE)
        unknown = held._replace(id=uuid4().bytes)
        assert await queue.renew([held]) == [Renewal(Answer.OK)]
        assert await queue.renew([held, finished, unknown]) == [
            Renewal(Answer.OK), Renewal(Answer.LOST), Renewal(Answer.NOT_FOUND),
        ]  # fmt: skip

    async def test_a_lease_that_nobody_renews_runs_out(
        self, queue: JobQueueAdapter, clocks: Clocks
    ) -> None:
        lease = await leased_job(queue)
        [recovered] = await run_out(queue, clocks)
        assert recovered.status is JobStatus.RETRYING
        assert recovered.lease == lease
        found = await record(queue, lease.job_id)
        assert (found.expiry_count, found.job.retry_count, found.attempt) == (1, 1, 1)
        assert found.error_type == "LeaseExpired"
        assert (await ended(queue, lease, Transition.COMPLETE)).answer is Answer.LOST
        assert await queue.renew([lease]) == [Renewal(Answer.LOST)]
        [again] = await leased(queue)
        assert (again.job_id, again.attempt) == (lease.job_id, 2)

    async def test_renewed_leases_do_not_run_out(
        self, queue: JobQueueAdapter, clocks: Clocks
    ) -> None:
        lease = await leased_job(queue)
        for _ in range(8):
            assert await queue.renew([lease]) == [Renewal(Answer.OK)]
            assert await queue.recover() == []
            clocks.advance(LEASE_SECONDS / 4)
        assert (await ended(queue, lease, Transition.COMPLETE)).answer is Answer.OK

    async def test_a_lease_that_renewals_skip_runs_out_alone(
        self, queue: JobQueueAdapter, clocks: Clocks
    ) -> None:
        await queue.renew([])
        forgotten, kept = await leased_job(queue), await leased_job(queue)
        recovered = []
        for _ in range(8):
            await queue.renew([kept])
            recovered += await queue.recover()
            clocks.advance(LEASE_SECONDS / 4)
        assert [found.lease.id for found in recovered] == [forgotten.id]
        assert await status(queue, kept.job_id) is JobStatus.RUNNING

    async def test_a_new_lease_has_a_whole_lease_length(
        self, queue: JobQueueAdapter, clocks: Clocks
    ) -> None:
        await queue.renew([])
        await leased_job(queue)
        await queue.recover()
        clocks.advance(LEASE_SECONDS * 0.9)
        young = await leased_job(queue)
        await queue.recover()
        clocks.advance(LEASE_SECONDS * 0.2)
        recovered = await queue.recover()
        assert young.id not in [found.lease.id for found in recovered]
        assert await status(queue, young.job_id) is JobStatus.RUNNING

    async def test_a_lease_lasts_its_length_and_not_much_longer(
        self, queue: JobQueueAdapter, clocks: Clocks
    ) -> None:
        await queue.renew([])
        old = await leased_job(queue)
        await queue.recover()
        clocks.advance(LEASE_SECONDS / 2)
        young = await leased_job(queue)
        await queue.recover()
        clocks.advance(LEASE_SECONDS / 2 + 1)
        assert [found.lease.id for found in await queue.recover()] == [old.id]
        clocks.advance(LEASE_SECONDS / 2)
        assert [found.lease.id for found in await queue.recover()] == [young.id]

    async def test_a_lease_that_has_run_out_but_was_taken_by_nobody_can_be_renewed_and_settled(
        self, queue: JobQueueAdapter, clocks: Clocks
    ) -> None:
        lease = await leased_job(queue)
        await queue.renew([])
        await queue.recover()
        clocks.advance(LEASE_SECONDS * 3)
        assert await queue.renew([lease]) == [Renewal(Answer.OK)]
        assert await queue.recover() == []
        assert (await ended(queue, lease, Transition.COMPLETE)).answer is Answer.OK

    async def test_recovery_keeps_to_its_limit(
        self, queue: JobQueueAdapter, clocks: Clocks
    ) -> None:
        await queue.insert([Draft.of(make_job()) for _ in range(5)])
        await leased(queue, limit=5)
        await queue.renew([])
        await queue.recover(0)
        await queue.recover(1)
        clocks.advance(LEASE_SECONDS + 1)
        assert [len(await queue.recover(2)) for _ in range(4)] == [2, 2, 1, 0]

    async def test_a_wall_clock_that_jumps_ends_no_lease(
        self, queue: JobQueueAdapter, clocks: Clocks
    ) -> None:
        if clocks.one_for_all:
            pytest.skip("this store judges leases by its own clock, which is nobody else's")
        await leased_job(queue)
        await queue.renew([])
        await queue.recover()
        for jump in (86400.0, -2 * 86400.0):
            clocks.wall_offset += jump
            assert await queue.recover() == []

    async def test_a_running_job_can_be_asked_to_stop(self, queue: JobQueueAdapter) -> None:
        waiting = await enqueued(queue, queue_name="other")
        lease = await leased_job(queue)
        assert await queue.request_cancel(waiting.id) is False
        assert await queue.request_cancel(uuid4()) is False
        assert await queue.request_cancel(lease.job_id) is True
        assert (await record(queue, lease.job_id)).cancel_requested
        assert await status(queue, lease.job_id) is JobStatus.RUNNING
        assert await queue.renew([lease]) == [Renewal(Answer.OK, cancel=True)]

    async def test_whoever_waits_for_requests_to_stop_is_told_of_one_that_comes(
        self, queue: JobQueueAdapter
    ) -> None:
        for _ in range(3):
            await enqueued(queue)
        one, other, _ = await leased(queue, limit=3)
        assert await queue.request_cancel(one.job_id)
        assert await self.requests(queue) == {one.key}  # made before anybody waited
        waiting = asyncio.create_task(self.requests(queue))
        await asyncio.sleep(0)
        assert await queue.request_cancel(other.job_id)
        assert await waiting in ({one.key, other.key}, {one.key})
        assert await queue.request_cancel(other.job_id)
        assert await self.requests(queue) == {one.key, other.key}

    async def test_a_request_to_stop_ends_with_its_attempt(self, queue: JobQueueAdapter) -> None:
        lease, beside = await leased_job(queue), await leased_job(queue, queue_name="other")
        assert await queue.request_cancel(lease.job_id)
        await ended(queue, lease, Transition.FAIL)
        assert await queue.request_cancel(beside.job_id)
        assert await self.requests(queue) == {beside.key}

    async def test_a_request_that_outlived_its_attempt_is_told_when_the_next_one_is_leased(
        self, queue: JobQueueAdapter
    ) -> None:
        """The attempt failed before its holder heard of it, or the holder vanished."""
        first = await leased_job(queue)
        assert await queue.request_cancel(first.job_id)
        await ended(queue, first, Transition.RETRY)
        while await self.requests(queue, within=0.2):
            pass
        [again] = await leased(queue)
        assert await self.requests(queue) == {again.key}

    async def requests(self, queue: JobQueueAdapter, within: float = 2.0) -> set[LeaseKey]:
        """Of whom the store tells; an empty answer, and none at all, say the same."""
        told: list[LeaseKey] = []
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                while not told:
                    told = await queue.cancel_requests()
        return set(told)

    async def test_wait_returns_when_a_job_comes(self, queue: JobQueueAdapter) -> None:
        await queue.exchange((), ("default",), 1)
        task = asyncio.create_task(self.waited(queue))
        await enqueued(queue)
        assert await asyncio.wait_for(task, 5)

    async def test_a_job_that_comes_between_the_look_and_the_wait_is_not_missed(
        self, queue: JobQueueAdapter
    ) -> None:
        await queue.exchange((), ("default",), 1)
        await enqueued(queue)
        async with asyncio.timeout(0.5):
            await queue.wait(("default",), 30)

    @pytest.mark.parametrize("what", ["redrive", "release", "retry", "recover"])
    async def test_wait_returns_when_a_job_comes_back(
        self, queue: JobQueueAdapter, clocks: Clocks, what: str
    ) -> None:
        lease = await leased_job(queue)
        if what == "redrive":
            await ended(queue, lease, Transition.FAIL)
        await queue.renew([])
        await queue.recover()
        task = asyncio.create_task(self.waited(queue))
        match what:
            case "redrive":
                await queue.redrive([lease.job_id])
            case "recover":
                clocks.advance(LEASE_SECONDS + 1)
                await queue.recover()
            case _:
                await ended(queue, lease, Transition(what))
        assert await asyncio.wait_for(task, 5)

    async def waited(self, queue: JobQueueAdapter) -> bool:
        """Wait as a consumer does, until a job can be leased."""
        while not await leased(queue):
            await queue.wait(("default",), 30)
        return True

    async def test_wait_returns_after_its_timeout(self, queue: JobQueueAdapter) -> None:
        await queue.exchange((), ("default",), 1)
        async with asyncio.timeout(5):
            await queue.wait(("default",), 0.02)
            await queue.wait(("default",), 0)
            await queue.wait(("default",), -1)

    async def test_enqueueing_a_job_that_died_redrives_it(self, queue: JobQueueAdapter) -> None:
        lease = await leased_job(queue, payload={"n": 1}, max_retries=0)
        await ended(queue, lease, Transition.RETRY, failure=failure())
        dead = await queue.get_job(lease.job_id)
        assert dead is not None
        assert dead.status is JobStatus.DEAD_LETTER
        again = await queue.enqueue(dead)
        assert (again.id, again.status, again.payload) == (dead.id, JobStatus.PENDING, {"n": 1})
        with pytest.raises(ConflictError):
            await queue.enqueue(dead)

    async def test_enqueueing_a_job_that_died_and_is_gone_stores_it_anew(
        self, queue: JobQueueAdapter
    ) -> None:
        gone: Job = replace(make_job(), status=JobStatus.FAILED)
        assert (await queue.enqueue(gone)).status is JobStatus.PENDING

    async def test_a_caller_who_gives_up_on_dequeue_takes_no_job_along(
        self, queue: JobQueueAdapter
    ) -> None:
        job = await enqueued(queue)
        for _ in range(20):
            task = asyncio.create_task(queue.dequeue("default", timeout=5))
            await asyncio.sleep(0)
            task.cancel()
            taken: list[Job | BaseException | None] = [
                *await asyncio.gather(task, return_exceptions=True)
            ]
            if isinstance(taken[0], Job):  # it was quicker than the cancellation
                [held] = [Settlement(job.id.bytes, None, Transition.RELEASE)]
                await settled(queue, held)
        found = await queue.dequeue("default", timeout=5)
        assert found is not None
        assert found.id == job.id

    async def test_ids_may_be_given_as_text(self, queue: JobQueueAdapter) -> None:
        job = await enqueued(queue)
        text: UUID = str(job.id)  # type: ignore[assignment]  # what callers with JSON do
        assert await queue.get_job(text) == job
        assert await queue.inspect(text) is not None
        assert await queue.cancel_job(text) is True
        assert await queue.redrive([text]) in ([job.id], [text])
