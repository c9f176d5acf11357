from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from time import monotonic

import pytest

from portico.exceptions import ConfigurationError, QueueConnectionError
from portico.kits.job import lease_keeper
from portico.kits.job.pipeline import Pipeline, plan_turn
from portico.kits.job.retry import RetryPolicies, RetryPolicy
from portico.ports.job import JobStatus
from portico.ports.job_executor import Completed, Failed, Unroutable
from portico.ports.job_queue import JobQueueAdapter
from portico.ports.leasing import Answer, Failure, Lease, Renewal
from tests.support.jobs import ended, make_job
from tests.support.waiting import wait_until
from tests.unit.kits.parts import FlakyQueue, ManualExecutor

DONE = Completed(b"{}")
WRONG = Failed(Failure("ValueError", "no"), retryable=True)
AT_ONCE = RetryPolicies(RetryPolicy(base_delay=0, max_delay=0))


@pytest.fixture
def queue():
    return FlakyQueue()


@pytest.fixture
def executor():
    return ManualExecutor()


@asynccontextmanager
async def running(queue, executor, queues=("default",), **options):
    """A pipeline at work; at the end it is stopped, if it still runs."""
    pipeline = Pipeline(queue, executor, queues, **options)
    task = asyncio.create_task(pipeline.run())
    try:
        yield pipeline
    finally:
        pipeline.stop(0)
        await task


async def spin(times=50):
    """Let everything happen that needs no time."""
    for _ in range(times):
        await asyncio.sleep(0)


async def enqueue(queue, count=1, **fields):
    return [(await queue.enqueue(make_job(**fields))).id for _ in range(count)]


async def drain(queue, executor, **options):
    pipeline = Pipeline(queue, executor, ("default",), drain_when_empty=True, **options)
    await pipeline.run()
    return pipeline


@pytest.mark.parametrize(
    ("outbox", "free", "dry", "stopping", "limit"),
    [
        (0, 0, False, False, None),
        (0, 4, False, False, 4),
        (0, 4, True, False, None),
        (3, 4, True, False, 4),
        (3, 0, False, False, 0),
        (3, -1, False, False, 0),
        (0, -1, False, False, None),
        (3, 4, False, True, 0),
        (0, 4, False, True, None),
    ],
)
def test_a_turn_needs_something_to_do(outbox, free, dry, stopping, limit):
    assert plan_turn(outbox, free, dry=dry, stopping=stopping) == limit


async def test_jobs_are_leased_submitted_collected_and_settled(queue):
    ids = await enqueue(queue, 10)
    pipeline = await drain(queue, ManualExecutor(4, at_once=DONE))
    assert [(await queue.get_job(id_)).status for id_ in ids] == [JobStatus.COMPLETED] * 10
    assert (pipeline.progress.leased, pipeline.progress.completed) == (10, 10)
    assert pipeline.unsettled == 0


async def test_one_exchange_settles_and_leases(queue):
    await enqueue(queue, 8)
    await drain(queue, ManualExecutor(4, at_once=DONE))
    assert queue.exchanges[:3] == [(0, 4), (4, 4), (4, 4)]


async def test_never_more_is_leased_than_can_be_started(queue, executor):
    await enqueue(queue, 10)
    async with running(queue, executor):
        await wait_until(lambda: len(executor.leases) == 4)
        executor.end(DONE, *executor.leases[:2])
        await wait_until(lambda: len(executor.leases) == 4)
        await spin()
        assert queue.exchanges == [(0, 4), (2, 2)]


async def test_an_idle_pipeline_asks_for_nothing(queue, executor):
    async with running(queue, executor):
        await wait_until(lambda: queue.exchanges)
        await spin()
        assert queue.exchanges == [(0, 4)]


async def test_a_new_job_wakes_an_idle_pipeline(queue, executor):
    async with running(queue, executor):
        await wait_until(lambda: queue.exchanges)
        await spin()
        await enqueue(queue)
        await wait_until(lambda: executor.leases, timeout=0.5)


async def test_a_retry_that_is_due_soon_is_not_kept_waiting(queue):
    [job_id] = await enqueue(queue, max_retries=1)
    executor = ManualExecutor(at_once=WRONG)
    policies = RetryPolicies(RetryPolicy(base_delay=0.02, jitter=0))
    async with running(queue, executor, policies=policies):
        assert (await ended(queue, job_id, timeout=0.7)).status is JobStatus.DEAD_LETTER


