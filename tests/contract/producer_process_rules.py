"""Producers in processes of their own, killed in the middle of their transactions."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import UUID

from portico.ports.job import JobStatus
from portico.ports.job_queue import JobQueueAdapter
from portico.ports.leasing import JobFilter
from tests.support.jobs import ended, make_job
from tests.support.supervisors import ROOT, Place
from tests.support.waiting import wait_until


@contextmanager
def producing(
    url: str, driver: str, address: str, what: str, number: int
) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.producer_process", url, driver, address, what,
         str(number)],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def said(process: subprocess.Popen[str], lines: int) -> list[str]:
    assert process.stdout is not None
    return [process.stdout.readline().strip() for _ in range(lines)]


class ProducerProcessRules:
    """`address` is the database in the words of `driver`, and `url` the queue's."""

    async def test_a_producer_killed_before_its_commit_leaves_no_job(
        self, url: str, driver: str, address: str, queue: JobQueueAdapter,
        orders: Callable[[], dict[int, str]],
    ) -> None:  # fmt: skip
        with producing(url, driver, address, "hold", 3) as process:
            ids = [UUID(line) for line in said(process, 3)]
            process.kill()
            process.wait()
            after = await queue.enqueue(make_job())  # its lock is gone with it
            assert [await queue.get_job(job_id) for job_id in ids] == [None] * 3
            assert list(await queue.all_stats()) == ["default"]
            assert (await queue.get_queue_stats("default")).total == 1
            assert orders() == {}
            leased = await queue.dequeue("default", timeout=0)
            assert leased is not None
            assert leased.id == after.id

    async def test_a_producer_killed_after_its_commit_has_created_the_job(
        self, url: str, driver: str, address: str, queue: JobQueueAdapter, here: Place
    ) -> None:
        here.url = url
        here.supervisor("--workers", "1")
        with producing(url, driver, address, "commit", 2) as process:
            first, second, committed = said(process, 3)
            process.kill()
            assert committed == "committed"
            for job_id in (first, second):
                assert (await ended(queue, UUID(job_id))).status is JobStatus.COMPLETED

    async def test_while_a_supervisor_works_each_order_has_its_job_and_each_job_its_order(
        self, url: str, driver: str, address: str, queue: JobQueueAdapter,
        orders: Callable[[], dict[int, str]], here: Place,
    ) -> None:  # fmt: skip
        here.url = url
        here.supervisor()
        with (
            producing(url, driver, address, "churn", 60) as one,
            producing(url, driver, address, "churn", 60) as another,
            producing(url, driver, address, "churn", 10_000) as killed,
        ):
            said(killed, 25)
            killed.kill()
            assert (one.wait(30), another.wait(30)) == (0, 0)
        taken = {UUID(job_id) for job_id in orders().values()}

        async def completed() -> bool:
            return (await queue.get_queue_stats("default")).completed_count == len(taken)

        await wait_until(completed)
        page = await queue.list_jobs(JobFilter(), limit=1000)
        assert {job.id for job in page.jobs} == taken
        assert len(taken) > 60
