"""An adapter as anybody may write one: by the rules, under the manager, and under a supervisor."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest

from portico import compose
from portico.examples.table_queue import TableQueue
from portico.exceptions import ConfigurationError
from portico.kits.job import WorkerManager
from portico.ports.job import JobResult, JobStatus
from portico.ports.job_handler import JobHandler
from portico.testing import make_job
from portico.testing.contract import BulkRules, Clocks, NineMethodRules
from portico.testing.fixtures import clocks
from tests.support.jobs import ended
from tests.support.supervisors import ROOT, Place

__all__ = ["clocks"]


class TestTableQueue(NineMethodRules, BulkRules):
    @pytest.fixture
    async def queue(self, tmp_path: Path, clocks: Clocks) -> AsyncIterator[TableQueue]:
        queue = TableQueue(str(tmp_path / "table.db"), clocks.wall)
        await queue.initialize()
        yield queue
        await queue.close()


class Halve(JobHandler):
    job_type = "test.halve"

    async def handle(self, job) -> JobResult:
        return JobResult(success=True, result_data={"half": job.payload["n"] / 2})


async def test_a_manager_runs_its_jobs(tmp_path: Path) -> None:
    queue = TableQueue(str(tmp_path / "table.db"))
    await queue.initialize()
    jobs = [
        await queue.enqueue(make_job(job_type="test.halve", payload={"n": n})) for n in range(20)
    ]
    async with asyncio.timeout(15), WorkerManager(queue, [Halve()], drain_when_empty=True) as work:
        await work.wait()
    assert {(await queue.get_job(job.id)).status for job in jobs} == {JobStatus.COMPLETED}
    await queue.close()


async def test_consumers_at_once_take_no_job_twice(tmp_path: Path) -> None:
    path = str(tmp_path / "table.db")
    queue = TableQueue(path)
    await queue.initialize()
    for _ in range(300):
        await queue.enqueue(make_job())
    begin = threading.Barrier(4)

    async def drain() -> list[UUID]:
        mine = TableQueue(path)
        await mine.initialize()
        begin.wait(10)
        taken = []
        while job := await mine.dequeue("default", timeout=0):
            taken.append(job.id)
        await mine.close()
        return taken

    each = await asyncio.gather(
        *(asyncio.to_thread(lambda: asyncio.run(drain())) for _ in range(4))
    )
    together = [job_id for taken in each for job_id in taken]
    assert len(set(together)) == len(together) == 300
    await queue.close()


def offer(folder: Path) -> None:
    """Do as the installation of a package does that offers this adapter."""
    info = folder / "table_queue-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: table-queue\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[portico.job_queues]\ntable = portico.examples.table_queue:table_queue\n"
        "memory = portico.examples.table_queue:table_queue\n"
    )


async def test_a_supervisor_runs_its_jobs_and_says_what_it_cannot_promise(
    here: Place, tmp_path: Path
) -> None:
    offer(tmp_path)
    queue = TableQueue(str(tmp_path / "table.db"))
    await queue.initialize()
    fine = [await queue.enqueue(make_job(job_type="test.fine")) for _ in range(10)]
    dead = await queue.enqueue(make_job(job_type="test.raise_error", max_retries=0))
    here.url = f"table:///{tmp_path / 'table.db'}"
    supervisor = here.supervisor("--drain", PYTHONPATH=f"{tmp_path}:{ROOT}")
    assert [(await ended(queue, job.id)).status for job in fine] == [JobStatus.COMPLETED] * 10
    assert (await ended(queue, dead.id)).status is JobStatus.DEAD_LETTER
    assert await supervisor.ended() == 0
    assert "queue_adapter_is_limited" in supervisor.text()
    await queue.close()


def test_an_installed_package_gives_its_scheme_and_takes_none_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigurationError, match="table:///x"):
        compose.job_queue("table:///x")
    offer(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert isinstance(compose.job_queue("table:///x"), TableQueue)
    assert not isinstance(compose.job_queue("memory://"), TableQueue)
