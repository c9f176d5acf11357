"""Rules that were written because a broken adapter passed all others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

from portico.ports.draft import Draft
from portico.ports.job import JobStatus
from portico.ports.job_queue import JobQueueAdapter
from portico.ports.leasing import Answer, JobFilter, Transition
from portico.testing.contract.queue_support import (
    LEASE_SECONDS,
    Clocks,
    ended,
    enqueued,
    leased,
    leased_job,
    record,
    run_out,
    status,
)
from portico.testing.jobs import make_job


class MoreRules:
    async def test_a_store_that_lost_a_lease_gives_out_another_token_for_the_same_attempt(
        self, queue: JobQueueAdapter, another_queue: Callable[[], JobQueueAdapter]
    ) -> None:
        """A replica that never heard of a lease repeats its attempt number, and nothing else."""
        draft = Draft.of(make_job())
        replica = another_queue()
        await replica.initialize()
        for store in (queue, replica):
            await store.insert([draft])
        [before], [after] = await leased(queue), await leased(replica)
        await replica.close()
        assert before.attempt == after.attempt
        assert before.token != after.token

    async def test_recovery_leaves_what_has_ended_alone(
        self, queue: JobQueueAdapter, clocks: Clocks
    ) -> None:
        jobs = {}
        for transition in (Transition.COMPLETE, Transition.FAIL, Transition.QUARANTINE):
            lease = await leased_job(queue)
            await ended(queue, lease, transition)
            jobs[lease.job_id] = await record(queue, lease.job_id)
        await leased_job(queue)
        assert len(await run_out(queue, clocks)) == 1
        for job_id, before in jobs.items():
            assert await record(queue, job_id) == before

    async def test_purging_a_finished_job_takes_it_away_and_calls_it_nothing_else(
        self, queue: JobQueueAdapter
    ) -> None:
        done = await leased_job(queue)
        await ended(queue, done, Transition.COMPLETE)
        kept = await leased_job(queue)
        await ended(queue, kept, Transition.COMPLETE)
        assert await queue.purge(JobFilter(), 1) == 1
        [left] = (await queue.list_jobs(JobFilter())).jobs
        assert left.status is JobStatus.COMPLETED
        assert (await queue.get_queue_stats("default")).total == 1

    async def test_two_consumers_that_exchange_at_once_share_nothing(
        self, queue: JobQueueAdapter
    ) -> None:
        await queue.insert([Draft.of(make_job()) for _ in range(12)])
        exchanges = await asyncio.gather(*(queue.exchange((), ("default",), 5) for _ in range(4)))
        taken = [lease.job_id for exchange in exchanges for lease in exchange.leases]
        assert len(taken) == len(set(taken)) == 12

    async def test_a_job_leased_and_not_settled_is_still_there(
        self, queue: JobQueueAdapter, clocks: Clocks
    ) -> None:
        lease = await leased_job(queue)
        assert await status(queue, lease.job_id) is JobStatus.RUNNING
        assert (await queue.get_queue_stats("default")).running_count == 1
        await run_out(queue, clocks)
        assert [again.job_id for again in await leased(queue)] == [lease.job_id]

    async def test_an_attempt_that_was_given_up_cannot_keep_the_next_one_alive(
        self, queue: JobQueueAdapter, clocks: Clocks
    ) -> None:
        stale = await leased_job(queue)
        await ended(queue, stale, Transition.RELEASE)
        [current] = await leased(queue)
        await queue.renew([])
        await queue.recover()
        clocks.advance(LEASE_SECONDS / 2)
        assert [renewal.answer for renewal in await queue.renew([stale])] == [Answer.LOST]
        await queue.recover()
        clocks.advance(LEASE_SECONDS / 2 + 1)
        assert [found.lease.token for found in await queue.recover()] == [current.token]

    async def test_a_wall_clock_set_back_hides_a_scheduled_job_until_it_is_due_again(
        self, queue: JobQueueAdapter, clocks: Clocks
    ) -> None:
        due = datetime.fromtimestamp(clocks.wall() + 10, UTC)
        first = await enqueued(queue, scheduled_at=due, priority=1)
        second = await enqueued(queue, scheduled_at=due)
        clocks.advance(20)
        assert [lease.job_id for lease in await leased(queue)] == [first.id]
        clocks.wall_offset -= 60
        assert await leased(queue) == []
        clocks.wall_offset += 60
        assert [lease.job_id for lease in await leased(queue)] == [second.id]

    async def test_purge_without_a_filter_leaves_jobs_that_wait_or_run(
        self, queue: JobQueueAdapter
    ) -> None:
        running = await leased_job(queue)
        waiting = await enqueued(queue)
        assert await queue.purge(JobFilter(queue_name="default")) == 0
        assert await status(queue, running.job_id) is JobStatus.RUNNING
        assert await status(queue, waiting.id) is JobStatus.PENDING
