"""Processes that handlers start: they begin as in plain Python, and end when they are told to."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from portico.ports.job import JobStatus
from portico.ports.job_queue import JobQueueAdapter
from tests.support.accounts import account, enqueue
from tests.support.supervisors import Place

pytestmark = pytest.mark.every_python

FAMILY = "tests.support.family_app:app"


async def test_children_end_when_they_are_told_to_and_the_handlers_own_error_is_told(
    here: Place, queue: JobQueueAdapter
) -> None:
    """In the same worker: the signals of its children are none of its own."""
    contexts = ("fork", "spawn", "forkserver")
    bad = [await enqueue(queue, "bad_row", context=c, max_retries=0) for c in contexts]
    broken = await enqueue(queue, "broken_pool", context="fork", max_retries=0)
    told = [await enqueue(queue, "terminate", context=c) for c in contexts]
    here.supervisor("--workers", "1", app=FAMILY)
    for job in bad:
        record = await account(here, queue, job, JobStatus.DEAD_LETTER, error="ValueError")
        assert record.job.error_message == "row None is bad"
    await account(here, queue, broken, JobStatus.DEAD_LETTER, error="BrokenProcessPool")
    for job in told:
        await account(here, queue, job, JobStatus.COMPLETED)
        assert (await queue.get_result(job.id) or {})["codes"] == [-signal.SIGTERM] * 2
    assert len({line[2] for line in here.ledger.of("BEGIN")}) == 1


@pytest.mark.parametrize("method", ["zygote", "spawn"])
async def test_what_a_handler_forks_or_executes_heeds_signals_as_in_plain_python(
    method: str, here: Place, queue: JobQueueAdapter
) -> None:
    names = ("fork", "keep_handler", "programs")
    fork, kept, programs = [await enqueue(queue, name) for name in names]
    alarm = await enqueue(queue, "alarm", max_retries=0)
    here.supervisor("--workers", "1", "--start-method", method, app=FAMILY)
    late = await account(here, queue, alarm, JobStatus.DEAD_LETTER, error="TimeoutError")
    assert late.job.error_message == "the supplier takes too long"
    results = []
    for job in (fork, kept, programs):
        await account(here, queue, job, JobStatus.COMPLETED)
        results.append(await queue.get_result(job.id) or {})
    assert results[0]["ends"] == [-signal.SIGTERM, 42, -signal.SIGUSR2] * 2
    assert results[1]["end"] == 44
    assert results[2]["ends"] == [-signal.SIGINT] * 4
    assert results[2]["ignored"] == []
    assert len({result["pid"] for result in results}) == 1


@pytest.mark.parametrize("method", ["zygote", "spawn"])
async def test_what_multiprocessing_starts_afresh_is_no_second_supervisor(
    method: str, here: Place, queue: JobQueueAdapter
) -> None:
    """Its collector is on, and it loads what it is sent to do: nothing of ours."""
    jobs = [await enqueue(queue, "surroundings", context=c) for c in ("spawn", "forkserver")]
    here.supervisor("--workers", "1", "--start-method", method, app=FAMILY)
    for job in jobs:
        await account(here, queue, job, JobStatus.COMPLETED)
        result = await queue.get_result(job.id) or {}
        assert (result["collects"], result["main"], result["supervisor"]) == (True, None, [])


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /dev/shm")
async def test_what_a_dead_worker_has_shared_is_removed_by_its_resource_tracker(
    here: Place, queue: JobQueueAdapter
) -> None:
    """After a crash, a deadline and an orderly end alike; the tracker itself goes then."""
    crash = await enqueue(queue, "keep_shared", end="crash", max_retries=0, priority=9)
    brief = {"job_timeout": 0.5, "kill_grace": 0.1}
    hang = await enqueue(
        queue, "keep_shared", end="hang", max_retries=0, priority=5, metadata=brief
    )
    kept = await enqueue(queue, "keep_shared")
    supervisor = here.supervisor("--workers", "1", app=FAMILY)
    await account(here, queue, crash, JobStatus.DEAD_LETTER, crashes=1, error="WorkerLostError")
    await account(here, queue, hang, JobStatus.DEAD_LETTER, error="JobTimeoutError")
    await account(here, queue, kept, JobStatus.COMPLETED)

    def left() -> list[str]:
        return [
            name
            for _, _, _, _, *names in here.ledger.of("KEPT")
            for name in names
            if (Path("/dev/shm") / name).exists()
        ]

    mine = (await queue.get_result(kept.id) or {})["names"]
    await supervisor.until(lambda: left() == mine, what="the end of what the dead had shared")
    supervisor.signal(signal.SIGTERM)
    assert await supervisor.ended() == 0
    assert not left()
    assert not supervisor.events("orphan_adopted")