async def test_queues_are_served_in_strict_order(queue):
    order = []

    class Noting(ManualExecutor):
        def submit(self, leases):
            order.extend(lease.queue_name for lease in leases)
            super().submit(leases)

    for name in ("low", "high", "middle") * 2:
        await enqueue(queue, queue_name=name)
    pipeline = Pipeline(
        queue, Noting(1, at_once=DONE), ("high", "middle", "low"), drain_when_empty=True
    )
    await pipeline.run()
    assert order == ["high", "high", "middle", "middle", "low", "low"]


async def test_outcomes_gather_while_an_exchange_is_under_way(queue, executor):
    gate = asyncio.Event()

    class Slow(FlakyQueue):
        async def exchange(self, settlements, queues, limit):
            if settlements:
                await gate.wait()
            return await super().exchange(settlements, queues, limit)

    slow = Slow()
    await enqueue(slow, 4)
    async with running(slow, executor):
        await wait_until(lambda: len(executor.leases) == 4)
        for lease in list(executor.leases):
            executor.end(DONE, lease)
            await spin()
        gate.set()
        await wait_until(lambda: len(slow.exchanges) == 3)
        assert [count for count, _ in slow.exchanges] == [0, 1, 3]


async def test_every_verdict_is_counted(queue):
    for verdict, counter in [
        (WRONG, "retried"),
        (Failed(Failure("X", "y"), retryable=False), "failed"),
        (Unroutable(Failure("UnknownJobType", "y")), "snoozed"),
    ]:
        await enqueue(queue)
        pipeline = await drain(queue, ManualExecutor(at_once=verdict))
        assert getattr(pipeline.progress, counter) == 1
    await enqueue(queue, max_retries=0)
    assert (await drain(queue, ManualExecutor(at_once=WRONG))).progress.dead_lettered == 1


async def test_failures_are_logged_with_what_happens_next(queue, caplog):
    [job_id] = await enqueue(queue, max_retries=1)
    await drain(queue, ManualExecutor(at_once=WRONG), policies=AT_ONCE)
    assert str(job_id) in caplog.text
    assert "will run again in 0.0 s" in caplog.text
    assert "dead-lettered: its retries are used up (1 of 1)" in caplog.text
    assert "completed" not in caplog.text


async def test_an_outage_in_the_middle_loses_nothing(queue, executor, caplog):
    ids = await enqueue(queue, 6)
    async with running(queue, executor):
        await wait_until(lambda: len(executor.leases) == 4)
        queue.down = True
        executor.end(DONE, *executor.leases[:2])
        await wait_until(lambda: len(queue.exchanges) >= 2)
        tried = len(queue.exchanges)
        executor.end(DONE)
        await spin()
        assert len(queue.exchanges) == tried, "nothing is asked of a store that cannot answer"
        queue.down = False
        executor.at_once = DONE
        for job_id in ids:
            assert (await ended(queue, job_id)).status is JobStatus.COMPLETED
    records = [line for line in caplog.messages if "store_" in line]
    assert [line.split()[0] for line in records] == ["store_unreachable", "store_back"]
    assert "settlements_waited=4" in records[1]


async def test_settlements_keep_their_order_through_an_outage(queue, executor):
    sent = []

    class Noting(FlakyQueue):
        async def exchange(self, settlements, queues, limit):
            sent.append([settlement.id for settlement in settlements])
            return await super().exchange(settlements, queues, limit)

    noting = Noting()
    noting.script = ["ok", "lost"]
    await enqueue(noting, 3)
    async with running(noting, executor):
        await wait_until(lambda: len(executor.leases) == 3)
        leases = list(executor.leases)
        executor.end(DONE, leases[2])
        await wait_until(lambda: len(sent) == 2)
        executor.end(DONE, leases[0], leases[1])
        await wait_until(lambda: len(sent) == 3)
    assert sent[2] == [leases[2].id, leases[0].id, leases[1].id]


async def test_a_reply_that_was_lost_is_recognised_and_counted_once(queue):
    [job_id] = await enqueue(queue)
    queue.script = ["ok", "reply lost"]
    pipeline = await drain(queue, ManualExecutor(at_once=DONE))
    assert (await queue.get_job(job_id)).status is JobStatus.COMPLETED
    assert (pipeline.progress.completed, pipeline.progress.lost) == (1, 0)


