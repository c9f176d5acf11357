"""What runs at the end of a process that leaves in good order: all that Python would run."""

from __future__ import annotations

import gzip
import signal

import psutil
import pytest

from portico.ports.job import JobStatus
from portico.ports.job_queue import JobQueueAdapter
from tests.support.accounts import account, enqueue, pid_of
from tests.support.supervisors import Place

pytestmark = pytest.mark.every_python

ENDS = "tests.support.ends_app:app"


def marks(here: Place) -> list[tuple[str, int]]:
    lines = (line.split() for line in (here.folder / "ends").read_text().splitlines())
    return [(name, int(pid)) for name, pid in lines]


@pytest.mark.parametrize("method", ["zygote", "spawn"])
async def test_a_worker_that_leaves_runs_what_python_runs_at_the_end_of_a_process(
    method: str, here: Place, queue: JobQueueAdapter
) -> None:
    job = await enqueue(queue, "leave_all")
    supervisor = here.supervisor("--workers", "1", "--drain", "--start-method", method, app=ENDS)
    await account(here, queue, job, JobStatus.COMPLETED)
    assert await supervisor.ended() == 0
    worker = await pid_of(queue, job)
    names = {name for name, pid in marks(here) if pid == worker}
    assert names >= {"atexit", "finalizer", "thread"}
    assert "child" in {name for name, _ in marks(here)}
    assert (here.folder / "log").read_text() == "a buffered line\n"
    assert (here.folder / "rows.csv").read_text() == "id,amount\n"
    with gzip.open(here.folder / "rows.gz", "rt") as rows:
        assert rows.read() == "id,amount\n"
    assert (here.folder / "at-import").read_text() == "a head\na row\n"
    assert not [*here.folder.glob("mine-*"), *here.folder.glob("import-*")]
    assert not supervisor.events("exit_cut_off") + supervisor.events("worker_exited")


async def test_what_the_import_has_registered_runs_once_and_serves_all_workers_until_then(
    here: Place, queue: JobQueueAdapter
) -> None:
    jobs = [await enqueue(queue, "look") for _ in range(3)]
    supervisor = here.supervisor("--workers", "1", "--max-jobs-per-worker", "1", app=ENDS)
    for job in jobs:
        await account(here, queue, job, JobStatus.COMPLETED)
        assert (await queue.get_result(job.id) or {})["folder"]
    pids = {await pid_of(queue, job) for job in jobs}
    assert len(pids) == 3
    await supervisor.until(lambda: len(supervisor.workers()) == 1, what="the last of them")
    (zygote,) = {child.pid for child in supervisor.descendants()} - {
        worker.pid for worker in supervisor.workers()
    }
    supervisor.signal(signal.SIGTERM)
    assert await supervisor.ended() == 0
    assert marks(here) == [("import", zygote)]
    assert not [*here.folder.glob("import-*")]


async def test_what_keeps_a_worker_from_ending_is_named_and_cut_off(
    here: Place, queue: JobQueueAdapter
) -> None:
    """Its successor is at work meanwhile."""
    job = await enqueue(queue, "stay")
    supervisor = here.supervisor(
        "--workers", "1", "--max-jobs-per-worker", "1", "--shutdown-grace", "2s", app=ENDS
    )
    await account(here, queue, job, JobStatus.COMPLETED)
    cut_off = await supervisor.event("exit_cut_off", worker=1)
    assert cut_off["level"] == "warning"
    assert cut_off["threads"] == ["the-one-that-stays"]
    worker = await pid_of(queue, job)
    await supervisor.until(lambda: not psutil.pid_exists(worker), what="its end")
    after = await enqueue(queue, "look")
    await account(here, queue, after, JobStatus.COMPLETED)
    assert not supervisor.events("worker_killed") + supervisor.events("worker_exited")
