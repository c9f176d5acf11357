"""SIGHUP: under load, during a drain, again and again, and with code that does not work."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from portico.ports.job import JobStatus
from portico.ports.job_queue import JobQueueAdapter
from tests.support.jobs import ended, make_job
from tests.support.records import counts
from tests.support.supervisors import Place, SupervisorProcess

APP = """
import os
from portico.ports.job import JobResult
from portico.ports.job_handler import JobHandler

class Version(JobHandler):
    job_type = "test.version"

    async def handle(self, job):
        return JobResult(success=True, result_data={{"version": {version!r}, "pid": os.getpid()}})

def app():
    {opening}
    return [Version()]
"""


class Shop:
    """An application that is edited while a supervisor serves it."""

    def __init__(self, here: Place, queue: JobQueueAdapter) -> None:
        self.path = Path(here.folder, "shop.py")
        self.queue = queue
        self.edit("old")

    def edit(self, version: str, opening: str = "") -> None:
        self.path.write_text(APP.format(version=version, opening=opening))

    def break_off(self) -> None:
        self.path.write_text("def app(:\n")

    async def served(self) -> dict[str, object]:
        """What a job says about the code that runs it."""
        job = await self.queue.enqueue(make_job(job_type="test.version"))
        assert (await ended(self.queue, job.id)).status is JobStatus.COMPLETED
        result = await self.queue.get_result(job.id)
        assert result is not None
        return result

    async def serves(self, version: str) -> None:
        deadline = time.monotonic() + 10
        while (await self.served())["version"] != version:
            assert time.monotonic() < deadline, f"{version} is not served"


def pids(supervisor: SupervisorProcess) -> set[int]:
    return {worker.pid for worker in supervisor.workers()}


async def start(here: Place, *arguments: str) -> SupervisorProcess:
    supervisor = here.supervisor(
        "--log-level", "DEBUG", *arguments, app="shop:app", PYTHONDONTWRITEBYTECODE="1"
    )
    await supervisor.ready()
    return supervisor


@pytest.mark.fault("C12")
@pytest.mark.parametrize("broken", ["import", "open"])
async def test_a_reload_of_code_that_does_not_work_keeps_the_old_workers_and_the_old_code(
    broken: str, here: Place, queue: JobQueueAdapter
) -> None:
    shop = Shop(here, queue)
    supervisor = await start(here)
    before = pids(supervisor)
    if broken == "import":
        shop.break_off()
    else:
        shop.edit("new", opening="raise RuntimeError('no such setting')")
    supervisor.signal(signal.SIGHUP)
    failed = await supervisor.event("reload_failed")
    assert ("shop" if broken == "import" else "no such setting") in failed["error"]
    assert failed["kept"]
    await supervisor.until(lambda: pids(supervisor) == before, what="the old pool")
    assert (await shop.served())["version"] == "old"
    supervisor.workers()[0].kill()  # its replacement, too, has code that works
    await supervisor.until(lambda: len(pids(supervisor) - before) == 1, what="a replacement")
    await supervisor.until(lambda: len(pids(supervisor)) == 2, what="the whole pool")
    for _ in range(4):
        assert (await shop.served())["version"] == "old"
    shop.edit("new")
    supervisor.signal(signal.SIGHUP)
    await shop.serves("new")
    await supervisor.until(lambda: len(pids(supervisor)) == 2, what="the whole pool")
    supervisor.signal(signal.SIGTERM)
    assert await supervisor.ended() == 0


@pytest.mark.fault("C11")
async def test_a_reload_is_ignored_while_the_supervisor_drains(
    here: Place, queue: JobQueueAdapter
) -> None:
    job = await queue.enqueue(make_job(job_type="test.until", payload={"file": "go"}))
    supervisor = here.supervisor()
    await supervisor.until(lambda: here.ledger.count("BEGIN", job.id))
    await supervisor.started()
    supervisor.signal(signal.SIGTERM)
    await supervisor.event("stopping")
    supervisor.signal(signal.SIGHUP)
    ignored = await supervisor.event("reload_ignored")
    assert "stopping" in ignored["note"]
    (here.folder / "go").touch()
    assert await supervisor.ended() == 0
    assert (await ended(queue, job.id)).status is JobStatus.COMPLETED
    assert await counts(queue, job.id) == {"attempts": 1}
    assert not supervisor.events("reloading")


class Census:
    """How many workers are ready, as the supervisor says itself whenever it is asked."""

    def __init__(self, supervisor: SupervisorProcess) -> None:
        self.supervisor = supervisor

    def ask(self) -> None:
        self.supervisor.signal(signal.SIGUSR1)

    def fewest(self) -> int:
        """The fewest in any answer."""
        found, ready = [], 0
        for event in self.supervisor.events():
            if event["event"] == "worker_state":
                ready += event["state"] == "ready"
            elif event["event"] == "supervisor_state":
                found.append(ready)
                ready = 0
        assert len(found) > 10
        return min(found)


@pytest.mark.slow
@pytest.mark.fault("C10")
async def test_reloads_under_load_lose_nothing_and_leave_the_pool_at_its_size(
    here: Place, queue: JobQueueAdapter
) -> None:
    workers = 3
    supervisor = here.supervisor("--workers", str(workers), "--log-level", "DEBUG")
    await supervisor.ready(workers)
    seen = pids(supervisor)
    census, jobs, reloads = Census(supervisor), [], 0
    began = time.monotonic()
    while (elapsed := time.monotonic() - began) < 10:
        if elapsed > 2 * reloads:
            supervisor.signal(signal.SIGHUP)
            reloads += 1
        jobs += [await queue.enqueue(make_job(job_type="test.fine")) for _ in range(10)]
        jobs.append(await queue.enqueue(make_job(job_type="test.sleep", payload={"seconds": 0.05})))
        census.ask()
        seen |= pids(supervisor)
        await ended(queue, jobs[-1].id)
    for job in jobs:
        assert (await ended(queue, job.id)).status is JobStatus.COMPLETED
        assert {"retries", "crashes", "expiries"}.isdisjoint(await counts(queue, job.id))
        assert here.ledger.count("BEGIN", job.id) == 1
    assert census.fewest() >= workers - 1
    assert len(seen) >= 3 * workers  # most reloads came through
    assert len(supervisor.events("reloading")) == reloads == 5
    assert not supervisor.events("reload_failed")
    assert not supervisor.events("worker_exited")
    await supervisor.until(lambda: len(supervisor.workers()) == workers, what="the pool's size")
    supervisor.signal(signal.SIGTERM)
    assert await supervisor.ended() == 0


@pytest.mark.fault("C10")
async def test_reloads_that_overtake_each_other_end_with_the_newest_code(
    here: Place, queue: JobQueueAdapter
) -> None:
    shop = Shop(here, queue)
    supervisor = await start(here)
    for version in range(5):
        shop.edit(f"version {version}")
        supervisor.signal(signal.SIGHUP)
        await supervisor.until(lambda n=version: len(supervisor.events("reloading")) == n + 1)
    await shop.serves("version 4")
    await supervisor.until(lambda: len(supervisor.workers()) == 2, what="the pool's size")
    await supervisor.until(lambda: len(supervisor.descendants()) == 3, what="one zygote")
    for _ in range(6):
        assert (await shop.served())["version"] == "version 4"
    supervisor.signal(signal.SIGTERM)
    assert await supervisor.ended() == 0