async def test_an_outage_noticed_by_the_renewal_alone_is_waited_for(caplog):
    queue, full = FlakyQueue(lease_seconds=0.08), ManualExecutor(1)
    await enqueue(queue)
    async with running(queue, full, lease_seconds=0.08):
        await wait_until(lambda: full.leases)
        queue.down = True
        await wait_until(lambda: "store_unreachable" in caplog.text)
        queue.down = False
        await wait_until(lambda: "store_back" in caplog.text)
        assert caplog.text.count("store_unreachable") == 1


async def test_after_an_outage_leases_are_renewed_before_anything_is_dispatched(executor):
    queue = FlakyQueue()
    await enqueue(queue)
    queue.script = ["lost"]
    async with running(queue, executor):
        await wait_until(lambda: len(queue.exchanges) == 1)
        renewals = queue.renewals
        await wait_until(lambda: executor.leases)
        assert queue.renewals == renewals + 1


@pytest.mark.parametrize(("stalled", "told"), [(0.4, False), (0.6, True)])
async def test_a_stall_that_brings_the_leases_into_danger_is_told(executor, caplog, stalled, told):
    queue, lost = FlakyQueue(lease_seconds=4.0), 0.0
    clock = lambda: monotonic() + lost  # noqa: E731
    async with running(queue, executor, lease_seconds=4.0, clock=clock):
        await wait_until(lambda: queue.exchanges)
        lost, renewals = stalled * 4.0, queue.renewals
        await wait_until(lambda: queue.renewals > renewals)
    assert ("supervisor_stalled" in caplog.text) is told


async def test_a_queue_that_gave_all_it_was_asked_for_is_asked_again_at_once():
    class Silent(FlakyQueue):
        async def wait(self, queues, timeout):
            await asyncio.Event().wait()

    class Careful(ManualExecutor):
        def free(self):
            return min(2, super().free())

    queue, careful = Silent(), Careful(8)
    await enqueue(queue, 8)
    async with running(queue, careful):
        await wait_until(lambda: len(careful.leases) == 8, timeout=1)


async def test_a_job_that_is_due_but_not_given_is_not_asked_for_in_a_hurry(executor):
    class Contended(FlakyQueue):
        async def exchange(self, settlements, queues, limit):
            exchange = await super().exchange(settlements, queues, limit)
            return exchange._replace(next_due=0.0)

    queue, loop = Contended(), asyncio.get_running_loop()
    async with running(queue, executor):
        await wait_until(lambda: queue.exchanges)
        start, seen = loop.time(), len(queue.exchanges)
        await wait_until(lambda: len(queue.exchanges) >= seen + 3)
        assert loop.time() - start > 0.03


async def test_a_store_that_is_unreachable_at_the_start_is_the_callers_business(queue, executor):
    queue.down = True
    with pytest.raises(QueueConnectionError):
        await Pipeline(queue, executor, ("default",)).run()


async def test_a_store_that_refuses_us_at_the_start_is_the_callers_business(queue, executor):
    queue.down, queue.why = True, ConfigurationError("no such user")
    with pytest.raises(ConfigurationError):
        await Pipeline(queue, executor, ("default",)).run()


@pytest.mark.parametrize("method", ["exchange", "renew", "recover"])
async def test_a_store_that_refuses_us_later_is_waited_for_whatever_was_asked_of_it(
    executor, monkeypatch, method
):
    queue = FlakyQueue(lease_seconds=0.2)
    asked = getattr(queue, method)
    refused = 0

    async def refuse(*arguments):
        nonlocal refused
        refused += 1
        raise ConfigurationError("no such user", {"reason": "login"})

    [job_id] = await enqueue(queue)
    async with running(queue, executor, lease_seconds=0.2) as pipeline:
        await wait_until(lambda: executor.leases)
        monkeypatch.setattr(queue, method, refuse)
        executor.capacity += 1  # and so there is something to ask for
        await wait_until(lambda: refused >= 2)
        assert not executor.forfeited
        monkeypatch.setattr(queue, method, asked)
        executor.end(DONE)
        assert (await ended(queue, job_id)).status is JobStatus.COMPLETED
        await wait_until(lambda: not pipeline.outage.on)


