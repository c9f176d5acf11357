"""Which types a supervisor asks its store for."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest

from portico.adapters.job_queue import DatabaseJobQueueAdapter, MemoryJobQueueAdapter
from portico.kits.job.lookout import Lookout
from portico.kits.job.pipeline import Pipeline
from portico.kits.job.served import Served
from portico.kits.job.settlement import SNOOZE_DELAY
from portico.kits.job.task_executor import TaskExecutor
from portico.ports.draft import Draft
from portico.ports.job import Job, JobResult, JobStatus
from portico.ports.job_executor import Completed, Outcome, Unroutable
from portico.ports.leasing import Exchange, Failure, Lease
from portico.ports.wanted import EVERYTHING, Wanted
from tests.support.jobs import make_job
from tests.support.waiting import wait_until
from tests.unit.kits.parts import Doing, FlakyQueue, ManualExecutor

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


def test_a_type_of_which_enough_wait_here_is_left_out_and_others_are_bounded() -> None:
    ours = served()
    room = {"full": 0, "scarce": 3}
    assert ours.wanted(0.0, room) == Wanted(frozenset({"full"}), most={"scarce": 3})
    ours.serve_only(["full", "a"])
    assert ours.wanted(0.0, room) == Wanted(frozenset({"a"}), only=True)
    assert Served(FlakyQueue()).wanted(0.0, room) == EVERYTHING


def test_what_is_wanted_shrinks_by_what_was_leased() -> None:
    wanted = Wanted().within({"a": 2, "b": 1})
    left = wanted.after(["a", "b", "c"])
    assert left == Wanted(frozenset({"b"}), most={"a": 1})
    assert not left.after(["a"]).has("a")


async def test_where_a_store_has_not_seen_everything_it_is_asked_again_at_once() -> None:
    lookout = Lookout(MemoryJobQueueAdapter(), ("default",), lambda: None)
    lookout.looked(Exchange([], [], unseen=True), 5)
    assert not lookout.dry
    lookout.looked(Exchange([], []), 5)
    assert lookout.dry


async def test_a_drain_of_all_that_is_due_finds_what_is_behind_a_flood_that_nobody_serves(
    tmp_path: Path,
) -> None:
    queue = DatabaseJobQueueAdapter(f"sqlite:///{tmp_path / 'jobs.db'}")
    await queue.initialize()
    await queue.insert([Draft.of(make_job(job_type="t.unknown")) for _ in range(1200)])
    await queue.enqueue(make_job(job_type="t.known"))
    executor = ManualExecutor(at_once=Completed(b"{}"))
    pipeline = Pipeline(queue, executor, ("default",), drain_when_empty=True)
    pipeline.serve_only(["t.known"])
    await pipeline.run()
    assert pipeline.progress.completed == 1
    await queue.close()


class OneAtATime(Doing):
    """Of its jobs one runs at a time."""

    max_running = 1


@pytest.mark.parametrize(("chooses", "put_off"), [(True, 0), (False, 1)])
async def test_a_flood_of_a_limited_type_stays_where_it_is_where_the_store_can_leave_it_out(
    chooses: bool, put_off: int
) -> None:
    queue, gate = MemoryJobQueueAdapter() if chooses else FlakyQueue(), asyncio.Event()

    async def wait(_: Job) -> JobResult:
        await gate.wait()
        return JobResult(success=True)

    limited, other = OneAtATime(wait, job_type="t.limited"), Doing(job_type="t.other")
    executor = TaskExecutor({"t.limited": limited, "t.other": other}, 4)
    pipeline = Pipeline(queue, executor, ("default",))
    flood = [await queue.enqueue(make_job(job_type="t.limited")) for _ in range(50)]
    late = await queue.enqueue(make_job(job_type="t.other"))
    work = asyncio.create_task(pipeline.run())
    await wait_until(lambda: [job.id for job in other.jobs] == [late.id])
    records = [await queue.inspect(job.id) for job in flood]
    waiting = [one for one in records if one and one.job.status is not JobStatus.RUNNING]
    assert len(waiting) >= 46
    if chooses:
        assert {one.job.status for one in waiting} == {JobStatus.PENDING}
        assert sum(one.release_count for one in waiting) <= 4, "what came before it was known"
    gate.set()
    if chooses:
        await wait_until(lambda: pipeline.progress.completed == 51)
        assert [job.id for job in limited.jobs] == [job.id for job in flood], "and in order"
    assert (pipeline.progress.snoozed > 0) is bool(put_off)
    pipeline.stop(0)
    await work


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
