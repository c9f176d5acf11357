"""A worker that asks to be replaced, because of what a handler did to it."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from portico.kits.job.pipeline import Pipeline
from portico.ports.job import JobStatus
from portico.ports.job_executor import Completed
from portico.ports.job_queue import JobQueueAdapter
from portico.ports.leasing import Lease
from portico.supervisor import wire
from portico.supervisor.member import Member, State
from tests.support.accounts import MISBEHAVING, account, enqueue, pid_of
from tests.support.jobs import ended
from tests.support.pools import pool_of_processes
from tests.support.supervisors import Place
from tests.support.waiting import wait_until


@pytest.mark.fault("B6")
@pytest.mark.parametrize(
    "limit",
    [
        {"max_jobs_per_worker": 3}, {"max_age_per_worker": 0.3}, {"max_memory_per_worker": 1 << 20},
    ],
    ids=lambda limit: next(iter(limit)),
)  # fmt: skip
async def test_no_worker_is_let_go_before_its_replacement_is_ready(
    limit: dict[str, Any], here: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also while jobs keep all of them busy, which go on in the ones that are there."""
    monkeypatch.setenv("LEDGER", str(here.ledger.path))
    async with pool_of_processes(MISBEHAVING, **limit) as (pool, crew):
        await wait_until(lambda: [m.state for m in crew.members] == [State.READY] * 2)
        first, ready = set(crew.members), []
        closing = crew.on_closing

        def let_go(member: Member) -> None:
            ready.append(sum(m.state is State.READY for m in crew.members))
            closing(member)

        crew.on_closing = let_go
        completed = 0

        def replaced() -> bool:
            nonlocal completed
            if pool.free():
                pool.submit([lease()])
            completed += len([o for o in pool.finished() if isinstance(o.verdict, Completed)])
            return not first & set(crew.members)

        await wait_until(replaced)
        assert len(ready) >= 2
        assert min(ready) >= 2
        assert completed > 0


def lease() -> Lease:
    return Lease(
        uuid4().bytes, uuid4().bytes, 1, "default", "test.pid",
        b"{}", 0, 3, 0, None, 0, 0, None, b"{}", None, False,
    )  # fmt: skip


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
