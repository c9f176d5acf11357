from __future__ import annotations

import asyncio
from unittest.mock import AsyncMock, Mock

import pytest

from portico.adapters.job_queue import DatabaseJobQueueAdapter
from portico.adapters.job_queue.memory_queue import MemoryJobQueueAdapter
from portico.exceptions import (
    ConfigurationError,
    NonRetryableError,
    QueueConnectionError,
    ValidationError,
)
from portico.kits.job import WorkerManager
from portico.kits.job.retry import RetryPolicy
from portico.ports.audit import AuditAdapter
from portico.ports.job import JobResult, JobStatus
from tests.contract.toy_queue import ToyQueue
from tests.support.jobs import ended, make_job
from tests.support.waiting import wait_until
from tests.unit.kits.parts import Doing, FlakyQueue

AT_ONCE = RetryPolicy(base_delay=0, max_delay=0)


@pytest.fixture(params=[MemoryJobQueueAdapter, ToyQueue], ids=["leasing", "nine methods"])
def queue(request):
    return request.param()


class CountedQueue(ToyQueue):
    initialized = 0

    async def initialize(self):
        self.initialized += 1


async def work(queue, *handlers, **options):
    """Run everything that is due, retries included, and stop."""
    options = {"retry_policy": AT_ONCE, "drain_when_empty": True, **options}
    async with WorkerManager(queue, handlers, **options) as manager:
        await manager.wait()
    return manager


def raising(error):
    async def handle(job):
        raise error

    return handle


def returning(result):
    async def handle(job):
        return result

    return handle


async def test_jobs_flow_after_start(queue):
    handler = Doing()
    async with WorkerManager(queue, {"test.job": handler}, retry_policy=AT_ONCE):
        job = await queue.enqueue(make_job(payload={"n": 1}))
        done = await ended(queue, job.id)
    assert done.status is JobStatus.COMPLETED
    assert done.completed_at is not None
    assert handler.jobs[0].payload == {"n": 1}
    assert handler.jobs[0].status is JobStatus.RUNNING
    assert handler.jobs[0].started_at is not None


async def test_a_job_that_always_raises_is_executed_four_times_and_dead_lettered(queue):
    handler = Doing(raising(ValueError("no")))
    job = await queue.enqueue(make_job(max_retries=3))
    await work(queue, handler)
    dead = await queue.get_job(job.id)
    assert (dead.status, dead.retry_count) == (JobStatus.DEAD_LETTER, 3)
    assert dead.error_message == "no"
    assert dead.failed_at is not None
    assert [job.retry_count for job in handler.jobs] == [0, 1, 2, 3]


async def test_on_failure_runs_once_per_attempt_before_the_next_one(queue):
    happened = []

    async def handle(job):
        happened.append(("handle", job.retry_count))
        raise ValueError("no")

    async def on_failure(job, error):
        await asyncio.sleep(0)
        happened.append(("on_failure", job.retry_count))

    await queue.enqueue(make_job(max_retries=3))
    await work(queue, Doing(handle, on_failure))
    assert happened == [(what, n) for n in range(4) for what in ("handle", "on_failure")]


async def test_on_failure_can_tell_the_last_attempt(queue):
    last = []

    async def on_failure(job, error):
        last.append(job.retry_count >= job.max_retries)

    await queue.enqueue(make_job(max_retries=2))
    await work(queue, Doing(raising(ValueError("no")), on_failure))
    assert last == [False, False, True]


async def test_a_job_without_retries_runs_once(queue):
    handler = Doing(raising(ValueError("no")))
    job = await queue.enqueue(make_job(max_retries=0))
    await work(queue, handler)
    assert (await queue.get_job(job.id)).status is JobStatus.DEAD_LETTER
    assert len(handler.jobs) == 1


