"""The rules of what a store remembers of the attempts of a job."""

from __future__ import annotations

from datetime import timedelta

import pytest

from portico.ports.job import JobStatus
from portico.ports.job_queue import JobQueueAdapter
from portico.ports.leasing import (
    CANCELLED,
    MAX_HISTORY,
    Answer,
    AttemptRecord,
    Evidence,
    Failure,
    JobFilter,
    Lease,
    Transition,
)
from portico.testing.contract.queue_support import (
    Clocks,
    ended,
    ending,
    enqueued,
    leased,
    leased_job,
    record,
    run_out,
    settled,
)

SEEN = Evidence(4711, None, "SIGSEGV", True, 1.25, 3.5, 48 * 2**20, "one\ntwo")
CRASH = Failure("WorkerLostError", "the worker was killed by SIGSEGV", "the stack", SEEN)


async def history(queue: JobQueueAdapter, lease: Lease) -> tuple[AttemptRecord, ...]:
    return (await record(queue, lease.job_id)).attempts


class HistoryRules:
    async def test_a_job_that_has_not_ended_an_attempt_has_no_history(
        self, queue: JobQueueAdapter
    ) -> None:
        waiting = await enqueued(queue, queue_name="other")
        assert (await record(queue, waiting.id)).attempts == ()
        assert await history(queue, await leased_job(queue)) == ()

    async def test_an_attempt_keeps_what_was_seen_of_it(
        self, queue: JobQueueAdapter, clocks: Clocks
    ) -> None:
        lease = await leased_job(queue)
        clocks.advance(10)
        await ended(queue, lease, Transition.CRASH, failure=CRASH)
        [attempt] = await history(queue, lease)
        assert (attempt.attempt, attempt.ended_as) == (1, "crash")
        assert (attempt.error_type, attempt.error_message) == (CRASH.type, CRASH.message)
        assert attempt.traceback == "the stack"
        assert attempt.evidence == SEEN
        assert attempt.started_at is not None
        took = attempt.ended_at - attempt.started_at
        assert timedelta(seconds=10) <= took < timedelta(seconds=15)
        assert attempt.owner

    @pytest.mark.parametrize(
        ("how", "word"),
        [(Transition.RETRY, "dead_letter"), (Transition.CRASH, "crash"),
         (Transition.INTERRUPT, "interrupt"), (Transition.QUARANTINE, "quarantine")],
    )  # fmt: skip
    async def test_the_end_of_an_attempt_that_was_the_last_is_no_retry(
        self, queue: JobQueueAdapter, how: Transition, word: str
    ) -> None:
        lease = await leased_job(queue, max_retries=0)
        receipt = await ended(queue, lease, how, failure=Failure("E", "e"))
        assert receipt.status is JobStatus.DEAD_LETTER
        assert [attempt.ended_as for attempt in await history(queue, lease)] == [word]
        again = await ended(queue, lease, how, failure=Failure("E", "e"))
        assert again == (Answer.ALREADY, JobStatus.DEAD_LETTER)

    async def test_an_attempt_that_was_cancelled_says_so(self, queue: JobQueueAdapter) -> None:
        lease, other = await leased_job(queue), await leased_job(queue)
        await ended(queue, lease, Transition.FAIL, failure=CANCELLED)
        await ended(queue, other, Transition.FAIL, failure=Failure("Cancelled", "by the bank"))
        assert [attempt.ended_as for attempt in await history(queue, lease)] == ["cancel"]
        assert [attempt.ended_as for attempt in await history(queue, other)] == ["fail"]

    async def test_of_a_completed_job_only_its_history_tells_what_went_wrong(
        self, queue: JobQueueAdapter
    ) -> None:
        first = await leased_job(queue)
        await ended(queue, first, Transition.RETRY, failure=CRASH)
        [second] = await leased(queue)
        await ended(queue, second, Transition.COMPLETE, result=b"{}")
        found = await record(queue, first.job_id)
        assert (found.error_type, found.job.error_message, found.traceback) == (None, None, None)
        assert found.attempts[0].error_message == CRASH.message
        [listed] = (await queue.list_jobs(JobFilter())).jobs
        assert listed.error_message is None

    @pytest.mark.parametrize("transition", sorted(set(Transition) - {Transition.COMPLETE}))
    async def test_every_attempt_that_did_not_succeed_is_remembered(
        self, queue: JobQueueAdapter, transition: Transition
    ) -> None:
        lease = await leased_job(queue)
        await ended(queue, lease, transition, failure=Failure("E", "e"))
        [attempt] = await history(queue, lease)
        assert (attempt.attempt, attempt.ended_as) == (1, transition.value)
        assert attempt.evidence == Evidence()

    async def test_being_put_off_without_a_reason_displaces_no_attempt_from_the_history(
        self, queue: JobQueueAdapter
    ) -> None:
        lease = await leased_job(queue)
        await ended(queue, lease, Transition.SNOOZE)
        assert await history(queue, lease) == ()

    async def test_an_expired_lease_is_remembered_with_who_held_it(
        self, queue: JobQueueAdapter, clocks: Clocks
    ) -> None:
        lease = await leased_job(queue)
        holder = (await record(queue, lease.job_id)).owner
        await run_out(queue, clocks)
        [attempt] = await history(queue, lease)
        assert (attempt.ended_as, attempt.error_type) == ("expire", "LeaseExpired")
        assert attempt.owner == holder is not None

    async def test_a_success_ends_the_history_of_what_went_wrong_before(
        self, queue: JobQueueAdapter
    ) -> None:
        first = await leased_job(queue)
        await ended(queue, first, Transition.RETRY, failure=CRASH)
        [second] = await leased(queue)
        await ended(queue, second, Transition.COMPLETE, result=b"{}")
        failed, succeeded = await history(queue, first)
        assert (failed.attempt, failed.ended_as) == (1, "retry")
        assert (succeeded.attempt, succeeded.ended_as) == (2, "complete")
        assert (succeeded.error_type, succeeded.error_message) == (None, None)
        job = (await record(queue, first.job_id)).job
        assert (succeeded.started_at, succeeded.ended_at) == (job.started_at, job.completed_at)

    async def test_what_changes_nothing_leaves_no_record(self, queue: JobQueueAdapter) -> None:
        lease = await leased_job(queue)
        stale = lease._replace(token=bytes(16))
        await ended(queue, stale, Transition.FAIL, failure=CRASH)
        assert await history(queue, lease) == ()
        for _ in range(2):
            await ended(queue, lease, Transition.FAIL, failure=CRASH)
        assert len(await history(queue, lease)) == 1

    async def test_a_history_keeps_the_newest_attempts(self, queue: JobQueueAdapter) -> None:
        lease = await leased_job(queue)
        await ended(queue, lease, Transition.RELEASE)
        for _ in range(MAX_HISTORY + 4):
            [lease] = await leased(queue)
            await ended(queue, lease, Transition.RELEASE)
        attempts = await history(queue, lease)
        assert [a.attempt for a in attempts] == list(range(6, MAX_HISTORY + 6))

    async def test_a_redrive_keeps_the_history(self, queue: JobQueueAdapter) -> None:
        lease = await leased_job(queue)
        await ended(queue, lease, Transition.FAIL, failure=CRASH)
        assert await queue.redrive([lease.job_id]) == [lease.job_id]
        [again] = await leased(queue)
        await ended(queue, again, Transition.QUARANTINE)
        attempts = await history(queue, lease)
        assert [(a.attempt, a.ended_as) for a in attempts] == [(1, "fail"), (1, "quarantine")]

    async def test_a_purge_takes_the_history_of_that_job_with_it(
        self, queue: JobQueueAdapter
    ) -> None:
        kept, gone = await leased_job(queue), await leased_job(queue, queue_name="other")
        await ended(queue, kept, Transition.FAIL, failure=CRASH)
        await ended(queue, gone, Transition.FAIL, failure=CRASH)
        assert await queue.purge(JobFilter(queue_name="other")) == 1
        again = await enqueued(queue, id=gone.job_id)
        assert (await record(queue, again.id)).attempts == ()
        assert len(await history(queue, kept)) == 1

    async def test_batches_remember_each_job_by_itself(self, queue: JobQueueAdapter) -> None:
        for _ in range(3):
            await enqueued(queue)
        one, two, three = await leased(queue, limit=3)
        await settled(
            queue,
            ending(one, Transition.COMPLETE),
            ending(two, Transition.FAIL, failure=CRASH),
            ending(three, Transition.COMPLETE),
        )
        found = [[a.ended_as for a in await history(queue, job)] for job in (one, two, three)]
        assert found == [["complete"], ["fail"], ["complete"]]

    async def test_evidence_that_cannot_be_is_left_out(self, queue: JobQueueAdapter) -> None:
        """It comes from a process that runs anybody's code."""
        lease = await leased_job(queue)
        absurd = Evidence(-1, 2**70, "\0" * 5000, False, float("nan"), float("inf"), 2**64)
        failure = Failure("E\0", "m\ud800", evidence=absurd)
        await ended(queue, lease, Transition.RETRY, failure=failure)
        [attempt] = await history(queue, lease)
        name = attempt.evidence.signal or ""
        assert attempt.evidence == Evidence(signal=name)
        assert len(name.encode()) <= 256

    async def test_the_texts_of_an_attempt_are_bounded_and_keep_their_end(
        self, queue: JobQueueAdapter
    ) -> None:
        lease = await leased_job(queue)
        long = "\0ü" * 50_000 + "the end"
        failure = Failure("E", long, long, Evidence(output=long))
        await ended(queue, lease, Transition.RETRY, failure=failure)
        [attempt] = await history(queue, lease)
        assert len((attempt.error_message or "").encode()) <= 8 * 1024
        assert len(attempt.traceback or "") <= 16 * 1024
        assert len(attempt.evidence.output.encode()) <= 4 * 1024
        assert attempt.evidence.output.endswith("the end")
        assert (attempt.traceback or "").endswith("the end")
