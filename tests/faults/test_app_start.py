"""An application that does not begin, or end, as it should: its own words, and the exit code."""

from __future__ import annotations

import signal
import textwrap

import pytest

from portico.ports.job import JobStatus
from portico.ports.job_queue import JobQueueAdapter
from tests.support.jobs import ended, make_job
from tests.support.supervisors import Place

pytestmark = pytest.mark.every_python

FINE = """
    from portico.ports.job import JobResult

    class Fine:
        job_type = "test.fine"
        async def handle(self, job):
            return JobResult(success=True)
"""


def write(here: Place, code: str) -> None:
    (here.folder / "shop.py").write_text(textwrap.dedent(FINE) + textwrap.dedent(code))


@pytest.mark.parametrize("method", ["zygote", "spawn"])
@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("import sys; sys.exit('DATABASE_URL is missing')", "SystemExit: DATABASE_URL is missing"),
        ("raise KeyboardInterrupt", "importing shop failed: KeyboardInterrupt"),
        (
            "import sys; app = lambda: sys.exit('no broker')",
            "the app failed: SystemExit: no broker",
        ),
    ],
    ids=["import exits", "import is interrupted", "factory exits"],
)
async def test_what_an_application_says_when_it_gives_up_ends_the_start(
    code: str, told: str, method: str, here: Place
) -> None:
    write(here, code)
    supervisor = here.supervisor("--start-method", method, app="shop:app")
    assert await supervisor.ended() == 4
    assert told in (await supervisor.event("supervisor_failed"))["error"]
    assert 'shop.py", line ' in supervisor.text()  # the traceback
    assert len([e for e in supervisor.events() if e["level"] in ("error", "critical")]) == 1


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("import sys; preload = lambda: sys.exit(0)", "preload() failed: SystemExit: 0"),
        ("import os; os._exit(9)", "'shop:app' exited with code 9"),
    ],
    ids=["preload exits", "import ends its process"],
)
async def test_a_zygote_that_the_application_ends_is_the_applications_mistake(
    code: str, told: str, here: Place
) -> None:
    write(here, f"{code}\napp = [Fine()]")
    supervisor = here.supervisor(app="shop:app")
    assert await supervisor.ended() == 4
    assert told in (await supervisor.event("supervisor_failed"))["error"]


async def test_a_zygote_that_is_killed_while_it_loads_is_tried_again(
    here: Place, queue: JobQueueAdapter
) -> None:
    """It may have been the kernel, short of memory: no mistake of the application."""
    code = """
        import os, pathlib
        killed = pathlib.Path("killed")
        if killed.exists():
            killed.unlink()
            os.kill(os.getpid(), 9)
        app = [Fine()]
    """
    write(here, code)
    (here.folder / "killed").touch()
    job = await queue.enqueue(make_job(job_type="test.fine"))
    supervisor = here.supervisor("--drain", app="shop:app")
    assert await supervisor.ended() == 0
    (failed,) = supervisor.events("app_load_failed")
    assert "'shop:app' was killed by SIGKILL" in failed["error"]
    assert (await queue.get_job(job.id) or job).status is JobStatus.COMPLETED


async def test_a_zygote_that_is_killed_every_time_ends_the_start_as_dying_workers_do(
    here: Place,
) -> None:
    write(here, "import os; os.kill(os.getpid(), 11)")
    supervisor = here.supervisor(
        app="shop:app", TUNING="supervisor.generations:_PAUSES=(0.01,0.01)"
    )
    assert await supervisor.ended() == 3
    assert len(supervisor.events("app_load_failed")) == 2
    error = (await supervisor.event("supervisor_failed"))["error"]
    assert "'shop:app' was killed by SIGSEGV" in error


@pytest.mark.parametrize("end", ["raise RuntimeError('cannot flush')", "raise SystemExit('bye')"])
async def test_an_application_that_fails_while_it_closes_is_told_of_and_costs_nothing(
    end: str, here: Place, queue: JobQueueAdapter
) -> None:
    code = f"""
        from contextlib import asynccontextmanager

        @asynccontextmanager
        async def app():
            yield [Fine()]
            {end}
    """
    write(here, code)
    job = await queue.enqueue(make_job(job_type="test.fine"))
    supervisor = here.supervisor("--workers", "1", "--log-level", "DEBUG", app="shop:app")
    assert (await ended(queue, job.id)).status is JobStatus.COMPLETED
    supervisor.signal(signal.SIGTERM)
    assert await supervisor.ended() == 0
    (failed,) = supervisor.events("app_close_failed")
    assert failed["level"] == "error"
    assert failed["error"] in end
    assert "shop.py" in failed["traceback"]
    assert supervisor.events("worker_retired", status="exited with code 0")


async def test_an_application_that_does_not_close_is_killed_in_time_and_the_log_says_why(
    here: Place,
) -> None:
    code = """
        import time
        from contextlib import asynccontextmanager

        @asynccontextmanager
        async def app():
            yield [Fine()]
            time.sleep(3600)
    """
    write(here, code)
    supervisor = here.supervisor("--workers", "1", "--shutdown-grace", "1s", app="shop:app")
    await supervisor.started()
    supervisor.signal(signal.SIGTERM)
    assert await supervisor.ended() == 0
    (killed,) = supervisor.events("worker_killed")
    assert killed["reason"] == "its application did not close within 1 s"


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("Fine.handle = lambda self, job: JobResult(success=True)", "write `async def handle"),
        ("Fine.max_runing = 4", "'max_runing'; did you mean 'max_running'?"),
    ],
    ids=["a plain handle", "a misspelt attribute"],
)
async def test_a_handler_that_cannot_be_meant_so_ends_the_start_and_costs_no_job(
    code: str, told: str, here: Place, queue: JobQueueAdapter
) -> None:
    job = await queue.enqueue(make_job(job_type="test.fine"))
    write(here, f"{code}\napp = [Fine()]")
    supervisor = here.supervisor(app="shop:app")
    assert await supervisor.ended() == 4
    assert told in (await supervisor.event("supervisor_failed"))["error"]
    assert await queue.get_job(job.id) == job