async def test_a_retry_that_succeeds_completes_the_job(queue):
    async def handle(job):
        if job.retry_count < 2:
            raise ConnectionError("again")
        return JobResult(success=True)

    job = await queue.enqueue(make_job())
    await work(queue, Doing(handle))
    done = await queue.get_job(job.id)
    assert (done.status, done.retry_count) == (JobStatus.COMPLETED, 2)


async def test_a_returned_failure_is_final(queue):
    handler = Doing(returning(JobResult(success=False, error=ValueError("wrong amount"))))
    job = await queue.enqueue(make_job())
    await work(queue, handler)
    failed = await queue.get_job(job.id)
    assert (failed.status, failed.retry_count) == (JobStatus.FAILED, 0)
    assert failed.error_message == "wrong amount"
    assert len(handler.jobs) == len(handler.told) == 1


@pytest.mark.parametrize(
    "result",
    [
        JobResult(success=False, error=ValueError("x"), retryable=True),
        JobResult(success=False, error=ValueError("x"), result_data={"retry_recommended": True}),
    ],
    ids=["retryable", "recommended"],
)
async def test_a_returned_failure_may_ask_for_retries(queue, result):
    handler = Doing(returning(result))
    job = await queue.enqueue(make_job(max_retries=1))
    await work(queue, handler)
    assert (await queue.get_job(job.id)).status is JobStatus.DEAD_LETTER
    assert len(handler.jobs) == 2


async def test_returned_failures_are_retried_where_that_is_configured(queue):
    handler = Doing(returning(JobResult(success=False, error=ValueError("x"))))
    await queue.enqueue(make_job(max_retries=1))
    await work(queue, handler, retry_returned_failures=True)
    assert len(handler.jobs) == 2


async def test_a_non_retryable_error_is_final(queue):
    handler = Doing(raising(NonRetryableError("never")))
    job = await queue.enqueue(make_job())
    await work(queue, handler)
    assert (await queue.get_job(job.id)).status is JobStatus.FAILED
    assert len(handler.jobs) == 1


@pytest.mark.parametrize("error", [SystemExit(0), KeyboardInterrupt(), asyncio.CancelledError()])
async def test_no_exception_of_a_handler_reaches_the_application(queue, error):
    job = await queue.enqueue(make_job(max_retries=1))
    other = await queue.enqueue(make_job(job_type="test.other"))
    await work(queue, Doing(raising(error)), Doing(job_type="test.other"))
    assert (await queue.get_job(job.id)).status is JobStatus.DEAD_LETTER
    assert (await queue.get_job(other.id)).status is JobStatus.COMPLETED


async def test_an_on_failure_that_raises_changes_nothing(queue, caplog):
    handler = Doing(raising(ValueError("first")), raising(ValueError("worse")))
    job = await queue.enqueue(make_job(max_retries=1))
    await work(queue, handler)
    dead = await queue.get_job(job.id)
    assert (dead.status, dead.error_message) == (JobStatus.DEAD_LETTER, "first")
    assert len(handler.told) == 2
    assert caplog.text.count("on_failure_raised") == 2


async def test_the_deadline_costs_an_attempt(queue):
    async def handle(job):
        await asyncio.sleep(1e6)

    handler = Doing(handle)
    job = await queue.enqueue(make_job(max_retries=1))
    await work(queue, handler, job_timeout=0.02)
    dead = await queue.get_job(job.id)
    assert dead.status is JobStatus.DEAD_LETTER
    assert "deadline" in dead.error_message
    assert [type(error).__name__ for _, error in handler.told] == ["JobTimeoutError"] * 2


async def test_queues_are_served_in_the_given_order(queue):
    handler = Doing()
    for name in ("low", "default", "high") * 2:
        await queue.enqueue(make_job(queue_name=name))
    await work(queue, handler, concurrency=1, queues=["high", "default", "low"])
    served = [job.queue_name for job in handler.jobs]
    assert served == ["high", "high", "default", "default", "low", "low"]


