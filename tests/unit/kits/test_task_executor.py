from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Thread

import pytest

from portico.kits.job.task_executor import TaskExecutor
from tests.support.waiting import wait_until
from tests.unit.kits.parts import Doing, make_lease


@pytest.fixture(autouse=True)
def plain_threads(monkeypatch):
    """Python's own again after the test: an executor watches them from then on."""
    monkeypatch.setattr(Thread, "start", Thread.start)
    monkeypatch.setattr(ThreadPoolExecutor, "submit", ThreadPoolExecutor.submit)


class Threaded:
    """A handler that fails while a thread of its own is at work, and what happened when."""

    def __init__(self, ends):
        self.ends, self.go, self.happened = ends, Event(), []
        self.handler = Doing(self.handle, self.on_failure)

    def rows(self):
        self.go.wait(60)
        self.happened.append("the thread has ended")

    async def handle(self, job):
        self.work = asyncio.ensure_future(asyncio.to_thread(self.rows))
        await asyncio.sleep(0.01)
        if self.ends:
            asyncio.get_running_loop().call_later(0.05, self.go.set)
        raise ValueError("no")

    async def on_failure(self, job, error):
        self.happened.append("on_failure")


async def run(threaded, **options):
    executor = TaskExecutor({"test.job": threaded.handler}, **options)
    executor.submit([make_lease()])
    await wait_until(executor.finished)
    threaded.go.set()
    await asyncio.gather(threaded.work, return_exceptions=True)
    return threaded.happened


async def test_the_threads_of_a_failed_attempt_have_their_time_before_on_failure():
    assert await run(Threaded(ends=True), unwind=60) == ["the thread has ended", "on_failure"]


async def test_one_that_goes_on_is_named_and_holds_nobody_up_for_ever(caplog):
    assert await run(Threaded(ends=False), unwind=0.1) == ["on_failure", "the thread has ended"]
    assert "attempt_goes_on" in caplog.text
    assert "in rows" in caplog.text
