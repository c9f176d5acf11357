"""Workers that are stopped (SIGSTOP): they do not die, and do nothing."""

from __future__ import annotations

from typing import Any

import psutil
import pytest

from portico.ports.job import JobStatus
from portico.ports.job_queue import JobQueueAdapter
from tests.support.jobs import ended, make_job
from tests.support.records import counts, record_of
from tests.support.supervisors import BROKEN, Place

IMPATIENT: dict[str, Any] = {"command": BROKEN, "UNRESPONSIVE": "0.5"}


@pytest.mark.fault("A14")
async def test_a_busy_worker_that_is_stopped_is_killed_at_its_jobs_deadline(
    here: Place, queue: JobQueueAdapter
) -> None:
    job = await queue.enqueue(make_job(job_type="test.until", payload={"file": "go"}))
    supervisor = here.supervisor("--job-timeout", "700ms", "--kill-grace", "200ms")
    await supervisor.until(lambda: here.ledger.count("BEGIN", job.id))
    stopped = psutil.Process(int(here.ledger.of("BEGIN", job.id)[0][2]))
    stopped.suspend()
    (here.folder / "go").touch()
    overdue = await supervisor.event("job_overdue", job_id=str(job.id))
    assert "killed" in overdue["action"]
    assert (await ended(queue, job.id)).status is JobStatus.COMPLETED
    assert await counts(queue, job.id) == {"attempts": 2, "retries": 1}
    failure = await supervisor.event("job_will_retry", job_id=str(job.id))
    assert failure["error_type"] == "JobTimeoutError"
    assert (await supervisor.event("worker_exited"))["pid"] == stopped.pid
    await supervisor.until(lambda: len(supervisor.workers()) == 2, what="the whole pool")


@pytest.mark.fault("A15")
async def test_an_idle_worker_that_is_stopped_is_killed_and_its_job_runs_elsewhere_uncharged(
    here: Place, queue: JobQueueAdapter
) -> None:
    supervisor = here.supervisor("--log-level", "DEBUG", **IMPATIENT)
    stopped, _ = await supervisor.ready()
    stopped.suspend()
    jobs = [
        await queue.enqueue(make_job(job_type="test.until", payload={"file": "go"}))
        for _ in range(2)
    ]
    given_up = await supervisor.event("worker_unresponsive")
    assert given_up["pid"] == stopped.pid
    await supervisor.event("worker_exited", pid=stopped.pid)
    await supervisor.until(lambda: here.ledger.count("BEGIN") == 2)
    (here.folder / "go").touch()
    for job in jobs:
        assert (await ended(queue, job.id)).status is JobStatus.COMPLETED
        assert here.ledger.count("BEGIN", job.id) == 1
        assert {"retries", "crashes", "expiries"}.isdisjoint(await counts(queue, job.id))
    await supervisor.until(lambda: len(supervisor.workers()) == 2, what="the whole pool")


@pytest.mark.fault("A16")
async def test_a_worker_killed_for_memory_is_told_from_one_that_somebody_killed(
    here: Place, queue: JobQueueAdapter
) -> None:
    """The kernel's counter stands in a file of the test's: the real one cannot be made to move."""
    counter = here.folder / "memory.events"
    counter.write_text("oom 0\noom_kill 4\n")
    supervisor = here.supervisor(command=BROKEN, OOM_COUNTER=str(counter))
    for kills, suspected in ((4, None), (5, True)):
        job = await queue.enqueue(make_job(job_type="test.until", payload={"file": f"go-{kills}"}))
        await supervisor.until(lambda job=job: here.ledger.count("BEGIN", job.id))
        counter.write_text(f"oom 1\noom_kill {kills}\n")
        victim = psutil.Process(int(here.ledger.of("BEGIN", job.id)[0][2]))
        victim.kill()
        (here.folder / f"go-{kills}").touch()
        death = await supervisor.event("worker_exited", pid=victim.pid)
        assert death.get("oom_suspected") is suspected
        assert (await ended(queue, job.id)).status is JobStatus.COMPLETED
        assert await counts(queue, job.id) == {"attempts": 2, "retries": 1, "crashes": 1}
        crash, rerun = (await record_of(queue, job.id)).attempts
        assert (crash.ended_as, crash.evidence.signal) == ("crash", "SIGKILL")
        assert bool(crash.evidence.oom_suspected) is bool(suspected)
        assert (rerun.ended_as, bool(rerun.evidence.oom_suspected)) == ("complete", False)