async def test_higher_priority_runs_first(queue):
    handler = Doing()
    for priority in (0, 5, 1):
        await queue.enqueue(make_job(priority=priority))
    await work(queue, handler, concurrency=1)
    assert [job.priority for job in handler.jobs] == [5, 1, 0]


async def test_never_more_than_concurrency_jobs_run_at_a_time(queue):
    running, most = 0, 0

    async def handle(job):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return JobResult(success=True)

    for _ in range(20):
        await queue.enqueue(make_job())
    await work(queue, Doing(handle), concurrency=3)
    assert most == 3


async def test_jobs_of_another_queue_are_left_alone(queue):
    job = await queue.enqueue(make_job(queue_name="elsewhere"))
    await work(queue, Doing())
    assert (await queue.get_job(job.id)).status is JobStatus.PENDING


async def test_stop_lets_running_jobs_end(queue):
    go = asyncio.Event()

    async def handle(job):
        await go.wait()
        return JobResult(success=True)

    handler = Doing(handle)
    job = await queue.enqueue(make_job())
    manager = WorkerManager(queue, [handler])
    await manager.start()
    await wait_until(lambda: handler.jobs)
    stopping = asyncio.create_task(manager.stop())
    await asyncio.sleep(0)
    go.set()
    await stopping
    assert (await queue.get_job(job.id)).status is JobStatus.COMPLETED
    assert not manager.is_running


async def test_a_second_stop_with_a_shorter_grace_shortens_the_first(queue):
    async def handle(job):
        await asyncio.sleep(1e6)

    handler = Doing(handle)
    await queue.enqueue(make_job())
    manager = WorkerManager(queue, [handler])
    await manager.start()
    await wait_until(lambda: handler.jobs)
    first = asyncio.create_task(manager.stop())
    await asyncio.sleep(0)
    await manager.stop(grace=0)
    await first
    assert handler.told == [], "an interrupted attempt is no failure"


async def test_what_outlasts_the_grace_is_released_uncharged():
    async def handle(job):
        await asyncio.sleep(1e6)

    queue, handler = MemoryJobQueueAdapter(), Doing(handle)
    job = await queue.enqueue(make_job())
    last = await queue.enqueue(make_job(max_retries=0))
    async with WorkerManager(queue, [handler], shutdown_grace=0.01):
        await wait_until(lambda: len(handler.jobs) == 2)
    record = await queue.inspect(job.id)
    assert (record.job.status, record.job.retry_count) == (JobStatus.PENDING, 0)
    assert (record.release_count, record.accounted) == (1, True)
    dead = await queue.get_job(last.id)
    assert dead.status is JobStatus.DEAD_LETTER, "it was never to be started twice"


async def test_starting_twice_and_stopping_unstarted_do_nothing():
    queue, handler = CountedQueue(), Doing()
    manager = WorkerManager(queue, [handler])
    await manager.stop()
    await manager.start()
    await manager.start()
    assert queue.initialized == 1
    assert manager.is_running
    await manager.stop()
    await manager.stop()
    assert not manager.is_running


async def test_two_starts_at_the_same_time_start_once():
    queue = CountedQueue()
    manager = WorkerManager(queue, [Doing()])
    await asyncio.gather(manager.start(), manager.start())
    assert queue.initialized == 1
    await manager.stop()


async def test_a_manager_can_be_started_again(queue):
    manager = WorkerManager(queue, [Doing()])
    for _ in range(2):
        async with manager:
            job = await queue.enqueue(make_job())
            assert (await ended(queue, job.id)).status is JobStatus.COMPLETED
    assert manager.progress.completed == 1


async def test_the_store_being_away_at_the_start_is_told_to_the_caller():
    queue = FlakyQueue()
    queue.down = True
    manager = WorkerManager(queue, [Doing()])
    with pytest.raises(QueueConnectionError):
        await manager.start()
    assert not manager.is_running


