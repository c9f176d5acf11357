"""What becomes of a job whose handler holds, leaves something on, or breaks its worker's loop."""

from __future__ import annotations

import asyncio

import psutil
import pytest

from portico import compose
from portico.kits.job.pipeline import Pipeline
from portico.ports.job import JobStatus
from portico.ports.job_queue import JobQueueAdapter
from tests.support.accounts import AT_ONCE, MISBEHAVING, account, enqueue, pid_of
from tests.support.jobs import ended
from tests.support.pools import pool_of_processes
from tests.support.supervisors import Place
from tests.support.waiting import wait_until


@pytest.mark.fault("B1")
@pytest.mark.fault("B2")
@pytest.mark.fault("B3")
@pytest.mark.fault("B4")
async def test_a_handler_that_never_ends_is_killed_four_times_and_dead_lettered(
    here: Place, queue: JobQueueAdapter
) -> None:
    """It spins, is stuck in C with the GIL, blocks in a system call, swallows its cancellation."""
    names = ("spin", "stuck_in_c", "block", "stubborn")
    jobs = [await enqueue(queue, name, seconds=3600, max_retries=3) for name in names]
    supervisor = here.supervisor(
        "--workers", "4", "--job-timeout", "150ms", "--kill-grace", "100ms", "--lease", "1s",
        TUNING=AT_ONCE,
    )  # fmt: skip
    for job in jobs:
        await account(
            here, queue, job, JobStatus.DEAD_LETTER,
            retries=3, executions=4, error="JobTimeoutError",
        )  # fmt: skip
        assert len(supervisor.events("job_overdue", job_id=str(job.id))) == 4
        assert len({line[2] for line in here.ledger.of("BEGIN", job.id)}) == 4
    killed = supervisor.events("worker_exited", status="was killed: it ran past its deadline")
    assert len(killed) == 16
    assert not supervisor.events("lease_lost") + supervisor.events("job_recovered")


@pytest.mark.fault("B27")
async def test_tasks_that_a_handler_leaves_are_cancelled_before_the_next_job_starts(
    here: Place, queue: JobQueueAdapter
) -> None:
    leaving = await enqueue(queue, "leave_tasks", priority=9)
    tidy = [await enqueue(queue, name) for name in ("end_tasks", "outliving_task")]
    supervisor = here.supervisor("--workers", "1", app=MISBEHAVING)
    await account(here, queue, leaving, JobStatus.COMPLETED)
    for job in tidy:
        await account(here, queue, job, JobStatus.COMPLETED)
    worker = await pid_of(queue, leaving)
    assert {await pid_of(queue, job) for job in tidy} == {worker}

    (leak,) = supervisor.events("handler_leaked_tasks")
    assert (leak["job_id"], leak["tasks"], leak["still_running"]) == (str(leaving.id), 3, 0)
    assert "told_when_cancelled" in leak["coroutines"]
    cancelled = here.ledger.of("CANCELLED")
    assert [line[1] for line in cancelled] == [str(leaving.id)] * 3
    first_of_the_next = min(float(here.ledger.of("BEGIN", job.id)[0][3]) for job in tidy)
    assert max(float(line[3]) for line in cancelled) < first_of_the_next

    tick = here.folder / f"tick-{worker}"
    since = tick.stat().st_mtime_ns
    await wait_until(lambda: tick.stat().st_mtime_ns > since)  # the application's task goes on
    assert not supervisor.events("worker_exited")


@pytest.mark.fault("B27")
async def test_a_task_that_cannot_be_ended_costs_its_worker_and_no_job(
    here: Place, queue: JobQueueAdapter
) -> None:
    stubborn = await enqueue(queue, "stubborn_task", priority=9)
    after = [await enqueue(queue, "pid") for _ in range(5)]
    supervisor = here.supervisor("--workers", "1", app=MISBEHAVING)
    for job in (stubborn, *after):
        await account(here, queue, job, JobStatus.COMPLETED)
    (leak,) = supervisor.events("handler_leaked_tasks")
    assert (leak["job_id"], leak["still_running"]) == (str(stubborn.id), 1)
    worker = await pid_of(queue, stubborn)
    assert supervisor.events("worker_recycled", reason="leaked_tasks", pid=worker)
    await supervisor.until(lambda: not psutil.pid_exists(worker), what="the old one's end")
    assert worker not in [await pid_of(queue, job) for job in after]
    assert not supervisor.events("worker_exited")


