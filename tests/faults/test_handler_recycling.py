"""A worker that asks to be replaced, because of what a handler did to it."""

from __future__ import annotations

import pytest

from portico.kits.job.pipeline import Pipeline
from portico.ports.job import JobStatus
from portico.ports.job_queue import JobQueueAdapter
from portico.supervisor import wire
from portico.supervisor.member import State
from tests.support.accounts import MISBEHAVING, account, enqueue, pid_of
from tests.support.jobs import ended
from tests.support.pools import pool_of_processes
from tests.support.supervisors import Place
from tests.support.waiting import wait_until


@pytest.mark.fault("B5")
async def test_a_worker_that_leaves_while_its_successor_fails_to_boot_is_replaced(
    here: Place, queue: JobQueueAdapter
) -> None:
    job = await enqueue(queue, "out_of_memory", max_retries=0)
    supervisor = here.supervisor(
        "--workers", "1", app="tests.support.misbehaving_app:app_that_opens_once_and_then_later"
    )
    await account(here, queue, job, JobStatus.DEAD_LETTER, error="MemoryError")
    failed = await supervisor.event("worker_boot_failed")
    assert "it is not open" in failed["reason"]
    (here.folder / "open").touch()
    after = await enqueue(queue, "pid")
    await account(here, queue, after, JobStatus.COMPLETED)
    assert not supervisor.events("worker_exited")
    await supervisor.until(lambda: len(supervisor.workers()) == 1, what="the whole pool")


@pytest.mark.fault("B5")
async def test_a_job_beside_one_that_runs_out_of_memory_ends_in_its_worker(
    here: Place, queue: JobQueueAdapter
) -> None:
    beside = await enqueue(queue, "until_go")
    supervisor = here.supervisor("--workers", "1", "--concurrency", "2", app=MISBEHAVING)
    await supervisor.until(lambda: here.ledger.count("BEGIN", beside.id), what="the start")
    greedy = await enqueue(queue, "out_of_memory", max_retries=0)
    await account(here, queue, greedy, JobStatus.DEAD_LETTER, error="MemoryError")
    old = (await supervisor.event("worker_recycled", reason="memory_error"))["pid"]
    after = await enqueue(queue, "pid")
    await account(here, queue, after, JobStatus.COMPLETED)
    assert await pid_of(queue, after) != old
    (here.folder / "go").touch()
    await account(here, queue, beside, JobStatus.COMPLETED)
    assert await pid_of(queue, beside) == old
    assert not supervisor.events("worker_exited")


@pytest.mark.fault("B11")
async def test_a_worker_that_asks_again_and_again_to_be_replaced_is_replaced_once(
    here: Place, queue: JobQueueAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEDGER", str(here.ledger.path))
    async with pool_of_processes(MISBEHAVING, workers=1) as (pool, crew):
        (member,) = crew.members
        for _ in range(100):
            crew.received(member.process, [wire.Leaving("x" * 10_000)])
        assert not member.seat.load.open
        await wait_until(lambda: member not in crew.members)
        assert [other.state for other in crew.members] == [State.READY]
        job = await enqueue(queue, "pid")
        await Pipeline(queue, pool, ["default"], drain_when_empty=True).run()
        await ended(queue, job.id)
