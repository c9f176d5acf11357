"""What a job may take of time and memory, and what becomes of one that takes more."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import pytest

from portico.exceptions import ConfigurationError, ValidationError
from portico.kits.job.handlers import handlers_by_type
from portico.kits.job.job_service import JobService
from portico.ports.job import JobStatus
from portico.ports.job_queue import JobQueueAdapter
from portico.supervisor import scales
from portico.supervisor.config import SupervisorConfig
from portico.supervisor.supervisor import Supervisor
from tests.support import limits_app
from tests.support.jobs import ended, make_job
from tests.support.supervisors import Place
from tests.support.waiting import wait_until

APP = "tests.support.limits_app:app"


async def error_type(queue: JobQueueAdapter, job_id: object) -> str | None:
    record = await queue.inspect(job_id)  # type: ignore[arg-type]
    assert record is not None
    assert record.accounted
    assert record.crash_count == 0
    return record.error_type


async def test_a_job_type_with_deadlines_of_its_own_is_cancelled_and_killed_at_those(
    here: Place, queue: JobQueueAdapter
) -> None:
    soft = await queue.enqueue(
        make_job(job_type="test.brief_sleep", payload={"seconds": 3600}, max_retries=0)
    )
    hard = await queue.enqueue(make_job(job_type="test.brief_spin", max_retries=0))
    supervisor = here.supervisor("--job-timeout", "1h", app=APP)
    for job in (soft, hard):
        dead = await ended(queue, job.id)
        assert dead.status is JobStatus.DEAD_LETTER
        assert "deadline of 0.3 s" in (dead.error_message or "")
        assert await error_type(queue, job.id) == "JobTimeoutError"
    assert [e["job_id"] for e in supervisor.events("job_overdue")] == [str(hard.id)]


async def test_one_job_may_have_less_time_than_others_of_its_type(
    here: Place, queue: JobQueueAdapter
) -> None:
    service = JobService(queue)
    hasty = await service.create_job(
        "test.spin", {}, job_timeout=0.2, kill_grace=0.1, max_retries=0
    )
    other = await service.create_job("test.block", {"seconds": 1.0})
    here.supervisor("--job-timeout", "1h", app=APP)
    dead = await ended(queue, hasty.id)
    assert "deadline of 0.2 s" in (dead.error_message or "")
    assert "killed 0.1 s later" in (dead.error_message or "")
    assert await error_type(queue, hasty.id) == "JobTimeoutError"
    assert (await ended(queue, other.id)).status is JobStatus.COMPLETED


async def test_a_type_or_a_job_may_have_more_time_than_the_supervisor_gives_others(
    here: Place, queue: JobQueueAdapter
) -> None:
    service = JobService(queue)
    patient = await service.create_job("test.patient", {"seconds": 1.0})
    granted = await service.create_job("test.sleep", {"seconds": 1.0}, job_timeout=None)
    usual = await service.create_job("test.sleep", {"seconds": 1.0}, max_retries=0)
    here.supervisor("--job-timeout", "200ms", "--kill-grace", "100ms", app=APP)
    assert (await ended(queue, usual.id)).status is JobStatus.DEAD_LETTER
    assert (await ended(queue, patient.id)).status is JobStatus.COMPLETED
    assert (await ended(queue, granted.id)).status is JobStatus.COMPLETED


@pytest.mark.parametrize("seconds", [0, -1, "soon", float("nan"), True, 1e12])
async def test_an_impossible_time_limit_of_a_job_is_refused_when_it_is_created(
    queue: JobQueueAdapter, seconds: object
) -> None:
    with pytest.raises(ValidationError, match="job_timeout"):
        await JobService(queue).create_job("test.fine", {}, job_timeout=seconds)


def test_an_impossible_time_limit_of_a_type_is_a_configuration_error() -> None:
    handler = limits_app.Brief("brief", None)
    handler.job_timeout = -1.0
    with pytest.raises(ConfigurationError, match=r"job_timeout of .*Brief is -1.0"):
        handlers_by_type([handler])


@pytest.mark.parametrize(
    "kind",
    [
        "grow",
        pytest.param(
            "grow_in_child",
            marks=pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
        ),
    ],
)
async def test_a_job_that_outgrows_the_memory_ceiling_is_killed_and_told_apart_from_a_crash(
    here: Place, queue: JobQueueAdapter, kind: str
) -> None:
    greedy = await queue.enqueue(make_job(job_type=f"test.{kind}", max_retries=1))
    beside = [await queue.enqueue(make_job(job_type="test.fine")) for _ in range(20)]
    supervisor = here.supervisor("--memory-ceiling", "300M", app=APP)
    dead = await ended(queue, greedy.id)
    assert dead.status is JobStatus.DEAD_LETTER
    assert dead.retry_count == 1
    assert "past the ceiling of 300 MiB" in (dead.error_message or "")
    assert await error_type(queue, greedy.id) == "MemoryCeilingError"
    assert here.ledger.count("BEGIN", greedy.id) == 2
    assert [line[5] for line in here.ledger.of("FAILED", greedy.id)] == ["WorkerLostError"] * 2
    assert supervisor.events("worker_outgrown")
    for job in beside:
        assert (await ended(queue, job.id)).status is JobStatus.COMPLETED
        assert here.ledger.count("BEGIN", job.id) == 1


async def test_jobs_that_outgrow_the_ceiling_together_run_again_alone(
    here: Place, queue: JobQueueAdapter
) -> None:
    sleeper = await queue.enqueue(make_job(job_type="test.sleep", payload={"seconds": 0.4}))
    here.supervisor("--memory-ceiling", "300M", "--workers", "1", "--concurrency", "2", app=APP)
    await wait_until(lambda: here.ledger.count("BEGIN", sleeper.id))
    greedy = await queue.enqueue(make_job(job_type="test.grow", max_retries=1))
    assert (await ended(queue, greedy.id)).status is JobStatus.DEAD_LETTER
    assert (await ended(queue, sleeper.id)).status is JobStatus.COMPLETED
    record = await queue.inspect(sleeper.id)
    assert record is not None
    assert (record.job.retry_count, record.crash_count) == (0, 0)


@pytest.mark.fault("B6")
async def test_a_worker_that_has_grown_is_replaced_after_its_job_which_counts(
    here: Place, queue: JobQueueAdapter
) -> None:
    job = await queue.enqueue(
        make_job(job_type="test.grow", payload={"until_mib": 300, "wait": True})
    )
    supervisor = here.supervisor("--max-memory-per-worker", "200M", app=APP)
    recycled = await supervisor.event("worker_recycled")
    assert "resident size" in recycled["reason"]
    here.ledger.path.with_name("go").touch()
    assert (await ended(queue, job.id)).status is JobStatus.COMPLETED
    assert here.ledger.count("BEGIN", job.id) == 1
    gone = recycled["pid"]
    await supervisor.until(lambda: gone not in [w.pid for w in supervisor.workers()])
    await supervisor.until(lambda: len(supervisor.workers()) == 2, what="the whole pool")
    assert not supervisor.events("worker_exited")


async def test_a_worker_is_replaced_at_its_age_while_jobs_go_on(
    here: Place, queue: JobQueueAdapter
) -> None:
    supervisor = here.supervisor("--max-age-per-worker", "1s", app=APP)
    await supervisor.started()
    first = {worker.pid for worker in supervisor.workers()}
    jobs = [
        await queue.enqueue(make_job(job_type="test.block", payload={"seconds": 0.05}))
        for _ in range(60)
    ]
    await supervisor.until(lambda: not first & {w.pid for w in supervisor.workers()})
    for job in jobs:
        assert (await ended(queue, job.id)).status is JobStatus.COMPLETED
        assert here.ledger.count("BEGIN", job.id) == 1
    assert {e["reason"][:3] for e in supervisor.events("worker_recycled")} == {"age"}


async def test_too_little_memory_holds_jobs_back_and_says_so_until_there_is_more(
    here: Place, queue: JobQueueAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEDGER", str(here.ledger.path))
    left = [1 << 20]
    monkeypatch.setattr(scales, "available", lambda: left[0])
    seen: list[str] = []
    monkeypatch.setattr(
        "portico.supervisor.pool.ProcessPool._log", lambda _, note: seen.append(note.event)
    )
    config = SupervisorConfig(
        workers=1, app=APP, queue_url=here.url, min_free_memory=1 << 30, drain=False
    )
    running = asyncio.create_task(Supervisor(config).run())
    await wait_until(lambda: seen == ["dispatch_held_back"])
    job = await queue.enqueue(make_job(job_type="test.fine"))
    later = await queue.enqueue(make_job(job_type="test.fine"))
    assert (await queue.get_queue_stats("default")).pending_count == 2
    left[0] = 2 << 30
    assert (await ended(queue, job.id)).status is JobStatus.COMPLETED
    assert (await ended(queue, later.id)).status is JobStatus.COMPLETED
    assert seen == ["dispatch_held_back", "dispatch_resumed"]
    os.kill(os.getpid(), signal.SIGTERM)
    assert await running == 0


def test_a_control_group_with_less_than_the_machine_is_what_counts(tmp_path) -> None:
    assert (scales.available(tmp_path) or 0) > 1 << 20
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("700000\n")
    (tmp_path / "memory.stat").write_text("inactive_file 150000\nactive_file 50000\n")
    assert scales.available(tmp_path) == 500_000
    (tmp_path / "memory.max").write_text("max\n")
    assert (scales.available(tmp_path) or 0) > 1 << 20