async def test_leases_are_renewed_all_the_time_also_when_none_is_held(executor):
    queue = FlakyQueue(lease_seconds=0.08)
    async with running(queue, executor, lease_seconds=0.08):
        await wait_until(lambda: queue.renewals >= 5)


async def test_a_job_longer_than_its_lease_runs_once(executor):
    queue = FlakyQueue(lease_seconds=0.1)
    [job_id] = await enqueue(queue)
    async with running(queue, executor, lease_seconds=0.1):
        await wait_until(lambda: executor.leases)
        await wait_until(lambda: queue.renewals >= 12)
        executor.end(DONE)
        assert (await ended(queue, job_id)).status is JobStatus.COMPLETED
        assert (await queue.inspect(job_id)).attempt == 1


class Answering(FlakyQueue):
    """Answers the next renewals as the test says."""

    answer = Renewal(Answer.OK)
    meanwhile = staticmethod(lambda: None)

    async def renew(self, leases):
        await super().renew(leases)
        self.meanwhile()
        return [self.answer for _ in leases]


@pytest.mark.parametrize("answer", [Answer.LOST, Answer.NOT_FOUND])
async def test_a_lost_lease_is_forfeited_and_said(executor, caplog, answer):
    queue = Answering()
    [job_id] = await enqueue(queue)
    async with running(queue, executor, lease_seconds=0.08) as pipeline:
        await wait_until(lambda: executor.leases)
        queue.answer = Renewal(answer)
        await wait_until(lambda: executor.forfeited)
        assert executor.forfeited[0].job_id == job_id
        assert "lease_lost" in caplog.text
        assert pipeline.progress.completed == 0


async def test_a_lease_that_ended_during_its_renewal_is_not_lost(executor, caplog):
    queue = Answering()
    await enqueue(queue)
    async with running(queue, executor, lease_seconds=0.08):
        await wait_until(lambda: executor.leases)
        queue.meanwhile = executor.end
        queue.answer = Renewal(Answer.LOST)
        await wait_until(lambda: not executor.leases)
        seen = queue.renewals
        await wait_until(lambda: queue.renewals > seen)
    assert executor.forfeited == []
    assert "lease_lost" not in caplog.text


async def test_a_request_to_cancel_reaches_the_executor_once(executor):
    queue = Answering()
    [job_id] = await enqueue(queue)
    async with running(queue, executor, lease_seconds=0.08):
        await wait_until(lambda: executor.leases)
        queue.answer = Renewal(Answer.OK, cancel=True)
        await wait_until(lambda: executor.cancelled)
        seen = queue.renewals
        await wait_until(lambda: queue.renewals >= seen + 3)
    assert [lease.job_id for lease in executor.cancelled] == [job_id]


async def test_jobs_that_were_leased_together_are_cancelled_one_by_one(queue, executor):
    """Their leases differ by the ids alone."""
    one, other = await enqueue(queue, 2)
    async with running(queue, executor):
        await wait_until(lambda: len(executor.leases) == 2)
        assert await queue.request_cancel(one)
        await wait_until(lambda: executor.cancelled)
        assert await queue.request_cancel(other)
        await wait_until(lambda: len(executor.cancelled) == 2)
    assert [lease.job_id for lease in executor.cancelled] == [one, other]


async def test_a_renewal_tells_of_requests_too_for_stores_that_can_wake_nobody(executor):
    class Mute(FlakyQueue):
        async def cancel_requests(self):
            return await JobQueueAdapter.cancel_requests(self)

    queue = Mute()
    one, other = await enqueue(queue, 2)
    async with running(queue, executor, lease_seconds=0.08):
        await wait_until(lambda: len(executor.leases) == 2)
        assert await queue.request_cancel(one)
        await wait_until(lambda: executor.cancelled)
        assert await queue.request_cancel(other)
        await wait_until(lambda: len(executor.cancelled) == 2)
    assert [lease.job_id for lease in executor.cancelled] == [one, other]


async def test_a_job_is_stopped_although_its_lease_was_still_on_its_way_at_the_request(executor):
    told = asyncio.Event()

    class Slow(FlakyQueue):
        async def exchange(self, settlements, queues, limit):
            exchange = await super().exchange(settlements, queues, limit)
            if exchange.leases:
                await told.wait()
            return exchange

        async def cancel_requests(self):
            requests = await super().cancel_requests()
            asyncio.get_running_loop().call_soon(told.set)
            return requests

    queue = Slow()
    [job_id] = await enqueue(queue)
    async with running(queue, executor):
        await wait_until(lambda: queue.request_cancel(job_id))
        await wait_until(lambda: executor.cancelled)
    assert [lease.job_id for lease in executor.cancelled] == [job_id]


