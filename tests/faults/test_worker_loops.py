"""Workers on uvloop, and on asyncio's own loop where that is asked for."""

from __future__ import annotations

import signal

import pytest

from portico.ports.job import JobStatus
from portico.ports.job_queue import JobQueueAdapter
from tests.support.accounts import account, enqueue
from tests.support.supervisors import Place

pytestmark = pytest.mark.every_python

FAMILY = "tests.support.family_app:app"


@pytest.mark.parametrize(("name", "module"), [("uvloop", "uvloop"), ("asyncio", "asyncio.unix_")])
async def test_handlers_run_on_the_loop_that_was_asked_for(
    name: str, module: str, here: Place, queue: JobQueueAdapter
) -> None:
    """With deadlines, children and a drain as on the other one."""
    brief = {"job_timeout": 0.1}
    loop, programs = await enqueue(queue, "loop"), await enqueue(queue, "programs")
    late = await enqueue(queue, "sleep", seconds=3600, max_retries=0, metadata=brief)
    supervisor = here.supervisor("--workers", "1", "--loop", name, app=FAMILY)
    await account(here, queue, loop, JobStatus.COMPLETED)
    assert (await queue.get_result(loop.id) or {})["module"].startswith(module)
    await account(here, queue, programs, JobStatus.COMPLETED)
    assert (await queue.get_result(programs.id) or {})["ends"] == [-signal.SIGINT] * 4
    await account(here, queue, late, JobStatus.DEAD_LETTER, error="JobTimeoutError")
    last = await enqueue(queue, "sleep", seconds=0.2)
    await supervisor.until(lambda: here.ledger.count("BEGIN", last.id))
    supervisor.signal(signal.SIGTERM)
    assert await supervisor.ended() == 0
    await account(here, queue, last, JobStatus.COMPLETED)
    assert not supervisor.events("worker_exited")
