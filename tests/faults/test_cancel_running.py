"""What becomes of a running job that someone in another process asks to stop.

Every lease here has its length of 60 s, and so is renewed every 15 s: who waited for that would be
too late for each of these tests.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from portico.kits.job.job_service import JobService
from portico.ports.job import Job, JobStatus
from portico.ports.job_queue import JobQueueAdapter
from tests.support.jobs import ended, make_job
from tests.support.supervisors import ROOT, Place, SupervisorProcess
from tests.support.waiting import wait_until

APP = "tests.support.cancel_app:app"
SOON = 8.0
"""Seconds: half of what a renewal would take, and far more than it takes."""


async def enqueue(queue: JobQueueAdapter, name: str) -> Job:
    return await queue.enqueue(make_job(job_type=f"test.{name}"))


async def busy(
    here: Place, queue: JobQueueAdapter, *names: str
) -> tuple[SupervisorProcess, list[Job]]:
    """A supervisor all of whose workers run one of these jobs each."""
    jobs = [await enqueue(queue, name) for name in names]
    supervisor = here.supervisor("--workers", str(len(names)), app=APP)
    for job in jobs:
        await supervisor.until(lambda job=job: here.ledger.count("BEGIN", job.id), what="the start")
    return supervisor, jobs


@pytest.mark.parametrize(("name", "killed"), [("heed", 0), ("stubborn", 1), ("spin", 1)])
async def test_a_running_job_is_stopped_soon_after_the_request_and_no_other_is(
    here: Place, queue: JobQueueAdapter, name: str, killed: int
) -> None:
    """With all workers busy, so that nothing is leased and nobody looks into the store."""
    supervisor, (doomed, neighbour) = await busy(here, queue, name, "until_told")
    assert await JobService(queue).cancel_job(doomed.id, running=True)
    stopped = await ended(queue, doomed.id, timeout=SOON)
    assert (stopped.status, stopped.error_message) == (JobStatus.FAILED, "Job cancelled")
    assert supervisor.events("job_cancel_requested", job_id=str(doomed.id))
    told_of = await supervisor.event("job_cancelled", job_id=str(doomed.id))
    assert told_of["level"] == "info"
    assert not supervisor.events("job_failed")
    exits = supervisor.events("worker_exited")
    assert [event["status"] for event in exits] == [
        "was killed: its cancellation was requested"
    ] * killed
    told = here.ledger.count("FAILED", doomed.id)
    assert told == (name == "heed")  # on_failure runs in the worker that it spared, as ever

    (here.folder / "go").touch()
    assert (await ended(queue, neighbour.id)).status is JobStatus.COMPLETED
    assert here.ledger.count("BEGIN", neighbour.id) == 1
    assert here.ledger.count("BEGIN", doomed.id) == 1


async def test_a_job_that_completes_in_spite_of_the_request_stays_completed(
    here: Place, queue: JobQueueAdapter
) -> None:
    supervisor, (job,) = await busy(here, queue, "finish")
    assert await queue.request_cancel(job.id)
    assert (await ended(queue, job.id, timeout=SOON)).status is JobStatus.COMPLETED
    assert not supervisor.events("worker_exited")


async def test_the_command_stops_one_job_after_the_other(
    here: Place, queue: JobQueueAdapter
) -> None:
    _, jobs = await busy(here, queue, "heed", "heed", "until_told")
    for job in jobs[:2]:
        command = [sys.executable, "-m", "portico.cli", "jobs", "cancel", str(job.id)]
        surroundings = {**os.environ, "PYTHONPATH": str(ROOT), "PORTICO_QUEUE_URL": here.url}
        subprocess.run(command, check=True, capture_output=True, env=surroundings)
        assert (await ended(queue, job.id, timeout=SOON)).error_message == "Job cancelled"
    found = await queue.get_job(jobs[2].id)
    assert found is not None
    assert found.status is JobStatus.RUNNING


async def test_requests_wake_the_holder_also_after_the_wake_file_was_removed(
    here: Place, queue: JobQueueAdapter
) -> None:
    _, (first, second) = await busy(here, queue, "heed", "heed")
    (here.folder / "jobs.db-wake").unlink()
    for job in (first, second):
        assert await queue.request_cancel(job.id)
        assert (await ended(queue, job.id, timeout=SOON)).status is JobStatus.FAILED


async def test_two_supervisors_stop_their_own_jobs_only(
    here: Place, queue: JobQueueAdapter
) -> None:
    one, (mine,) = await busy(here, queue, "heed")
    other, (theirs,) = await busy(here, queue, "heed")
    assert await queue.request_cancel(theirs.id)
    assert (await ended(queue, theirs.id, timeout=SOON)).status is JobStatus.FAILED
    assert other.events("job_cancel_requested", job_id=str(theirs.id))
    assert not one.events("job_cancel_requested")
    assert await queue.request_cancel(mine.id)
    await wait_until(lambda: one.events("job_cancel_requested", job_id=str(mine.id)), SOON)