async def test_a_store_outage_in_the_middle_loses_nothing():
    go = asyncio.Event()

    async def handle(job):
        await go.wait()
        return JobResult(success=True)

    queue, handler = FlakyQueue(), Doing(handle)
    async with WorkerManager(queue, [handler], concurrency=3):
        jobs = [await queue.enqueue(make_job()) for _ in range(20)]
        await wait_until(lambda: len(handler.jobs) == 3)
        queue.down = True
        exchanges = len(queue.exchanges)
        go.set()
        await wait_until(lambda: len(queue.exchanges) > exchanges)
        queue.down = False
        for job in jobs:
            assert (await ended(queue, job.id)).status is JobStatus.COMPLETED
    assert len(handler.jobs) == 20


@pytest.mark.parametrize("at", range(1, 6))
async def test_a_lost_reply_never_runs_a_finished_job_again(at):
    queue, handler = FlakyQueue(lease_seconds=0.2), Doing()
    jobs = [await queue.enqueue(make_job()) for _ in range(6)]
    queue.script = ["ok"] * at + ["reply lost"]
    async with WorkerManager(queue, [handler], concurrency=2):
        for job in jobs:
            assert (await ended(queue, job.id)).status is JobStatus.COMPLETED
    runs = [job.id for job in handler.jobs]
    assert len(runs) == len(set(runs)) == 6
    for job in jobs:
        assert (await queue.inspect(job.id)).accounted


async def test_an_error_that_ends_the_work_is_said_at_once_and_told_to_the_caller(caplog):
    queue = FlakyQueue()
    manager = WorkerManager(queue, [Doing()])
    await manager.start()
    await wait_until(lambda: queue.exchanges)
    queue.script = ["broken"]
    await queue.enqueue(make_job())
    await wait_until(lambda: "worker_manager_failed" in caplog.text)
    assert not manager.is_running
    with pytest.raises(ZeroDivisionError):
        await manager.wait()
    with pytest.raises(ZeroDivisionError):
        await manager.stop()


async def test_an_adapter_of_nine_methods_works_and_what_it_cannot_promise_is_logged(caplog):
    queue = ToyQueue()
    job = await queue.enqueue(make_job())
    await work(queue, Doing())
    assert (await queue.get_job(job.id)).status is JobStatus.COMPLETED
    [warning] = [
        record for record in caplog.records if "queue_adapter_is_limited" in record.message
    ]
    assert warning.levelname == "WARNING"
    assert "ToyQueue" in warning.message
    assert "not fenced" in warning.message


async def test_a_job_type_nobody_serves_is_put_off_loudly_and_uses_no_retry(caplog):
    queue = MemoryJobQueueAdapter()
    job = await queue.enqueue(make_job(job_type="mail.sent", max_retries=0))
    await work(queue, Doing())
    record = await queue.inspect(job.id)
    assert (record.job.status, record.snooze_count) == (JobStatus.SCHEDULED, 1)
    assert "mail.sent" in caplog.text
    assert "test.job" in record.job.error_message


@pytest.mark.parametrize("durable", [False, True], ids=["memory", "sqlite"])
async def test_a_running_job_is_cancelled_by_request_long_before_its_lease_is_renewed(
    tmp_path, durable
):
    """All the others that were leased with it go on."""

    async def handle(job):
        await (asyncio.sleep(1e6) if job.payload else others_may_end.wait())
        return JobResult(success=True)

    others_may_end = asyncio.Event()
    url = f"sqlite:///{tmp_path}/jobs.db"
    queue = DatabaseJobQueueAdapter(url) if durable else MemoryJobQueueAdapter()
    handler = Doing(handle)
    await queue.initialize()
    others = [(await queue.enqueue(make_job())).id for _ in range(2)]
    job = await queue.enqueue(make_job(payload={"long": True}))
    async with WorkerManager(queue, [handler], concurrency=3) as manager:
        await wait_until(lambda: len(handler.jobs) == 3)
        assert await queue.request_cancel(job.id)
        failed = await ended(queue, job.id)
        others_may_end.set()
        for other in others:
            assert (await ended(queue, other)).status is JobStatus.COMPLETED
    await queue.close()
    assert (failed.status, failed.error_message) == (JobStatus.FAILED, "Job cancelled")
    assert (manager.progress.cancelled, manager.progress.failed) == (1, 0)
    assert len(handler.told) == 1