@pytest.mark.parametrize("kind", [QueueConnectionError, ConfigurationError])
async def test_a_store_that_is_lost_while_requests_are_awaited_is_an_outage(
    executor, monkeypatch, kind
):
    monkeypatch.setattr(lease_keeper, "_OUTAGE_PAUSE", 0.01)

    class Lossy(FlakyQueue):
        losses = 2

        async def cancel_requests(self):
            if self.losses:
                self.losses -= 1
                raise kind("no route to store")
            return await super().cancel_requests()

    queue = Lossy()
    [job_id] = await enqueue(queue)
    async with running(queue, executor):
        await wait_until(lambda: not queue.losses and executor.leases)
        assert await queue.request_cancel(job_id)
        await wait_until(lambda: executor.cancelled)


async def test_after_a_long_sleep_leases_are_renewed_before_anything_is_dispatched(executor):
    asleep = 0.0
    happened = []

    class Noting(FlakyQueue):
        async def exchange(self, settlements, queues, limit):
            happened.append("exchange")
            return await super().exchange(settlements, queues, limit)

        async def renew(self, leases):
            happened.append("renew")
            return await super().renew(leases)

    queue = Noting()
    clock = asyncio.get_running_loop().time
    async with running(queue, executor, clock=lambda: clock() + asleep):
        await wait_until(lambda: "exchange" in happened)
        await spin()
        happened.clear()
        asleep = 31.0
        await enqueue(queue)
        await wait_until(lambda: executor.leases)
        assert happened == ["renew", "exchange"]


async def abandoned(queue, **fields):
    """A job whose holder has vanished."""
    [job_id] = await enqueue(queue, **fields)
    exchange = await queue.exchange((), ("default",), 1)
    await queue.renew(exchange.leases)
    return job_id


async def test_what_others_have_lost_is_recovered_at_the_start(caplog):
    now = 0.0
    queue = FlakyQueue(monotonic=lambda: now)
    job_id = await abandoned(queue)
    now = 61.0
    executor = ManualExecutor(at_once=DONE)
    pipeline = await drain(queue, executor)
    assert (await queue.get_job(job_id)).status is JobStatus.COMPLETED
    assert pipeline.progress.recovered == 1
    assert "job_recovered" in caplog.text
    assert str(job_id) in caplog.text
    assert executor.mourned == []


async def test_recovered_jobs_that_are_dead_are_mourned():
    now = 0.0
    queue = FlakyQueue(monotonic=lambda: now)
    executor = ManualExecutor()
    async with running(queue, executor, lease_seconds=0.06):
        await wait_until(lambda: queue.exchanges)
        executor.capacity = 0
        job_id = await abandoned(queue, max_retries=0)
        now = 61.0
        await wait_until(lambda: executor.mourned)
    [(lease, failure)] = executor.mourned
    assert lease.job_id == job_id
    assert failure.type == "WorkerLostError"


async def test_after_an_outage_nobody_recovers_for_one_lease(monkeypatch):
    class Counting(FlakyQueue):
        recoveries = 0

        async def recover(self, limit=1000):
            self.recoveries += 1
            return await super().recover(limit)

    def uniform(low, high):
        rounds.append(low)
        return low

    rounds = []
    monkeypatch.setattr(lease_keeper.random, "uniform", uniform)
    now = 0.0
    queue, executor = Counting(), ManualExecutor()
    async with running(queue, executor, lease_seconds=0.03, clock=lambda: now):
        await wait_until(lambda: queue.recoveries >= 3)
        queue.script = ["lost"]
        await enqueue(queue)
        await wait_until(lambda: executor.leases)
        seen, since = queue.recoveries, len(rounds)
        await wait_until(lambda: len(rounds) >= since + 4)
        assert queue.recoveries == seen

        def goes_on():
            nonlocal now
            now += 0.002  # a jump would look as if the process had been stopped
            return queue.recoveries > seen

        await wait_until(goes_on)


