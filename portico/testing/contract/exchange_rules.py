"""The rules of one exchange: which jobs it leases, in which order, and whose settlements count."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from portico.exceptions import DatabaseError
from portico.ports.draft import Draft
from portico.ports.job import JobStatus
from portico.ports.job_queue import JobQueueAdapter
from portico.ports.leasing import (
    Answer,
    Evidence,
    JobFilter,
    Receipt,
    Renewal,
    Settlement,
    Transition,
)
from portico.testing.contract.queue_support import (
    Clocks,
    ended,
    ending,
    enqueued,
    failure,
    leased,
    leased_job,
    record,
    settled,
    status,
)
from portico.testing.jobs import make_job


def in_(clocks: Clocks, seconds: float) -> datetime:
    return datetime.fromtimestamp(clocks.wall() + seconds, UTC)


class ExchangeRules:
    async def test_it_keeps_all_that_the_port_offers(self, queue: JobQueueAdapter) -> None:
        assert queue.limitations() == []

    async def test_a_lease_holds_the_job_as_it_was_stored(
        self, queue: JobQueueAdapter, clocks: Clocks
    ) -> None:
        creator = uuid4()
        job = make_job(
            payload={"å": [1, "\u2028"]},
            metadata={"m": 1},
            priority=4,
            max_retries=2,
            created_by=creator,
            scheduled_at=in_(clocks, -1).replace(microsecond=654321),
        )
        stored = await queue.enqueue(job)
        [lease] = await leased(queue)
        draft = Draft.of(job)
        assert (lease.payload, lease.metadata) == (draft.payload, draft.metadata)
        assert (lease.job_id, lease.queue_name, lease.job_type) == (job.id, "default", "test.job")
        assert (lease.priority, lease.max_retries, lease.retry_count) == (4, 2, 0)
        assert (lease.attempt, lease.suspect, lease.error_message) == (1, False, None)
        assert lease.created_by == creator.bytes
        epoch = datetime(1970, 1, 1, tzinfo=UTC)
        for instant, value in (
            (stored.created_at, lease.created_at),
            (stored.scheduled_at, lease.scheduled_at),
            ((await record(queue, job.id)).job.started_at, lease.started_at),
        ):
            assert instant is not None
            elapsed = instant - epoch
            assert (elapsed.days * 86400 + elapsed.seconds) * 10**6 + elapsed.microseconds == value

    async def test_a_token_begins_with_the_attempt_and_is_new_every_time(
        self, queue: JobQueueAdapter
    ) -> None:
        lease = await leased_job(queue)
        await ended(queue, lease, Transition.RELEASE)
        [again] = await leased(queue)
        assert len(lease.token) == 16
        assert lease.token[:4] == (1).to_bytes(4, "big")
        assert again.token[:4] == (2).to_bytes(4, "big")
        assert lease.token[4:] != again.token[4:]

    async def test_leases_come_in_the_order_of_priority_then_due_instant_then_age(
        self, queue: JobQueueAdapter, clocks: Clocks
    ) -> None:
        due_in = {0: 30, 1: 10, 2: 20}
        scheduled = [await enqueued(queue, scheduled_at=in_(clocks, due_in[n])) for n in range(3)]
        urgent = [
            await enqueued(queue, priority=9, scheduled_at=in_(clocks, delay)) for delay in (50, 40)
        ]
        clocks.advance(60)
        pending = [await enqueued(queue, priority=priority) for priority in (0, 0, 9, -1)]
        expected = [
            urgent[1], urgent[0], pending[2],
            scheduled[1], scheduled[2], scheduled[0], pending[0], pending[1],
            pending[3],
        ]  # fmt: skip
        leases = await leased(queue, limit=100)
        assert [lease.job_id for lease in leases] == [job.id for job in expected]

    async def test_jobs_of_one_insert_keep_their_order(self, queue: JobQueueAdapter) -> None:
        drafts = [Draft.of(make_job()) for _ in range(50)]
        await queue.insert(drafts)
        leases = [*await leased(queue, limit=20), *await leased(queue, limit=100)]
        assert [lease.job_id for lease in leases] == [draft.id for draft in drafts]

    async def test_a_limit_splits_the_due_jobs_where_the_order_says(
        self, queue: JobQueueAdapter, clocks: Clocks
    ) -> None:
        for priority in (1, 2, 3):
            await enqueued(queue, priority=priority, scheduled_at=in_(clocks, 5))
            await enqueued(queue, priority=priority)
        clocks.advance(6)
        first = await leased(queue, limit=3)
        second = await leased(queue, limit=3)
        assert [lease.priority for lease in (*first, *second)] == [3, 3, 2, 2, 1, 1]

    async def test_queues_are_served_in_the_given_order(self, queue: JobQueueAdapter) -> None:
        for name in ("low", "high", "low", "high"):
            await enqueued(queue, queue_name=name, priority=100 if name == "low" else 0)
        leases = await leased(queue, "high", "missing", "low", limit=3)
        assert [lease.queue_name for lease in leases] == ["high", "high", "low"]

    async def test_a_limit_of_nothing_leases_nothing(self, queue: JobQueueAdapter) -> None:
        await enqueued(queue)
        for limit in (0, -1):
            assert await leased(queue, limit=limit) == []

    async def test_of_the_jobs_of_one_priority_only_the_due_ones_are_leased(
        self, queue: JobQueueAdapter, clocks: Clocks
    ) -> None:
        due = [await enqueued(queue, scheduled_at=in_(clocks, 10)) for _ in range(2)]
        for seconds in (60, 90):
            await enqueued(queue, scheduled_at=in_(clocks, seconds))
        clocks.advance(11)
        leases = await leased(queue, limit=10)
        assert [lease.job_id for lease in leases] == [job.id for job in due]

    async def test_a_released_job_keeps_its_place(self, queue: JobQueueAdapter) -> None:
        jobs = [await enqueued(queue) for _ in range(3)]
        lease, _ = await leased(queue, limit=2)
        await ended(queue, lease, Transition.RELEASE)
        assert [lease.job_id for lease in await leased(queue, limit=3)] == [jobs[0].id, jobs[2].id]

    async def test_a_wall_clock_set_back_hides_no_pending_job(
        self, queue: JobQueueAdapter, clocks: Clocks
    ) -> None:
        job = await enqueued(queue)
        clocks.wall_offset -= 3600
        assert [lease.job_id for lease in await leased(queue)] == [job.id]

    async def test_the_next_due_instant_is_that_of_the_nearest_waiting_job(
        self, queue: JobQueueAdapter, clocks: Clocks
    ) -> None:
        assert (await queue.exchange((), ("default",), 5)).next_due is None
        await enqueued(queue, scheduled_at=in_(clocks, 500), priority=9)
        await enqueued(queue, scheduled_at=in_(clocks, 100))
        await enqueued(queue, queue_name="other", scheduled_at=in_(clocks, 10))
        nearest = (await queue.exchange((), ("default",), 5)).next_due
        assert nearest == pytest.approx(100, abs=2)
        nearest = (await queue.exchange((), ("default", "other"), 5)).next_due
        assert nearest == pytest.approx(10, abs=2)
        clocks.advance(50)
        exchange = await queue.exchange((), ("default", "other"), 5)
        assert len(exchange.leases) == 1
        assert exchange.next_due == pytest.approx(50, abs=2)

    async def test_an_urgent_job_that_is_due_goes_before_any_number_of_others(
        self, queue: JobQueueAdapter, clocks: Clocks
    ) -> None:
        before = [Draft.of(make_job(scheduled_at=in_(clocks, 50 + n / 1000))) for n in range(1500)]
        urgent = Draft.of(make_job(scheduled_at=in_(clocks, 90), priority=100))
        other = Draft.of(make_job(scheduled_at=in_(clocks, 50), queue_name="other"))
        await queue.insert([*before, urgent, other])
        clocks.advance(100)
        first = await leased(queue, "default", "other", limit=3)
        assert [lease.job_id for lease in first] == [urgent.id, before[0].id, before[1].id]
        rest = await leased(queue, "default", "other", limit=2000)
        assert [lease.job_id for lease in rest] == [one.id for one in (*before[2:], other)]

    async def test_one_exchange_settles_and_leases(self, queue: JobQueueAdapter) -> None:
        await queue.insert([Draft.of(make_job()) for _ in range(10)])
        first = await leased(queue, limit=4)
        completions = [ending(lease, Transition.COMPLETE, result=b'{"n":1}') for lease in first]
        exchange = await queue.exchange(completions, ("default",), 100)
        assert exchange.receipts == [Receipt(Answer.OK, JobStatus.COMPLETED)] * 4
        assert len(exchange.leases) == 6
        stats = await queue.get_queue_stats("default")
        assert (stats.completed_count, stats.running_count) == (4, 6)

    async def test_a_job_retried_at_once_can_be_leased_by_the_same_exchange(
        self, queue: JobQueueAdapter
    ) -> None:
        lease = await leased_job(queue)
        exchange = await queue.exchange([ending(lease, Transition.RETRY)], ("default",), 1)
        assert [again.attempt for again in exchange.leases] == [2]

    async def test_a_stale_token_changes_nothing(self, queue: JobQueueAdapter) -> None:
        stale = await leased_job(queue)
        await ended(queue, stale, Transition.RELEASE)
        [current] = await leased(queue)
        for transition in Transition:
            before = await record(queue, stale.job_id)
            receipt = await ended(queue, stale, transition, failure=failure())
            assert receipt == Receipt(Answer.LOST, JobStatus.RUNNING)
            assert await record(queue, stale.job_id) == before
        receipt = await ended(queue, current, Transition.COMPLETE)
        assert receipt == Receipt(Answer.OK, JobStatus.COMPLETED)

    @pytest.mark.parametrize("token", [b"", b"\0\0\0\1", bytes(16), b"\xff" * 40], ids=repr)
    async def test_a_foreign_token_changes_nothing(
        self, queue: JobQueueAdapter, token: bytes
    ) -> None:
        lease = await leased_job(queue)
        forged = lease._replace(token=token)
        assert (await ended(queue, forged, Transition.COMPLETE)).answer is Answer.LOST
        assert await queue.renew([forged]) == [Renewal(Answer.LOST)]
        assert await status(queue, lease.job_id) is JobStatus.RUNNING

    async def test_a_token_of_the_right_attempt_needs_the_right_random_part(
        self, queue: JobQueueAdapter
    ) -> None:
        lease = await leased_job(queue)
        forged = lease._replace(token=lease.token[:4] + bytes(12))
        assert (await ended(queue, forged, Transition.FAIL)).answer is Answer.LOST
        assert await status(queue, lease.job_id) is JobStatus.RUNNING

    async def test_another_jobs_token_changes_nothing(self, queue: JobQueueAdapter) -> None:
        first = await leased_job(queue)
        second = await leased_job(queue)
        crossed = Settlement(first.id, second.token, Transition.COMPLETE)
        assert [receipt.answer for receipt in await settled(queue, crossed)] == [Answer.LOST]

    @pytest.mark.parametrize("transition", Transition, ids=lambda t: t.value)
    async def test_a_repeated_settlement_is_recognised(
        self, queue: JobQueueAdapter, transition: Transition
    ) -> None:
        lease = await leased_job(queue)
        first = await ended(queue, lease, transition, failure=failure(), delay=60)
        before = await record(queue, lease.job_id)
        again = await ended(queue, lease, transition, failure=failure(), delay=60)
        assert first.answer is Answer.OK
        assert again == Receipt(Answer.ALREADY, first.status)
        assert await record(queue, lease.job_id) == before

    async def test_another_ending_of_an_ended_attempt_is_lost(self, queue: JobQueueAdapter) -> None:
        lease = await leased_job(queue)
        await ended(queue, lease, Transition.COMPLETE)
        receipt = await ended(queue, lease, Transition.RETRY)
        assert receipt == Receipt(Answer.LOST, JobStatus.COMPLETED)

    async def test_settlements_of_one_job_in_one_exchange_count_in_order(
        self, queue: JobQueueAdapter
    ) -> None:
        lease = await leased_job(queue)
        retry, complete = ending(lease, Transition.RETRY), ending(lease, Transition.COMPLETE)
        receipts = await settled(queue, retry, complete, retry)
        assert [receipt.answer for receipt in receipts] == [Answer.OK, Answer.LOST, Answer.ALREADY]
        assert await status(queue, lease.job_id) is JobStatus.RETRYING

    async def test_a_batch_answers_each_settlement_for_itself(self, queue: JobQueueAdapter) -> None:
        await queue.insert([Draft.of(make_job()) for _ in range(6)])
        good, repeated, stale, retried, failed, last = await leased(queue, limit=6)
        await settled(queue, ending(repeated, Transition.COMPLETE))
        await settled(queue, ending(stale, Transition.FAIL))
        unknown = Settlement(uuid4().bytes, good.token, Transition.COMPLETE)
        receipts = await settled(
            queue,
            ending(good, Transition.COMPLETE, result=b'{"good":1}'),
            ending(repeated, Transition.COMPLETE),
            ending(stale, Transition.COMPLETE),
            unknown,
            ending(retried, Transition.RETRY),
            ending(failed, Transition.FAIL),
            ending(last, Transition.COMPLETE, result=b'{"last":1}'),
        )
        assert receipts == [
            Receipt(Answer.OK, JobStatus.COMPLETED),
            Receipt(Answer.ALREADY, JobStatus.COMPLETED),
            Receipt(Answer.LOST, JobStatus.FAILED),
            Receipt(Answer.NOT_FOUND, None),
            Receipt(Answer.OK, JobStatus.RETRYING),
            Receipt(Answer.OK, JobStatus.FAILED),
            Receipt(Answer.OK, JobStatus.COMPLETED),
        ]
        assert await queue.get_result(good.job_id) == {"good": 1}
        assert await queue.get_result(last.job_id) == {"last": 1}

    async def test_what_a_worker_has_forged_is_held_against_its_own_job_alone(
        self, queue: JobQueueAdapter
    ) -> None:
        results = [b"no JSON", b"[1]", b'{"a":', b"[" * 100_000, b"\xff\0", b'{"a":NaN}']
        vast, nan = 2**63, float("nan")
        evidence = [
            Evidence(vast, vast, "x" * 10_000, run_seconds=nan, worker_peak_rss=vast),
            Evidence(-1, -vast, "\0\ud800", run_seconds=-1e308, output="\0\ud800" * 100_000),
            Evidence(worker_cpu_seconds=float("inf"), worker_peak_rss=-vast),
        ]
        await queue.insert([Draft.of(make_job()) for _ in range(len(results) + len(evidence) + 1)])
        good, *others = await leased(queue, limit=20)
        forged = [
            ending(lease, Transition.COMPLETE, result=result)
            for lease, result in zip(others, results, strict=False)
        ] + [
            ending(lease, Transition.FAIL, failure=failure("\0" * 2**24)._replace(evidence=seen))
            for lease, seen in zip(others[len(results) :], evidence, strict=True)
        ]
        whole = ending(good, Transition.COMPLETE, result=b'{"good":1}')
        receipts = await settled(queue, *forged, whole)
        assert receipts == [
            *[Receipt(Answer.OK, JobStatus.COMPLETED)] * len(results),
            *[Receipt(Answer.OK, JobStatus.FAILED)] * len(evidence),
            Receipt(Answer.OK, JobStatus.COMPLETED),
        ]
        assert await queue.get_result(good.job_id) == {"good": 1}
        assert len((await queue.list_jobs(JobFilter())).jobs) == len(others) + 1
        for lease in others:
            assert (await record(queue, lease.job_id)).job.status.terminal
            with suppress(DatabaseError):  # it says so of its own result, and raises nothing else
                await queue.get_result(lease.job_id)
