"""What becomes of jobs when a worker process dies, is killed, or has to be."""

from __future__ import annotations

import signal
from itertools import pairwise
from uuid import UUID

import psutil
import pytest

from portico.ports.job import Job, JobStatus
from portico.ports.job_queue import JobQueueAdapter, JobRecord
from tests.support.jobs import ended, make_job
from tests.support.supervisors import Place


async def enqueue(queue: JobQueueAdapter, name: str, **fields: object) -> Job:
    return await queue.enqueue(make_job(job_type=f"test.{name}", **fields))


async def record_of(queue: JobQueueAdapter, job_id: UUID) -> JobRecord:
    record = await queue.inspect(job_id)
    assert record is not None
    assert record.accounted
    return record


@pytest.mark.fault("A1")
async def test_a_job_whose_worker_is_killed_runs_again_and_nothing_else_does(
    here: Place, queue: JobQueueAdapter
) -> None:
    long = await enqueue(queue, "sleep", payload={"seconds": 1.0})
    others = [await enqueue(queue, "fine") for _ in range(50)]
    supervisor = here.supervisor()
    await supervisor.until(lambda: here.ledger.count("BEGIN", long.id), what="the start")
    victim = int(here.ledger.of("BEGIN", long.id)[0][2])
    psutil.Process(victim).kill()

    assert (await ended(queue, long.id)).status is JobStatus.COMPLETED
    for job in others:
        assert (await ended(queue, job.id)).status is JobStatus.COMPLETED
        assert here.ledger.count("BEGIN", job.id) == 1
    record = await record_of(queue, long.id)
    assert (record.crash_count, record.job.retry_count, record.attempt) == (1, 1, 2)
    exit_event = await supervisor.event("worker_exited")
    assert "SIGKILL" in exit_event["status"]
    await supervisor.until(lambda: len(supervisor.workers()) == 2, what="the whole pool")


@pytest.mark.fault("A10")
async def test_jobs_that_wait_behind_a_killer_are_not_charged(
    here: Place, queue: JobQueueAdapter
) -> None:
    """All are of one type, known to be short, so they wait in one worker when it dies."""
    harmless, deadly = {"how": ""}, {"how": "exit 9"}
    killers, tiny = [], []
    for _ in range(4):
        tiny += [await enqueue(queue, "die_once", payload=harmless) for _ in range(60)]
        killers.append(await enqueue(queue, "die_once", payload=deadly, max_retries=0))
    tiny += [await enqueue(queue, "die_once", payload=harmless) for _ in range(60)]
    supervisor = here.supervisor("--workers", "1")
    for killer in killers:
        assert (await ended(queue, killer.id)).status is JobStatus.DEAD_LETTER
        assert here.ledger.count("BEGIN", killer.id) == 1
    for job in tiny:
        assert (await ended(queue, job.id)).status is JobStatus.COMPLETED
        record = await record_of(queue, job.id)
        assert (record.attempt, record.crash_count) == (1, 0)
        assert here.ledger.count("BEGIN", job.id) == 1
    deaths = supervisor.events("worker_exited")
    assert len(deaths) == len(killers)
    assert any(len(death["jobs"]) > 1 for death in deaths), "none waited behind a killer"
    supervisor.signal(signal.SIGTERM)
    assert await supervisor.ended() == 0


@pytest.mark.fault("A2")
@pytest.mark.fault("A12")
async def test_a_segfaulting_job_is_dead_lettered_after_three_crashes_beside_healthy_ones(
    here: Place, queue: JobQueueAdapter
) -> None:
    poison = await enqueue(queue, "segfault", max_retries=10)
    healthy = [await enqueue(queue, "fine") for _ in range(100)]
    supervisor = here.supervisor()
    for job in healthy:
        assert (await ended(queue, job.id)).status is JobStatus.COMPLETED
        assert here.ledger.count("BEGIN", job.id) == 1
    dead = await ended(queue, poison.id)
    assert dead.status is JobStatus.DEAD_LETTER
    assert here.ledger.count("BEGIN", poison.id) == 3
    record = await record_of(queue, poison.id)
    assert (record.crash_count, record.job.retry_count, record.attempt) == (3, 2, 3)
    (death,) = supervisor.events("job_dead_lettered", job_id=str(poison.id))
    assert "crashed its worker too often" in death["next"]
    starts = [float(line[3]) for line in here.ledger.of("BEGIN", poison.id)]
    waits = [later - earlier for earlier, later in pairwise(starts)]
    assert waits[0] >= 1.0  # half of two seconds, at the least
    assert waits[1] >= 2.0
    assert record.error_type == "WorkerLostError"
    assert "SIGSEGV" in (dead.error_message or "")
    assert "Segmentation fault" in (record.traceback or "")
    assert "fault_app.py" in (record.traceback or "")
    assert supervisor.process.poll() is None


@pytest.mark.fault("A4")
async def test_leaving_with_code_0_in_a_handler_is_a_crash_and_no_success(
    here: Place, queue: JobQueueAdapter
) -> None:
    job = await enqueue(queue, "leave", payload={"code": 0}, max_retries=0)
    here.supervisor()
    dead = await ended(queue, job.id)
    assert dead.status is JobStatus.DEAD_LETTER
    assert "exited with code 0" in (dead.error_message or "")


