"""Which types a supervisor asks its store for."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from portico.adapters.job_queue import MemoryJobQueueAdapter
from portico.kits.job.pipeline import Pipeline
from portico.kits.job.served import Served
from portico.kits.job.settlement import SNOOZE_DELAY
from portico.ports.job import JobStatus
from portico.ports.job_executor import Completed, Outcome, Unroutable
from portico.ports.leasing import Failure, Lease
from portico.ports.wanted import EVERYTHING, Wanted
from tests.support.jobs import make_job
from tests.support.waiting import wait_until
from tests.unit.kits.parts import FlakyQueue, ManualExecutor

NOBODY = Unroutable(Failure("UnknownJobType", "nobody serves it"))


def lease(job_type: str) -> Lease:
    return Lease(
        b"i" * 16, b"t", 1, "default", job_type, b"{}", 0, 3, 0, None, 0, 0, None, b"{}", None,
        False,
    )  # fmt: skip


def served() -> Served:
    return Served(MemoryJobQueueAdapter())


def test_everything_is_asked_for_until_something_is_known() -> None:
    assert served().wanted(0.0) == EVERYTHING


def test_a_type_that_nobody_serves_is_left_out_while_its_job_is_put_off() -> None:
    ours = served()
    ended = [Outcome(lease("a"), NOBODY), Outcome(lease("b"), Completed(b"{}"))]
    ours.put_off(ended, now=100.0)
    wanted = ours.wanted(100.0)
    assert not wanted.has("a")
    assert wanted.has("b")
    assert ours.wanted(100.0 + SNOOZE_DELAY).everything, "another release may serve it by now"


def test_what_is_left_out_is_bounded() -> None:
    ours = served()
    ours.put_off([Outcome(lease(f"t.{n}"), NOBODY) for n in range(10_000)], now=0.0)
    assert len(ours.wanted(0.0).types) <= 100


def test_only_what_is_served_is_asked_for_once_that_is_said() -> None:
    ours = served()
    ours.serve_only(["a", "b"])
    assert ours.wanted(0.0) == Wanted(frozenset({"a", "b"}), only=True)


def test_a_store_that_cannot_choose_is_asked_for_everything() -> None:
    ours = Served(FlakyQueue())
    ours.serve_only(["a"])
    ours.put_off([Outcome(lease("b"), NOBODY)], now=0.0)
    assert ours.wanted(0.0) == EVERYTHING


async def test_a_pipeline_leases_a_type_that_nobody_serves_once_and_others_go_on() -> None:
    queue, executor = MemoryJobQueueAdapter(), ManualExecutor()
    pipeline = Pipeline(queue, executor, ("default",))
    work = asyncio.create_task(pipeline.run())
    first = await queue.enqueue(make_job(job_type="t.unknown"))
    await wait_until(executor.held)
    executor.end(NOBODY)
    await wait_until(lambda: pipeline.progress.snoozed == 1)
    others = [await queue.enqueue(make_job(job_type="t.unknown")) for _ in range(5)]
    known = await queue.enqueue(make_job(job_type="t.known"))
    await wait_until(lambda: [one.job_id for one in executor.held()] == [known.id])
    executor.end(Completed(b"{}"))
    await wait_until(lambda: pipeline.progress.completed == 1)
    for job in others:
        record = await queue.inspect(job.id)
        assert record is not None
        assert (record.job.status, record.attempt) == (JobStatus.PENDING, 0)
    put_off = await queue.inspect(first.id)
    assert put_off is not None
    assert put_off.snooze_count == 1
    pipeline.stop(0)
    with suppress(asyncio.CancelledError):
        await work
