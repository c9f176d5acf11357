"""A job type that kills its workers again and again, among others that do not."""

from __future__ import annotations

import signal

import psutil
import pytest

from portico.ports.job import JobStatus
from portico.ports.job_queue import JobQueueAdapter
from tests.support.jobs import ended, make_job
from tests.support.records import counts
from tests.support.supervisors import Place

_KILLERS = 3
_CONFINED_BY = 6
"""Killers that are there first: their deaths confine the type."""


@pytest.mark.fault("A13")
async def test_a_type_that_kills_its_workers_is_confined_to_one_and_the_others_work_on_untouched(
    here: Place, queue: JobQueueAdapter
) -> None:
    tuning = "supervisor.scheduling.watch:SOON=60"  # else a stalled machine looks like a long job
    supervisor = here.supervisor("--workers", "3", "--log-level", "DEBUG", TUNING=tuning)

    def whole() -> bool:
        """All three are ready: each that died has been replaced."""
        ready, dead = supervisor.events("worker_ready"), supervisor.events("worker_exited")
        return len(ready) == 3 + len(dead)

    first = [
        await queue.enqueue(make_job(job_type="test.kill_itself", max_retries=0))
        for _ in range(_CONFINED_BY)
    ]
    confined = await supervisor.event("type_confined")
    assert confined["job_type"] == "test.kill_itself"
    for pill in first:
        assert (await ended(queue, pill.id)).status is JobStatus.DEAD_LETTER
    await supervisor.until(whole, what="the whole pool")
    before = {worker.pid for worker in supervisor.workers()}
    killers, healthy = [], []
    for number in range(60):
        if number % (60 // _KILLERS) == 0:
            killers.append(await queue.enqueue(make_job(job_type="test.kill_itself")))
        payload = {"seconds": 0.02}
        healthy.append(await queue.enqueue(make_job(job_type="test.sleep", payload=payload)))
    for job in healthy:
        assert (await ended(queue, job.id)).status is JobStatus.COMPLETED
        assert await counts(queue, job.id) == {"attempts": 1}
    for pill in killers:
        assert (await ended(queue, pill.id)).status is JobStatus.DEAD_LETTER
        assert (await counts(queue, pill.id))["crashes"] == 3
        assert here.ledger.count("BEGIN", pill.id) == 3
    await supervisor.until(whole, what="the whole pool")
    stayed = before & {worker.pid for worker in supervisor.workers()}
    assert len(stayed) == 2, "all of these deaths came to one worker's lot"
    assert not supervisor.events("crash_storm")
    assert len(supervisor.events("type_confined")) == 1
    supervisor.signal(signal.SIGUSR1)
    assert (await supervisor.event("supervisor_state"))["confined_types"] == ["test.kill_itself"]
    supervisor.signal(signal.SIGTERM)
    assert await supervisor.ended() == 0


@pytest.mark.fault("A13")
async def test_killers_in_a_pool_of_one_do_not_keep_the_others_from_it(
    here: Place, queue: JobQueueAdapter
) -> None:
    supervisor = here.supervisor("--workers", "1")
    pills = [
        await queue.enqueue(make_job(job_type="test.kill_itself", max_retries=0, priority=1))
        for _ in range(_CONFINED_BY + 40)
    ]
    await supervisor.event("type_confined")
    healthy = [await queue.enqueue(make_job(job_type="test.fine")) for _ in range(20)]
    for job in healthy:
        assert (await ended(queue, job.id)).status is JobStatus.COMPLETED
        assert await counts(queue, job.id) == {"attempts": 1}
    began = sum(here.ledger.count("BEGIN", pill.id) for pill in pills)
    assert began < len(pills), "they did not all have to die first"
    supervisor.signal(signal.SIGTERM)
    assert await supervisor.ended() == 0


@pytest.mark.fault("A13")
async def test_deaths_that_no_job_is_to_blame_for_slow_the_starts_down(
    here: Place, queue: JobQueueAdapter
) -> None:
    supervisor = here.supervisor("--workers", "2", "--log-level", "DEBUG")
    while not supervisor.events("crash_storm"):
        ready = {event["pid"] for event in supervisor.events("worker_ready")}
        gone = {event["pid"] for event in supervisor.events("worker_exited")}
        for pid in ready - gone:
            psutil.Process(pid).kill()
            await supervisor.event("worker_exited", pid=pid)
    storm = await supervisor.event("crash_storm")
    assert 0 < storm["next_start_in"] <= 2.0
    assert "worker_exited" in storm["hint"]
    job = await queue.enqueue(make_job(job_type="test.fine"))
    assert (await ended(queue, job.id)).status is JobStatus.COMPLETED
    assert not supervisor.events("type_confined")
    supervisor.signal(signal.SIGTERM)
    assert await supervisor.ended() == 0
