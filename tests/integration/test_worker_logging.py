"""What handlers log in a real worker process, and what the supervisor's two log options do."""

from __future__ import annotations

import pytest

from portico.ports.job import JobStatus
from portico.ports.job_queue import JobQueueAdapter
from tests.support.jobs import ended, make_job
from tests.support.supervisors import Place

pytestmark = pytest.mark.every_python

APP = "tests.support.talkative_app:app"
PLACES = ("handler", "nested", "task", "thread", "own_thread", "pool", "on_failure")
LOGGERS = ("ours", "structlog", "standard")


@pytest.mark.parametrize("method", ["zygote", "spawn"])
async def test_every_line_of_a_handler_carries_its_job_whoever_logs_it(
    method: str, here: Place, queue: JobQueueAdapter
) -> None:
    job = await queue.enqueue(
        make_job(job_type="test.talk", payload={"fail": True}, max_retries=0, queue_name="loud")
    )
    supervisor = here.supervisor(
        "--queues", "loud", "--start-method", method, "--workers", "1", "--drain", app=APP
    )
    assert await supervisor.ended() == 0
    wanted = {
        "job_id": str(job.id), "job_type": "test.talk", "queue": "loud", "attempt": 1, "worker": 1,
        "level": "info",
    }  # fmt: skip
    for event in [f"{logger}_{where}" for logger in LOGGERS for where in PLACES]:
        (line,) = supervisor.events(event)
        assert wanted.items() <= line.items(), event
    assert supervisor.events("ours_thread", number=7, logger="talk.ours")
    assert supervisor.events("standard_thread", logger="talk.standard")
    (line,) = supervisor.events("of_the_context")
    assert wanted.items() <= line.items()


async def test_jobs_at_the_same_time_in_one_worker_do_not_mix_their_contexts(
    here: Place, queue: JobQueueAdapter
) -> None:
    jobs = [await queue.enqueue(make_job(job_type="test.talk")) for _ in range(20)]
    supervisor = here.supervisor("--workers", "1", "--concurrency", "10", "--drain", app=APP)
    assert await supervisor.ended() == 0
    for event in ("ours_task", "standard_thread", "structlog_nested"):
        seen = [line["job_id"] for line in supervisor.events(event)]
        assert sorted(seen) == sorted(str(job.id) for job in jobs)


async def test_the_level_is_that_of_the_configuration(here: Place, queue: JobQueueAdapter) -> None:
    job = await queue.enqueue(make_job(job_type="test.talk"))
    quiet = here.supervisor("--log-level", "warning", "--drain", app=APP)
    assert await quiet.ended() == 0
    assert (await ended(queue, job.id)).status is JobStatus.COMPLETED
    assert {line["level"] for line in quiet.events()} <= {"warning"}, quiet.text()
    await queue.enqueue(make_job(job_type="test.talk"))
    chatty = here.supervisor("--drain", app=APP, PORTICO_LOG_LEVEL="DEBUG")
    assert await chatty.ended() == 0
    assert chatty.events("debug_thread", level="debug")


async def test_the_console_format_is_for_people_and_carries_the_same(
    here: Place, queue: JobQueueAdapter
) -> None:
    job = await queue.enqueue(make_job(job_type="test.talk"))
    supervisor = here.supervisor("--log-format", "console", "--drain", app=APP)
    assert await supervisor.ended() == 0
    assert supervisor.events() == []
    (line,) = [line for line in supervisor.text().splitlines() if "standard_thread" in line]
    assert "INFO     talk.standard: standard_thread" in line
    assert f"job_id={job.id} job_type=test.talk queue=default attempt=1" in line
