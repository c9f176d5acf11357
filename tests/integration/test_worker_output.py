"""What handlers print: each piece under the job that printed it, whole or with a mark."""

from __future__ import annotations

import json

import pytest

from portico.ports.job import Job
from portico.ports.job_queue import JobQueueAdapter
from tests.support.jobs import make_job
from tests.support.records import record_of
from tests.support.supervisors import Place, SupervisorProcess

APP = "tests.support.printing_app:app"

pytestmark = pytest.mark.every_python


async def prints(queue: JobQueueAdapter, how: str, text: str = "", **fields: object) -> Job:
    payload = {"how": how, "text": text, **fields}
    return await queue.enqueue(make_job(job_type="test.print", payload=payload, max_retries=0))


async def drained(here: Place, *arguments: str, app: str = APP) -> SupervisorProcess:
    supervisor = here.supervisor("--workers", "1", "--drain", *arguments, app=app)
    assert await supervisor.ended() == 0
    return supervisor


def lines_of(supervisor: SupervisorProcess, job: Job) -> list[str]:
    return [line["line"] for line in supervisor.events("worker_output", job_id=str(job.id))]


@pytest.mark.parametrize("method", ["zygote", "spawn"])
async def test_whatever_a_handler_prints_stands_under_its_job(
    method: str, here: Place, queue: JobQueueAdapter
) -> None:
    ways = ["prints", "bytes", "bare", "program", "thread"]
    jobs = {way: await prints(queue, way, f"by {way}") for way in ways}
    supervisor = await drained(here, "--start-method", method)
    for way, job in jobs.items():
        assert lines_of(supervisor, job) == [f"by {way}"], way
        (line,) = supervisor.events("worker_output", job_id=str(job.id))
        assert (line["job_type"], line["queue"], line["attempt"]) == ("test.print", "default", 1)


async def test_a_line_without_an_end_does_not_become_the_next_jobs(
    here: Place, queue: JobQueueAdapter
) -> None:
    first = await prints(queue, "partly", "of the first", fails=True)
    second = await prints(queue, "prints", "of the second")
    supervisor = await drained(here)
    assert " ".join(lines_of(supervisor, first)) == "out of the first err of the first"
    assert lines_of(supervisor, second) == ["of the second"]
    (attempt,) = (await record_of(queue, first.id)).attempts
    assert "err of the first" in str(attempt)


@pytest.mark.parametrize("method", ["zygote", "spawn"])
async def test_what_the_application_prints_itself_is_no_jobs(
    method: str, here: Place, queue: JobQueueAdapter
) -> None:
    """Neither a line that it leaves open before the first job, nor its task's beside one."""
    job = await prints(queue, "prints", "fine")
    beside = await prints(queue, "beside", "mine")
    supervisor = await drained(
        here, "--start-method", method, app="tests.support.printing_app:opened"
    )
    assert lines_of(supervisor, job) == ["fine"]
    assert lines_of(supervisor, beside) == ["mine begins and ends"]
    lines = [line for line in supervisor.events("worker_output") if "job_id" not in line]
    *_, opened, task = [line["line"] for line in lines]
    assert opened.endswith("opened")
    assert task == "by the application's own task"


async def test_jobs_that_print_in_turns_in_one_worker_keep_their_lines_apart(
    here: Place, queue: JobQueueAdapter
) -> None:
    jobs = {name: await prints(queue, "in_turns", name) for name in "abcd"}
    supervisor = await drained(here, "--concurrency", "4")
    for name, job in jobs.items():
        assert lines_of(supervisor, job) == [f"{name}0 {name}1 {name}2 done"]


async def test_a_long_line_says_what_was_cut_out_of_it_and_a_progress_bar_is_its_last_state(
    here: Place, queue: JobQueueAdapter
) -> None:
    long = await prints(queue, "prints", "b" + 5000 * "é" + "e")
    bar = await prints(queue, "bar", "rows")
    supervisor = await drained(here)
    (line,) = lines_of(supervisor, long)
    assert line.startswith("bé")
    assert line.endswith("ée")
    assert "...[3002 characters cut]..." in line
    assert lines_of(supervisor, bar) == ["rows 100%"]


async def test_every_line_is_json_whatever_the_application_prints_when_it_is_imported(
    here: Place, queue: JobQueueAdapter
) -> None:
    await prints(queue, "prints", "fine")
    supervisor = await drained(here)
    assert all(json.loads(line) for line in supervisor.text().splitlines())
    said = [line["line"] for line in supervisor.events("application_output")]
    assert said == ["printed at import", "no newline at importMINE logged at import"]


@pytest.mark.parametrize("method", ["zygote", "spawn"])
async def test_a_console_handler_of_the_application_doubles_no_line(
    method: str, here: Place, queue: JobQueueAdapter
) -> None:
    job = await prints(queue, "logs", "by the standard library")
    supervisor = await drained(here, "--start-method", method)
    assert lines_of(supervisor, job) == []
    (line,) = supervisor.events("logged by the standard library")
    assert (line["job_id"], line["logger"]) == (str(job.id), "acme")


async def test_a_log_call_that_does_not_fit_is_logged_raw_with_its_place(
    here: Place, queue: JobQueueAdapter
) -> None:
    job = await prints(queue, "logs_wrongly", "sales.csv")
    supervisor = await drained(here)
    (line,) = supervisor.events("import of %s failed: %s ('sales.csv',)")
    assert line["job_id"] == str(job.id)
    assert "printing_app.py" in line["log_call_broken"]