@pytest.mark.fault("A6")
async def test_an_operator_who_terminates_a_worker_costs_no_attempt(
    here: Place, queue: JobQueueAdapter
) -> None:
    job = await enqueue(queue, "sleep", payload={"seconds": 0.5})
    supervisor = here.supervisor()
    await supervisor.until(lambda: here.ledger.count("BEGIN", job.id))
    psutil.Process(int(here.ledger.of("BEGIN", job.id)[0][2])).terminate()
    assert (await ended(queue, job.id)).status is JobStatus.COMPLETED
    assert here.ledger.count("BEGIN", job.id) == 1
    exit_event = await supervisor.event("worker_exited")
    assert exit_event["status"] == "exited with code 0"
    record = await record_of(queue, job.id)
    assert (record.attempt, record.crash_count, record.job.retry_count) == (1, 0, 0)
    await supervisor.until(lambda: len(supervisor.workers()) == 2, what="the whole pool")


@pytest.mark.fault("A11")
async def test_several_jobs_in_one_dead_worker_are_suspects_that_run_again_alone(
    here: Place, queue: JobQueueAdapter
) -> None:
    jobs = [await enqueue(queue, "sleep", payload={"seconds": 0.4}) for _ in range(5)]
    supervisor = here.supervisor("--workers", "1", "--concurrency", "5")
    await supervisor.until(lambda: here.ledger.count("BEGIN") == 5)
    psutil.Process(int(here.ledger.of("BEGIN")[0][2])).kill()
    for job in jobs:
        assert (await ended(queue, job.id)).status is JobStatus.COMPLETED
        record = await record_of(queue, job.id)
        assert (record.crash_count, record.job.retry_count, record.release_count) == (0, 0, 1)
        (told,) = supervisor.events("job_interrupted", job_id=str(job.id))
        assert "and others" in told["error"]
    spans = []
    for job in jobs:
        begin, end = here.ledger.of("BEGIN", job.id)[1], here.ledger.of("END", job.id)[0]
        spans.append((float(begin[3]), float(end[3])))
    spans.sort()
    assert all(later[0] >= earlier[1] for earlier, later in pairwise(spans))


@pytest.mark.fault("B1")
@pytest.mark.parametrize("name", ["spin", "stuck_in_c", "stubborn", "block"])
async def test_a_handler_that_never_yields_is_killed_at_its_deadline(
    name: str, here: Place, queue: JobQueueAdapter
) -> None:
    job = await enqueue(queue, name, payload={"seconds": 3600}, max_retries=0)
    beside = await enqueue(queue, "fine")
    supervisor = here.supervisor("--job-timeout", "1s", "--kill-grace", "300ms")
    dead = await ended(queue, job.id)
    assert dead.status is JobStatus.DEAD_LETTER
    record = await record_of(queue, job.id)
    assert record.error_type == "JobTimeoutError"
    assert record.crash_count == 0
    assert "deadline of 1 s" in (dead.error_message or "")
    assert f"in {name}" in (record.traceback or "") or name == "stubborn"
    assert (await ended(queue, beside.id)).status is JobStatus.COMPLETED
    assert supervisor.events("job_overdue", job_id=str(job.id))


async def test_a_handler_that_yields_is_cancelled_at_its_deadline_and_its_worker_lives(
    here: Place, queue: JobQueueAdapter
) -> None:
    job = await enqueue(queue, "sleep", payload={"seconds": 3600}, max_retries=0)
    supervisor = here.supervisor("--job-timeout", "300ms")
    dead = await ended(queue, job.id)
    assert dead.status is JobStatus.DEAD_LETTER
    assert (await record_of(queue, job.id)).error_type == "JobTimeoutError"
    assert not supervisor.events("worker_exited")


async def test_what_is_behind_a_long_job_is_recalled_and_runs_elsewhere(
    here: Place, queue: JobQueueAdapter
) -> None:
    """A type that was short so far turns out long once: those behind it do not wait for it."""
    short = [
        await enqueue(queue, "block", payload={"seconds": 0.0}, priority=9) for _ in range(200)
    ]
    long = await enqueue(queue, "block", payload={"seconds": 3.0}, priority=5)
    behind = [await enqueue(queue, "block", payload={"seconds": 0.0}) for _ in range(100)]
    here.supervisor()
    for job in [*short, *behind]:
        assert (await ended(queue, job.id)).status is JobStatus.COMPLETED
    assert not here.ledger.count("END", long.id)
    assert (await ended(queue, long.id)).status is JobStatus.COMPLETED


async def test_on_failure_of_a_crashed_attempt_runs_in_a_healthy_worker_before_the_next_attempt(
    here: Place, queue: JobQueueAdapter
) -> None:
    job = await enqueue(queue, "mourned_crash")
    here.supervisor()
    assert (await ended(queue, job.id)).status is JobStatus.COMPLETED
    (failed,) = here.ledger.of("FAILED", job.id)
    first, second = here.ledger.of("BEGIN", job.id)
    assert failed[5] == "WorkerLostError"
    assert failed[2] != first[2]
    assert float(first[3]) < float(failed[3]) < float(second[3])


async def test_on_failure_of_an_overdue_attempt_gets_a_job_timeout_error(
    here: Place, queue: JobQueueAdapter
) -> None:
    job = await enqueue(queue, "mourned_spin", max_retries=0)
    here.supervisor("--job-timeout", "100ms", "--kill-grace", "300ms")
    assert (await ended(queue, job.id)).status is JobStatus.DEAD_LETTER
    (failed,) = here.ledger.of("FAILED", job.id)
    assert failed[5] == "JobTimeoutError"


async def test_on_failure_runs_after_every_failed_attempt(
    here: Place, queue: JobQueueAdapter
) -> None:
    job = await enqueue(queue, "mourned_error", max_retries=1)
    here.supervisor()
    assert (await ended(queue, job.id)).status is JobStatus.DEAD_LETTER
    assert [(line[4], line[5]) for line in here.ledger.of("FAILED", job.id)] == [
        ("0", "RuntimeError"),
        ("1", "RuntimeError"),
    ]
