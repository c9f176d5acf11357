"""Results that the store cannot take: none keeps the others waiting, and they are bounded."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

from portico.exceptions import DatabaseError, QueueConnectionError
from portico.kits.job import outbox as outboxes
from portico.kits.job import pipeline as pipelines
from portico.kits.job.outbox import Outbox
from portico.kits.job.pipeline import Pipeline
from portico.kits.job.retry import RetryPolicies
from portico.ports.job import JobStatus
from portico.ports.job_executor import Completed, Failed, Outcome
from portico.ports.leasing import Failure, Transition
from tests.support.jobs import ended, make_job
from tests.support.waiting import wait_until
from tests.unit.kits.parts import FlakyQueue, ManualExecutor, make_lease

POISON = b'{"poison": true}'
DONE = Completed(b"{}")


class Squeamish(FlakyQueue):
    """Takes no batch with a poisonous result in it, or whose message holds a word."""

    def __init__(self, error: Exception, word: str = "poison") -> None:
        super().__init__()
        self.error, self.word = error, word
        self.sizes: list[int] = []

    async def exchange(self, settlements, queues, limit):
        self.sizes.append(len(settlements))
        for settlement in settlements:
            said = settlement.failure.message if settlement.failure else ""
            if settlement.result == POISON or self.word in said:
                raise self.error
        return await super().exchange(settlements, queues, limit)


class Pausable(ManualExecutor):
    """Notes when it was told to pause."""

    def __init__(self, capacity: int = 4) -> None:
        super().__init__(capacity)
        self.pauses: list[bool] = []

    def pause(self, *, paused):
        self.pauses.append(paused)


@asynccontextmanager
async def running(queue, executor, **options):
    pipeline = Pipeline(queue, executor, ("default",), **options)
    task = asyncio.create_task(pipeline.run())
    try:
        yield pipeline
    finally:
        pipeline.stop(0)
        await task


async def leased(queue, executor, count):
    jobs = [await queue.enqueue(make_job()) for _ in range(count)]
    await wait_until(lambda: len(executor.leases) == count)
    return jobs


async def test_one_result_that_the_store_refuses_fails_its_job_and_no_other(caplog):
    queue, executor = Squeamish(DatabaseError("no such character")), ManualExecutor(40)
    async with running(queue, executor):
        jobs = await leased(queue, executor, 40)
        bad = executor.leases[23]
        executor.end(DONE, *executor.leases[:23])
        executor.end(Completed(POISON), bad)
        executor.end(DONE)
        for job in jobs:
            found = await ended(queue, job.id)
            if job.id == bad.job_id:
                assert found.status is JobStatus.FAILED
                assert "did not take" in found.error_message
                assert "no such character" in found.error_message
            else:
                assert found.status is JobStatus.COMPLETED
    assert caplog.text.count("outcome_not_storable") == 1
    assert len(queue.sizes) < 30, "it is looked for by halves"


async def test_an_outcome_that_no_wording_makes_storable_is_given_up(caplog):
    queue, executor = Squeamish(DatabaseError("never"), word="never"), ManualExecutor(4)
    async with running(queue, executor) as pipeline:
        jobs = await leased(queue, executor, 4)
        bad = executor.leases[0]
        executor.end(Completed(POISON), bad)
        executor.end(DONE)
        for job in jobs:
            if job.id != bad.job_id:
                assert (await ended(queue, job.id)).status is JobStatus.COMPLETED
        await wait_until(lambda: "outcome_given_up" in caplog.text)
        assert pipeline.unsettled == 0
    assert (await queue.get_job(bad.job_id)).status is JobStatus.RUNNING


async def test_a_store_that_takes_nothing_at_all_ends_the_pipeline_with_its_error():
    queue, executor = Squeamish(DatabaseError("malformed"), word=""), ManualExecutor(4)
    pipeline = Pipeline(queue, executor, ("default",), flush_seconds=0.1)
    task = asyncio.create_task(pipeline.run())
    await leased(queue, executor, 4)
    executor.end(DONE)
    with pytest.raises(DatabaseError, match="malformed"):
        await task


async def test_a_result_at_which_the_connection_breaks_lets_the_others_go_first():
    queue, executor = Squeamish(QueueConnectionError("reset by peer")), ManualExecutor(4)
    async with running(queue, executor, flush_seconds=0.2):
        jobs = await leased(queue, executor, 4)
        bad = executor.leases[0]
        executor.end(Completed(POISON), bad)
        executor.end(DONE)
        for job in jobs:
            if job.id != bad.job_id:
                assert (await ended(queue, job.id)).status is JobStatus.COMPLETED


def test_a_failure_that_is_reworded_keeps_its_transition_and_delay():
    outbox = Outbox(RetryPolicies())
    failure = Failure("ValueError", "x\x00y", traceback="deep\x00")
    outbox.add([Outcome(make_lease(), Failed(failure, retryable=True))])
    [before] = outbox.batch()[1]
    outbox.refused(DatabaseError("cannot hold \x00"))
    [after] = outbox.batch()[1]
    assert (after.transition, after.delay) == (Transition.RETRY, before.delay)
    assert "\x00" not in after.failure.message + after.failure.traceback


@pytest.mark.parametrize("bound", ["MOST_RESULTS", "MOST_BYTES"])
async def test_an_outage_that_fills_the_outbox_stops_the_executor_until_there_is_room(
    monkeypatch, caplog, bound
):
    monkeypatch.setattr(outboxes, bound, 6)
    queue, executor = FlakyQueue(), Pausable(8)
    async with running(queue, executor):
        jobs = await leased(queue, executor, 8)
        queue.down = True
        executor.end(DONE, *executor.leases[:3])
        await wait_until(lambda: "store_unreachable" in caplog.text)
        assert executor.pauses == ([] if bound == "MOST_RESULTS" else executor.pauses)
        executor.end(DONE, *executor.leases[:4])
        await wait_until(lambda: executor.pauses == [True])
        executor.end(DONE)  # what ran has ended, and finds room
        queue.down = False
        for job in jobs:
            assert (await ended(queue, job.id)).status is JobStatus.COMPLETED
        await wait_until(lambda: executor.pauses == [True, False])
    assert caplog.text.count("outbox_full") == caplog.text.count("outbox_has_room") == 1


async def test_what_gathers_while_the_store_owes_an_answer_counts_as_well(monkeypatch):
    monkeypatch.setattr(outboxes, "MOST_RESULTS", 2)
    monkeypatch.setattr(pipelines, "_SLOW", 0.0)
    queue, executor = FlakyQueue(), Pausable(8)
    queue.script = ["ok", "ok", "hang"]
    pipeline = Pipeline(queue, executor, ("default",))
    task = asyncio.create_task(pipeline.run())
    await leased(queue, executor, 4)
    await wait_until(lambda: queue.script == ["hang"] or not queue.script)
    executor.end(DONE, executor.leases[0])
    await wait_until(lambda: not queue.script)
    executor.end(DONE)
    assert executor.pauses[-1:] == [True]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
