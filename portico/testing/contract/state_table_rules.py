"""The state table: what each transition does to a job, and what it counts."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest

from portico.ports.job import JobStatus
from portico.ports.job_queue import JobQueueAdapter
from portico.ports.leasing import (
    MAX_CRASHES,
    MAX_EXPIRIES,
    Answer,
    JobRecord,
    Lease,
    Transition,
)
from portico.testing.contract.queue_support import (
    Clocks,
    ended,
    enqueued,
    failure,
    leased,
    leased_job,
    record,
    run_out,
)

_COUNTERS = ("release_count", "snooze_count", "crash_count", "expiry_count")


def counters(found: JobRecord) -> dict[str, int]:
    """The counters that are not zero."""
    counted = {name: getattr(found, name) for name in _COUNTERS}
    counted["retry_count"] = found.job.retry_count
    return {name: value for name, value in counted.items() if value}


async def again(queue: JobQueueAdapter, clocks: Clocks) -> Lease:
    """Lease the only job once it is due."""
    clocks.advance(7200)
    [lease] = await leased(queue)
    return lease


class StateTableRules:
    async def test_enqueue_starts_with_nothing_counted(self, queue: JobQueueAdapter) -> None:
        found = await record(queue, (await enqueued(queue)).id)
        assert (found.attempt, counters(found)) == (0, {})
        assert found.due_at == found.job.created_at
        assert (found.suspect, found.cancel_requested, found.ended_by_attempt) == (False,) * 3
        assert (found.error_type, found.traceback, found.result, found.owner) == (None,) * 4

    async def test_lease_counts_the_attempt_and_names_the_owner(
        self, queue: JobQueueAdapter
    ) -> None:
        lease = await leased_job(queue)
        found = await record(queue, lease.job_id)
        assert (found.job.status, found.attempt, counters(found)) == (JobStatus.RUNNING, 1, {})
        assert found.owner
        assert found.due_at is None

    async def test_complete_stores_the_result(self, queue: JobQueueAdapter) -> None:
        lease = await leased_job(queue)
        await ended(queue, lease, Transition.COMPLETE, result=b'{"rows":3}')
        found = await record(queue, lease.job_id)
        assert found.job.status is JobStatus.COMPLETED
        assert found.result == {"rows": 3}
        assert found.ended_by_attempt
        assert found.owner is None
        assert found.job.completed_at is not None

    async def test_retry_waits_for_its_delay(self, queue: JobQueueAdapter, clocks: Clocks) -> None:
        lease = await leased_job(queue)
        receipt = await ended(queue, lease, Transition.RETRY, failure=failure(), delay=90)
        assert receipt.status is JobStatus.RETRYING
        found = await record(queue, lease.job_id)
        assert counters(found) == {"retry_count": 1}
        assert (found.error_type, found.job.error_message) == ("ValueError", "it broke")
        assert found.traceback == "Traceback: ..."
        assert found.job.failed_at is None
        assert await leased(queue) == []
        clocks.advance(91)
        [lease] = await leased(queue)
        assert (lease.attempt, lease.retry_count, lease.error_message) == (2, 1, "it broke")

    async def test_retry_dead_letters_when_no_retry_is_left(
        self, queue: JobQueueAdapter, clocks: Clocks
    ) -> None:
        lease = await leased_job(queue, max_retries=1)
        await ended(queue, lease, Transition.RETRY, failure=failure("first"))
        lease = await again(queue, clocks)
        receipt = await ended(queue, lease, Transition.RETRY, failure=failure("second"))
        assert receipt.status is JobStatus.DEAD_LETTER
        found = await record(queue, lease.job_id)
        assert (found.attempt, counters(found)) == (2, {"retry_count": 1})
        assert found.ended_by_attempt
        assert found.job.failed_at is not None
        assert found.job.error_message == "second"

    async def test_fail_is_final(self, queue: JobQueueAdapter) -> None:
        lease = await leased_job(queue)
        receipt = await ended(queue, lease, Transition.FAIL, failure=failure())
        assert receipt.status is JobStatus.FAILED
        found = await record(queue, lease.job_id)
        assert (found.attempt, counters(found), found.ended_by_attempt) == (1, {}, True)
        assert found.job.failed_at is not None

    async def test_quarantine_dead_letters(self, queue: JobQueueAdapter) -> None:
        lease = await leased_job(queue)
        why = failure("not JSON", "PayloadInvalid")
        receipt = await ended(queue, lease, Transition.QUARANTINE, failure=why)
        assert receipt.status is JobStatus.DEAD_LETTER
        found = await record(queue, lease.job_id)
        assert (found.error_type, counters(found)) == ("PayloadInvalid", {})

    @pytest.mark.parametrize("max_retries", [0, 3])
    async def test_release_charges_nothing(self, queue: JobQueueAdapter, max_retries: int) -> None:
        lease = await leased_job(queue, max_retries=max_retries)
        before = (await record(queue, lease.job_id)).job.created_at
        receipt = await ended(queue, lease, Transition.RELEASE)
        assert receipt.status is JobStatus.PENDING
        found = await record(queue, lease.job_id)
        assert counters(found) == {"release_count": 1}
        assert found.due_at == before
        assert found.job.error_message is None
        [lease] = await leased(queue)
        assert (lease.attempt, lease.retry_count, lease.suspect) == (2, 0, False)

    @pytest.mark.parametrize("transition", [Transition.INTERRUPT, Transition.SUSPECT])
    async def test_what_is_not_the_jobs_fault_charges_nothing(
        self, queue: JobQueueAdapter, transition: Transition
    ) -> None:
        lease = await leased_job(queue, max_retries=1)
        receipt = await ended(queue, lease, transition, failure=failure("the worker died"))
        assert receipt.status is JobStatus.PENDING
        found = await record(queue, lease.job_id)
        assert counters(found) == {"release_count": 1}
        assert found.suspect is (transition is Transition.SUSPECT)
        [lease] = await leased(queue)
        assert lease.suspect is (transition is Transition.SUSPECT)

    @pytest.mark.parametrize(
        "transition", [Transition.INTERRUPT, Transition.SUSPECT, Transition.CRASH]
    )
    @pytest.mark.parametrize("told", [True, False])
    async def test_a_job_never_to_start_twice_dies_when_its_outcome_is_unknown(
        self, queue: JobQueueAdapter, transition: Transition, told: bool
    ) -> None:
        lease = await leased_job(queue, max_retries=0)
        why = failure("killed by SIGKILL", "WorkerLostError") if told else None
        receipt = await ended(queue, lease, transition, failure=why)
        assert receipt.status is JobStatus.DEAD_LETTER
        found = await record(queue, lease.job_id)
        assert (found.attempt, found.ended_by_attempt) == (1, True)
        assert (found.release_count, found.job.retry_count) == (0, 0)
        message = found.job.error_message or ""
        assert "outcome is unknown" in message
        assert "never to start twice" in message
        assert ("killed by SIGKILL" in message) is told
        assert await leased(queue) == []

    async def test_a_job_never_to_start_twice_dies_when_its_lease_runs_out(
        self, queue: JobQueueAdapter, clocks: Clocks
    ) -> None:
        lease = await leased_job(queue, max_retries=0)
        [recovered] = await run_out(queue, clocks)
        assert recovered.status is JobStatus.DEAD_LETTER
        found = await record(queue, lease.job_id)
        assert (counters(found), found.ended_by_attempt) == ({"expiry_count": 1}, True)
        assert "never to start twice" in (found.job.error_message or "")
        assert await leased(queue) == []

    async def test_a_crash_uses_a_retry(self, queue: JobQueueAdapter, clocks: Clocks) -> None:
        lease = await leased_job(queue, max_retries=1)
        await ended(queue, lease, Transition.CRASH, failure=failure(), delay=5)
        found = await record(queue, lease.job_id)
        assert found.job.status is JobStatus.RETRYING
        assert counters(found) == {"retry_count": 1, "crash_count": 1}
        lease = await again(queue, clocks)
        receipt = await ended(queue, lease, Transition.CRASH, failure=failure())
        assert receipt.status is JobStatus.DEAD_LETTER
        assert counters(await record(queue, lease.job_id)) == {"retry_count": 1, "crash_count": 2}

    async def test_too_many_crashes_dead_letter_a_job_with_retries_left(
        self, queue: JobQueueAdapter, clocks: Clocks
    ) -> None:
        job = await enqueued(queue, max_retries=50)
        for crash in range(1, MAX_CRASHES + 1):
            lease = await again(queue, clocks)
            receipt = await ended(queue, lease, Transition.CRASH, failure=failure())
            assert (receipt.status is JobStatus.DEAD_LETTER) is (crash == MAX_CRASHES)
            assert (await record(queue, job.id)).crash_count == crash
        assert (await record(queue, job.id)).job.retry_count == MAX_CRASHES - 1

    async def test_too_many_expiries_dead_letter_a_job_with_retries_left(
        self, queue: JobQueueAdapter, clocks: Clocks
    ) -> None:
        job = await enqueued(queue, max_retries=50)
        for expiry in range(1, MAX_EXPIRIES + 1):
            await leased(queue)
            [recovered] = await run_out(queue, clocks)
            assert (recovered.status is JobStatus.DEAD_LETTER) is (expiry == MAX_EXPIRIES)
            assert (await record(queue, job.id)).expiry_count == expiry
        assert (await record(queue, job.id)).job.retry_count == MAX_EXPIRIES - 1

    async def test_snooze_puts_off_without_charging(
        self, queue: JobQueueAdapter, clocks: Clocks
    ) -> None:
        lease = await leased_job(queue, max_retries=0)
        why = failure("nobody serves it", "UnknownJobType")
        receipt = await ended(queue, lease, Transition.SNOOZE, failure=why, delay=30)
        assert receipt.status is JobStatus.SCHEDULED
        found = await record(queue, lease.job_id)
        assert counters(found) == {"snooze_count": 1}
        assert found.job.error_message == "nobody serves it"
        assert await leased(queue) == []
        clocks.advance(31)
        assert len(await leased(queue)) == 1

    async def test_snoozing_ends_when_patience_does(
        self, queue: JobQueueAdapter, clocks: Clocks
    ) -> None:
        job = await enqueued(queue)
        statuses = []
        for _ in range(5):
            [lease] = await leased(queue)
            receipt = await ended(
                queue, lease, Transition.SNOOZE, failure=failure(), delay=10, patience=35
            )
            statuses.append(receipt.status)
            clocks.advance(10.5)
        assert statuses == [JobStatus.SCHEDULED] * 4 + [JobStatus.DEAD_LETTER]
        found = await record(queue, job.id)
        assert (found.snooze_count, found.ended_by_attempt) == (4, True)
        assert found.job.failed_at is not None

    async def test_snoozing_without_patience_goes_on(
        self, queue: JobQueueAdapter, clocks: Clocks
    ) -> None:
        await enqueued(queue)
        for _ in range(5):
            lease = await again(queue, clocks)
            receipt = await ended(queue, lease, Transition.SNOOZE, delay=10)
            assert receipt.status is JobStatus.SCHEDULED

    @pytest.mark.parametrize(
        ("between", "expected"),
        [
            (Transition.RELEASE, JobStatus.DEAD_LETTER),
            (Transition.RETRY, JobStatus.SCHEDULED),
            (Transition.INTERRUPT, JobStatus.SCHEDULED),
            (Transition.CRASH, JobStatus.SCHEDULED),
        ],
    )
    async def test_patience_begins_anew_once_the_job_was_started(
        self,
        queue: JobQueueAdapter,
        clocks: Clocks,
        between: Transition,
        expected: JobStatus,
    ) -> None:
        lease = await leased_job(queue)
        await ended(queue, lease, Transition.SNOOZE, delay=1, patience=60)
        await ended(queue, await again(queue, clocks), between)
        lease = await again(queue, clocks)
        receipt = await ended(queue, lease, Transition.SNOOZE, delay=1, patience=60)
        assert receipt.status is expected

    async def test_a_cancelled_job_is_not_ended_by_an_attempt(self, queue: JobQueueAdapter) -> None:
        lease = await leased_job(queue)
        await ended(queue, lease, Transition.RETRY, failure=failure())
        assert await queue.cancel_job(lease.job_id) is True
        found = await record(queue, lease.job_id)
        assert found.job.status is JobStatus.FAILED
        assert not found.ended_by_attempt
        assert (found.error_type, found.traceback) == ("Cancelled", None)

    @pytest.mark.parametrize("transition", [Transition.FAIL, Transition.QUARANTINE])
    async def test_redrive_starts_afresh_and_keeps_the_last_error(
        self, queue: JobQueueAdapter, clocks: Clocks, transition: Transition
    ) -> None:
        lease = await leased_job(queue)
        for charged in (Transition.CRASH, Transition.SUSPECT, Transition.SNOOZE, transition):
            await ended(queue, lease, charged, failure=failure("the last word"))
            if charged is not transition:
                lease = await again(queue, clocks)
        clocks.advance(100)
        assert await queue.redrive([lease.job_id, uuid4()]) == [lease.job_id]
        found = await record(queue, lease.job_id)
        assert found.job.status is JobStatus.PENDING
        assert (found.attempt, counters(found), found.suspect) == (0, {}, False)
        assert not found.ended_by_attempt
        assert found.job.failed_at is None
        assert found.job.error_message == "the last word"
        assert (await ended(queue, lease, transition)).answer is Answer.LOST
        [lease] = await leased(queue)
        assert (lease.attempt, lease.retry_count) == (1, 0)

    async def test_redrive_leaves_other_jobs_alone(self, queue: JobQueueAdapter) -> None:
        running = (await leased_job(queue)).job_id
        done = await leased_job(queue)
        await ended(queue, done, Transition.COMPLETE)
        waiting = (await enqueued(queue)).id
        others: list[UUID] = [running, done.job_id, waiting]
        before = [await record(queue, job_id) for job_id in others]
        assert await queue.redrive(others) == []
        assert [await record(queue, job_id) for job_id in others] == before

    async def test_a_redriven_job_waits_behind_those_that_are_due_already(
        self, queue: JobQueueAdapter, clocks: Clocks
    ) -> None:
        lease = await leased_job(queue)
        await ended(queue, lease, Transition.FAIL)
        younger = await enqueued(queue)
        clocks.advance(1)
        await queue.redrive([lease.job_id])
        order = [one.job_id for one in await leased(queue, limit=2)]
        assert order == [younger.id, lease.job_id]

    @pytest.mark.parametrize("delay", [-5.0, float("nan"), float("-inf")])
    async def test_a_delay_that_is_none_means_at_once(
        self, queue: JobQueueAdapter, delay: float
    ) -> None:
        lease = await leased_job(queue)
        await ended(queue, lease, Transition.RETRY, delay=delay)
        assert len(await leased(queue)) == 1

    async def test_an_endless_delay_is_cut_to_what_can_be_stored(
        self, queue: JobQueueAdapter
    ) -> None:
        lease = await leased_job(queue)
        await ended(queue, lease, Transition.RETRY, delay=float("inf"))
        assert (await record(queue, lease.job_id)).due_at is not None

    async def test_failures_are_stored_as_text_that_every_store_can_hold(
        self, queue: JobQueueAdapter
    ) -> None:
        lease = await leased_job(queue)
        odd = failure("half a \udc80 pair, a \0, and too much: " + "å" * 10_000)
        odd = odd._replace(traceback="line\n" * 10_000 + "the end")
        assert (await ended(queue, lease, Transition.RETRY, failure=odd)).answer is Answer.OK
        found = await record(queue, lease.job_id)
        message = found.job.error_message or ""
        assert message.startswith("half a ? pair, a \ufffd, and too much: å")
        assert len(message.encode()) <= 8 * 1024
        assert (found.traceback or "").endswith("the end")
        assert len(found.traceback or "") <= 16 * 1024