async def test_stop_leases_no_more_and_settles_what_ends_within_the_grace(queue, executor):
    first, second = await enqueue(queue, 2)
    executor.capacity = 1
    executor.may_drain.clear()
    async with running(queue, executor) as pipeline:
        await wait_until(lambda: executor.leases)
        pipeline.stop(25)
        executor.end(DONE)
        await ended(queue, first)
        await spin()
        assert (await queue.get_job(second)).status is JobStatus.PENDING
        assert executor.graces == [25]
        executor.may_drain.set()


async def test_stop_releases_what_was_not_started(queue, executor):
    [job_id] = await enqueue(queue)
    async with running(queue, executor) as pipeline:
        await wait_until(lambda: executor.leases)
    record = await queue.inspect(job_id)
    assert (record.job.status, record.release_count) == (JobStatus.PENDING, 1)
    assert pipeline.progress.released == 1


async def test_leases_that_arrive_after_the_stop_are_given_back(executor):
    gate = asyncio.Event()

    class Slow(FlakyQueue):
        async def exchange(self, settlements, queues, limit):
            exchange = await super().exchange(settlements, queues, limit)
            await gate.wait()
            return exchange

    queue = Slow()
    [job_id] = await enqueue(queue)
    async with running(queue, executor) as pipeline:
        await wait_until(lambda: queue.exchanges)
        pipeline.stop(25)
        await spin()
        gate.set()
    assert (await queue.inspect(job_id)).release_count == 1
    assert executor.leases == []


async def test_a_second_stop_reaches_the_executor(queue, executor):
    executor.may_drain.clear()
    async with running(queue, executor) as pipeline:
        pipeline.stop(25)
        pipeline.stop(1)
        await spin()
        assert executor.graces == [25, 1]
        executor.may_drain.set()


async def test_settlements_that_cannot_be_written_are_given_up_and_counted(executor, caplog):
    queue = FlakyQueue()
    await enqueue(queue, 3)
    async with running(queue, executor, flush_seconds=0.2) as pipeline:
        await wait_until(lambda: len(executor.leases) == 3)
        queue.down = True
        executor.end(DONE)
    assert pipeline.unsettled == 3
    assert "settlements_given_up count=3" in caplog.text


async def test_a_store_that_never_answers_does_not_hold_up_the_stop(executor):
    queue = FlakyQueue()
    await enqueue(queue)
    async with running(queue, executor, flush_seconds=0.05) as pipeline:
        await wait_until(lambda: executor.leases)
        queue.script = ["hang"]
        executor.end(DONE)
        await wait_until(lambda: len(queue.exchanges) == 2)
    assert pipeline.unsettled == 1


async def test_what_ends_while_the_store_never_answers_is_counted_too(executor):
    queue = FlakyQueue()
    await enqueue(queue)
    async with running(queue, executor, flush_seconds=0.05) as pipeline:
        await wait_until(lambda: executor.leases)
        queue.script = ["hang"]
        await enqueue(queue)
        await wait_until(lambda: "hang" not in queue.script)
        executor.end(DONE)
    assert pipeline.unsettled == 1


async def test_a_store_that_comes_back_during_the_flush_gets_everything(queue, executor):
    [job_id] = await enqueue(queue)
    async with running(queue, executor) as pipeline:
        await wait_until(lambda: executor.leases)
        queue.down = True
        executor.end(DONE)
        await wait_until(lambda: len(queue.exchanges) > 1)
        pipeline.stop(0)
        await spin()
        queue.down = False
    assert pipeline.unsettled == 0
    assert (await queue.get_job(job_id)).status is JobStatus.COMPLETED


async def test_an_unexpected_error_ends_the_run_and_gives_back_what_is_held(queue, executor):
    [job_id] = await enqueue(queue)
    pipeline = Pipeline(queue, executor, ("default",))
    task = asyncio.create_task(pipeline.run())
    await wait_until(lambda: executor.leases)
    queue.script = ["broken"]
    await enqueue(queue)
    with pytest.raises(ZeroDivisionError):
        await task
    record = await queue.inspect(job_id)
    assert (record.job.status, record.release_count) == (JobStatus.PENDING, 1)


