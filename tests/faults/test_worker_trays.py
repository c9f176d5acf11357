"""What becomes of results that a worker has gathered when it dies before, while or after it sends
them."""

from __future__ import annotations

import psutil
import pytest

from portico.ports.job import Job, JobStatus
from portico.ports.job_queue import JobQueueAdapter
from portico.supervisor import tray
from tests.support.jobs import ended, make_job
from tests.support.records import counts, record_of
from tests.support.supervisors import Place, SupervisorProcess

INJURIES = "tests.support.injury_app:app"
AT_LEAST = 5
"""Results that have gathered when the worker dies."""
TINY = 200


def injure(here: Place, name: str) -> None:
    (here.folder / name).write_text(str(AT_LEAST))


async def enqueue(queue: JobQueueAdapter, name: str, **payload: object) -> Job:
    return await queue.enqueue(make_job(job_type=f"test.{name}", payload=payload))


async def death_of(supervisor: SupervisorProcess) -> list[str]:
    """The jobs that the one dead worker held, as far as nobody had been told of their end."""
    death = await supervisor.event("worker_exited")
    assert "SIGKILL" in death["status"]
    assert len(supervisor.events("worker_exited")) == 1
    return list(death["jobs"])


async def ran_once(here: Place, queue: JobQueueAdapter, job: Job) -> None:
    assert (await ended(queue, job.id)).status is JobStatus.COMPLETED
    assert here.ledger.count("BEGIN", job.id) == 1
    counted = await counts(queue, job.id)
    put_back = counted.pop("releases", 0)  # where a machine is too slow to start it soon
    assert counted == {"attempts": 1 + put_back}


@pytest.mark.fault("A7")
@pytest.mark.fault("A8")
@pytest.mark.parametrize("injury", ["half-batch", "after-result", "after-batch"])
async def test_no_job_whose_handler_had_returned_runs_again_or_is_charged(
    injury: str, here: Place, queue: JobQueueAdapter
) -> None:
    injure(here, injury)
    jobs = [await enqueue(queue, "fine", n=n) for n in range(TINY)]
    supervisor = here.supervisor("--workers", "1", app=INJURIES)
    for n, job in enumerate(jobs):
        await ran_once(here, queue, job)
        result = await queue.get_result(job.id)
        assert result is not None
        assert result["echo"] == {"n": n}
    held = await death_of(supervisor)
    done_by_the_dead = {line[1] for line in here.ledger.of("END") if line[2] == first_pid(here)}
    assert not done_by_the_dead & set(held), "it was not known that they had ended"
    assert not supervisor.events("job_will_retry") + supervisor.events("frame_invalid")
    assert len(supervisor.events("frame_truncated")) == (injury == "half-batch")
    stats = await queue.get_queue_stats("default")
    assert (stats.completed_count, stats.total) == (TINY, TINY)


def first_pid(here: Place) -> str:
    return here.ledger.of("BEGIN")[0][2]


@pytest.mark.fault("A8")
async def test_a_death_amid_a_batch_is_charged_to_the_job_that_runs_and_to_none_of_the_batch(
    here: Place, queue: JobQueueAdapter
) -> None:
    """What waits behind a job that turns out long is recalled: then the batch is sent."""
    injure(here, "half-batch-while-running")
    first = await enqueue(queue, "until", file="ledger")
    before = [await enqueue(queue, "until", file="ledger") for _ in range(50)]
    long = await enqueue(queue, "until", file="go")
    behind = [await enqueue(queue, "until", file="ledger") for _ in range(50)]
    tuning = "supervisor.scheduling.dispatch:QUANTUM=10"  # a slow machine gives out as much at once
    supervisor = here.supervisor("--workers", "1", app=INJURIES, TUNING=tuning)
    held = await death_of(supervisor)
    assert {str(long.id)} < set(held) <= {str(job.id) for job in (long, *behind)}
    (here.folder / "go").touch()
    for job in (first, *before, *behind):
        await ran_once(here, queue, job)
    assert (await ended(queue, long.id)).status is JobStatus.COMPLETED
    assert await counts(queue, long.id) == {"attempts": 2, "retries": 1, "crashes": 1}
    assert here.ledger.count("BEGIN", long.id) == 2
    (crash,) = supervisor.events("job_will_retry")
    assert (crash["job_id"], crash["error_type"]) == (str(long.id), "WorkerLostError")
    assert len(supervisor.events("frame_truncated")) == 1


@pytest.mark.fault("A1")
async def test_a_worker_that_is_killed_behind_gathered_results_costs_the_running_job_alone(
    here: Place, queue: JobQueueAdapter
) -> None:
    """Killed by its own job, at once: nobody had the time to ask for what had gathered."""
    harmless = {"how": ""}
    before = [await enqueue(queue, "die_once", **harmless) for _ in range(50)]
    killer = await enqueue(queue, "die_once", how="exit 9")
    behind = [await enqueue(queue, "die_once", **harmless) for _ in range(50)]
    supervisor = here.supervisor("--workers", "1", app=INJURIES)
    for job in (*before, *behind):
        await ran_once(here, queue, job)
    assert (await ended(queue, killer.id)).status is JobStatus.COMPLETED
    assert await counts(queue, killer.id) == {"attempts": 2, "retries": 1, "crashes": 1}
    death = await supervisor.event("worker_exited")
    assert set(death["jobs"]) <= {str(job.id) for job in (killer, *behind)}


@pytest.mark.fault("A8")
async def test_half_of_a_result_that_is_too_large_for_a_tray_is_none(
    here: Place, queue: JobQueueAdapter
) -> None:
    size = 200_000
    assert size > tray.SIZE
    (here.folder / "half-done").touch()
    large = await enqueue(queue, "large", size=size)
    supervisor = here.supervisor(app=INJURIES)
    assert (await ended(queue, large.id)).status is JobStatus.COMPLETED
    assert await counts(queue, large.id) == {"attempts": 2, "retries": 1, "crashes": 1}
    assert here.ledger.count("END", large.id) == 2
    assert await queue.get_result(large.id) == {"filler": "x" * size}
    assert await supervisor.event("frame_truncated")
    assert await death_of(supervisor) == [str(large.id)]
    assert (await record_of(queue, large.id)).attempts[0].error_type == "WorkerLostError"
    await supervisor.until(lambda: len(supervisor.workers()) == 2, what="the whole pool")


@pytest.mark.fault("A7")
async def test_a_result_that_is_too_large_for_a_tray_sends_those_before_it_first(
    here: Place, queue: JobQueueAdapter
) -> None:
    """The worker dies when both are written: none of them runs again."""
    (here.folder / "after-done").touch()
    small = [await enqueue(queue, "large", size=10) for _ in range(50)]
    large = await enqueue(queue, "large", size=200_000)
    behind = [await enqueue(queue, "large", size=10) for _ in range(50)]
    supervisor = here.supervisor("--workers", "1", app=INJURIES)
    for job in (*small, large, *behind):
        await ran_once(here, queue, job)
    assert set(await death_of(supervisor)) <= {str(job.id) for job in behind}
    assert psutil.Process(supervisor.pid).is_running()