@pytest.mark.fault("B28")
@pytest.mark.parametrize("concurrency", [1, 2])
async def test_a_leftover_that_exits_is_judged_as_the_death_of_its_worker_and_loses_no_job(
    concurrency: int, here: Place, queue: JobQueueAdapter
) -> None:
    """The job that runs then is charged where it runs alone, else both run again, each alone."""
    leaving = await enqueue(queue, "leave_an_exit")
    supervisor = here.supervisor(
        "--workers", "1", "--concurrency", str(concurrency), app=MISBEHAVING, TUNING=AT_ONCE
    )
    await account(here, queue, leaving, JobStatus.COMPLETED)
    running = [await enqueue(queue, "until_go") for _ in range(concurrency)]
    await supervisor.until(lambda: here.ledger.count("BEGIN") == 1 + concurrency)
    (here.folder / "leave").touch()
    await supervisor.event("worker_exited", status="exited with code 71")
    (here.folder / "go").touch()
    charged = int(concurrency == 1)
    for job in running:
        record = await account(
            here, queue, job, JobStatus.COMPLETED,
            retries=charged, crashes=charged, executions=2,
            error="WorkerLostError",
        )  # fmt: skip
        assert record.release_count == 1 - charged
    ended_by = await supervisor.event("worker_loop_ended")
    assert ended_by["error_type"] == "SystemExit"
    assert "in leave" in ended_by["traceback"]


@pytest.mark.fault("B29")
async def test_a_handler_that_stops_its_loop_has_crashed_its_worker(
    here: Place, queue: JobQueueAdapter
) -> None:
    once = await enqueue(queue, "stop_the_loop", runs=1)
    always = await enqueue(queue, "stop_the_loop", runs=9, max_retries=9)
    beside = [await enqueue(queue, "pid") for _ in range(20)]
    supervisor = here.supervisor(app=MISBEHAVING, TUNING=AT_ONCE)
    for job in beside:
        await account(here, queue, job, JobStatus.COMPLETED)
    await account(
        here, queue, once, JobStatus.COMPLETED,
        retries=1, crashes=1, executions=2, error="WorkerLostError",
    )  # fmt: skip
    record = await account(
        here, queue, always, JobStatus.DEAD_LETTER,
        retries=2, crashes=3, executions=3, error="WorkerLostError",
    )  # fmt: skip
    assert "exited with code 71" in (record.job.error_message or "")
    assert len(supervisor.events("worker_exited", status="exited with code 71")) == 4
    ended_by = await supervisor.event("worker_loop_ended")
    assert "loop stopped" in ended_by["error"]


@pytest.mark.fault("B29")
async def test_a_loop_that_runs_cannot_be_closed_by_a_handler(
    here: Place, queue: JobQueueAdapter
) -> None:
    job = await enqueue(queue, "close_the_loop", max_retries=0)
    after = await enqueue(queue, "pid")
    supervisor = here.supervisor("--workers", "1", app=MISBEHAVING)
    await account(here, queue, job, JobStatus.DEAD_LETTER, error="RuntimeError")
    await account(here, queue, after, JobStatus.COMPLETED)
    assert not supervisor.events("worker_exited")


@pytest.mark.fault("B32")
async def test_a_job_that_outlives_ten_lease_lengths_runs_once(
    here: Place, queue: JobQueueAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its loop is blocked all the time, and another supervisor is ready to take it over."""
    monkeypatch.setenv("LEDGER", str(here.ledger.path))
    lease = 0.2
    store = compose.job_queue(here.url, lease=lease)
    await store.initialize()
    renewed = []
    renew = store.renew

    async def counting(leases):  # type: ignore[no-untyped-def]
        renewals = await renew(leases)
        renewed.extend(leases)
        return renewals

    monkeypatch.setattr(store, "renew", counting)
    job = await enqueue(queue, "block_until_go")
    async with pool_of_processes(MISBEHAVING, job_timeout=None) as (pool, _):
        pipeline = Pipeline(store, pool, ["default"], lease_seconds=lease, drain_when_empty=True)

        work = asyncio.create_task(pipeline.run())
        await wait_until(lambda: here.ledger.count("BEGIN"))
        other = here.supervisor("--lease", "1s")
        await other.started()
        await wait_until(lambda: len(renewed) >= 4 * 10)  # four to a lease length
        (here.folder / "go").touch()
        await ended(queue, job.id)
        pipeline.stop(1.0)
        await work
    await account(here, queue, job, JobStatus.COMPLETED)
    assert not other.events("job_recovered")
    await store.close()