async def test_the_result_is_kept():
    queue = MemoryJobQueueAdapter()
    job = await queue.enqueue(make_job())
    await work(queue, Doing(returning(JobResult(success=True, result_data={"rows": 7}))))
    assert await queue.get_result(job.id) == {"rows": 7}


async def test_an_audit_log_is_told_of_jobs_that_end():
    audit = Mock(spec=AuditAdapter, log_event=AsyncMock())
    queue = MemoryJobQueueAdapter()
    job = await queue.enqueue(make_job())
    await work(queue, Doing(), audit=audit)
    [call] = audit.log_event.await_args_list
    assert call.args[0].resource_id == str(job.id)


async def test_a_policy_of_its_own_rules_a_job_type():
    queue = MemoryJobQueueAdapter()
    job = await queue.enqueue(make_job())
    slow = RetryPolicy(base_delay=1000, jitter=0)
    await work(queue, Doing(raising(ValueError("x"))), retry_policies={"test.job": slow})
    record = await queue.inspect(job.id)
    assert record.job.status is JobStatus.RETRYING
    assert (record.due_at - record.job.created_at).total_seconds() > 990


@pytest.mark.parametrize("names", [("job_queue", "concurrency"), ("queue_adapter", "num_workers")])
async def test_both_spellings_of_the_constructor_work(names):
    queue = MemoryJobQueueAdapter()
    job = await queue.enqueue(make_job())
    arguments = dict(zip(names, (queue, 2), strict=True))
    async with WorkerManager(handlers={"test.job": Doing()}, **arguments):
        assert (await ended(queue, job.id)).status is JobStatus.COMPLETED


class Unfinished:
    job_type = "test.job"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"concurrency": 0}, "concurrency is 0"),
        ({"concurrency": -1}, "concurrency is -1"),
        ({"concurrency": True}, "concurrency is True"),
        ({"queues": ()}, "queues is empty"),
        ({"handlers": {}}, "no handlers"),
        ({"handlers": 7}, "handlers is of type int"),
        ({"handlers": [Unfinished()]}, "no handle"),
        ({"handlers": [Doing]}, "class Doing"),
        (
            {"handlers": {"other.job": Doing()}},
            "Doing, whose job_type is 'test.job'",
        ),
        ({"handlers": [Doing(), Doing()]}, "two handlers serve 'test.job'"),
        ({"handlers": [Doing(job_type="")]}, "job_type ''"),
        ({"job_queue": None}, "job_queue is missing"),
        ({"job_queue": object()}, "job_queue is of type object"),
        ({"job_timeout": -1}, "job_timeout is -1"),
        ({"lease_seconds": 0}, "lease_seconds is 0"),
    ],
)
def test_what_cannot_work_is_refused_by_name_before_anything_starts(arguments, named):
    usable = {"job_queue": MemoryJobQueueAdapter(), "handlers": [Doing()]}
    with pytest.raises(ConfigurationError, match=named):
        WorkerManager(**{**usable, **arguments})


def test_a_queue_name_that_is_none_is_refused():
    with pytest.raises(ValidationError, match="queues"):
        WorkerManager(MemoryJobQueueAdapter(), [Doing()], queues=["a b"])


async def test_a_single_queue_may_be_given_by_name():
    queue = MemoryJobQueueAdapter()
    job = await queue.enqueue(make_job(queue_name="mail"))
    await work(queue, Doing(), queues="mail")
    assert (await queue.get_job(job.id)).status is JobStatus.COMPLETED