@pytest.mark.parametrize("part", ["renew", "recover", "wait"])
async def test_an_error_in_any_part_ends_the_run(executor, part):
    queue = FlakyQueue(lease_seconds=0.05)

    async def broken(*_):
        raise ZeroDivisionError

    pipeline = Pipeline(queue, executor, ("default",), lease_seconds=0.05)
    await pipeline.open()
    setattr(queue, part, broken)
    with pytest.raises(ZeroDivisionError):
        await pipeline.run()


async def test_an_error_of_the_executor_ends_the_run(queue, executor):
    async def drain(grace):
        raise ZeroDivisionError

    executor.drain = drain
    pipeline = Pipeline(queue, executor, ("default",))
    pipeline.stop(0)
    with pytest.raises(ZeroDivisionError):
        await pipeline.run()


async def test_a_cancelled_run_gives_back_what_is_held(queue, executor):
    [job_id] = await enqueue(queue)
    task = asyncio.create_task(Pipeline(queue, executor, ("default",)).run())
    await wait_until(lambda: executor.leases)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await queue.get_job(job_id)).status is JobStatus.PENDING


async def test_jobs_that_are_due_later_do_not_keep_it_from_draining(queue):
    later = datetime.now(UTC) + timedelta(hours=1)
    [job_id] = await enqueue(queue, scheduled_at=later)
    await drain(queue, ManualExecutor(at_once=DONE))
    assert (await queue.get_job(job_id)).status is JobStatus.SCHEDULED


async def test_draining_waits_for_what_runs_and_for_what_that_makes_due(queue, executor):
    [job_id] = await enqueue(queue, max_retries=1)
    pipeline = Pipeline(queue, executor, ("default",), drain_when_empty=True, policies=AT_ONCE)
    task = asyncio.create_task(pipeline.run())
    for _ in range(2):
        await wait_until(lambda: executor.leases)
        await spin()
        assert not task.done()
        executor.end(WRONG)
    await task
    assert (await queue.get_job(job_id)).status is JobStatus.DEAD_LETTER


async def test_a_full_executor_is_not_taken_for_an_empty_queue(queue):
    executor = ManualExecutor(0)
    [job_id] = await enqueue(queue)
    task = asyncio.create_task(drain(queue, executor))
    await spin()
    assert not task.done()
    executor.capacity, executor.at_once = 1, DONE
    executor.end()
    await task
    assert (await queue.get_job(job_id)).status is JobStatus.COMPLETED


async def test_a_settlement_of_a_lost_lease_is_logged_and_counted(queue, executor, caplog):
    [job_id] = await enqueue(queue)
    async with running(queue, executor) as pipeline:
        await wait_until(lambda: executor.leases)
        await queue.acknowledge(job_id)
        executor.end(WRONG)
        await wait_until(lambda: pipeline.progress.lost == 1)
    assert "settlement_refused" in caplog.text
    assert str(job_id) in caplog.text


class Noted:
    """An audit that notes what it is told, when it is let."""

    def __init__(self) -> None:
        self.entries: list[tuple[Lease, JobStatus, Failure | None]] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def settled(self, lease, status, failure):
        await self.gate.wait()
        self.entries.append((lease, status, failure))


async def test_the_audit_is_told_of_every_job_that_ended(queue):
    audit = Noted()
    await enqueue(queue)
    await drain(queue, ManualExecutor(at_once=DONE), audit=audit)
    await enqueue(queue, max_retries=1)
    await drain(queue, ManualExecutor(at_once=WRONG), policies=AT_ONCE, audit=audit)
    assert [(status, failure) for _, status, failure in audit.entries] == [
        (JobStatus.COMPLETED, None),
        (JobStatus.DEAD_LETTER, WRONG.failure),
    ]


async def test_a_slow_audit_delays_no_job(queue):
    audit = Noted()
    audit.gate.clear()
    ids = await enqueue(queue, 40)
    async with running(queue, ManualExecutor(at_once=DONE), audit=audit):
        for job_id in ids:
            await ended(queue, job_id)
        audit.gate.set()
    assert len(audit.entries) == 40


async def test_more_settlements_than_one_exchange_should_hold_are_sent_in_parts(queue):
    await enqueue(queue, 1100)
    executor = ManualExecutor(1100)
    async with running(queue, executor):
        await wait_until(lambda: len(executor.leases) == 1100)
        executor.end(DONE)
        await wait_until(lambda: len(queue.exchanges) == 3)
    assert [count for count, _ in queue.exchanges[1:3]] == [1024, 76]
