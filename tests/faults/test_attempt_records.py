"""What a job remembers of attempts that ended in real processes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys

from portico.ports.job import Job, JobStatus
from portico.ports.job_queue import JobQueueAdapter
from portico.ports.leasing import AttemptRecord
from tests.support.jobs import ended, make_job
from tests.support.record_app import FRAMES, LARGE
from tests.support.supervisors import ROOT, Place, SupervisorProcess

APP = "tests.support.record_app:app"


async def ending(queue: JobQueueAdapter, *ends: str, **fields: object) -> Job:
    payload = {"ends": ends}
    return await queue.enqueue(make_job(job_type="test.ending", payload=payload, **fields))


async def attempts(queue: JobQueueAdapter, job: Job) -> tuple[AttemptRecord, ...]:
    record = await queue.inspect(job.id)
    assert record is not None
    assert record.accounted
    return record.attempts


def workers(supervisor: SupervisorProcess) -> set[int]:
    return {event["pid"] for event in supervisor.events("worker_exited")}


async def test_each_attempt_keeps_how_it_ended_and_who_ran_it(
    here: Place, queue: JobQueueAdapter
) -> None:
    job = await ending(queue, "leave", "raise", "fine", max_retries=5)
    supervisor = here.supervisor("--workers", "1", app=APP)
    assert (await ended(queue, job.id, timeout=25)).status is JobStatus.COMPLETED
    found = await attempts(queue, job)
    assert [(a.attempt, a.ended_as) for a in found] == [
        (1, "crash"), (2, "retry"), (3, "complete"),
    ]  # fmt: skip
    assert [(a.evidence.exit_code, a.evidence.signal) for a in found] == [
        (7, None), (None, None), (None, None),
    ]  # fmt: skip
    left, raised, _ = (a.evidence.pid for a in found)
    assert left != raised
    assert {left} == workers(supervisor)
    for attempt in found:
        assert (attempt.owner or "").endswith(f":{supervisor.pid}")
        assert attempt.started_at is not None
        assert attempt.started_at <= attempt.ended_at
        assert not attempt.evidence.oom_suspected


async def test_an_attempt_that_fails_in_a_living_worker_keeps_what_it_used_and_printed(
    here: Place, queue: JobQueueAdapter
) -> None:
    job = await ending(queue, "leave", "raise", max_retries=1)
    here.supervisor("--workers", "1", app=APP)
    assert (await ended(queue, job.id)).status is JobStatus.DEAD_LETTER
    _, raised = await attempts(queue, job)
    assert (raised.error_type, raised.error_message) == ("ValueError", "not this time")
    assert "in handle" in (raised.traceback or "")
    assert raised.evidence.output.splitlines() == [f"raise line {n}" for n in range(100)]
    assert (raised.evidence.worker_peak_rss or 0) > 2**20
    assert (raised.evidence.worker_cpu_seconds or 0) > 0
    assert 0 < (raised.evidence.run_seconds or 0) < 10


async def test_a_crash_deep_in_a_recursion_keeps_where_it_was_and_what_the_worker_had_used(
    here: Place, queue: JobQueueAdapter
) -> None:
    job = await ending(queue, "fall", max_retries=0)
    here.supervisor("--workers", "1", app=APP)
    assert (await ended(queue, job.id)).status is JobStatus.DEAD_LETTER
    [fell] = await attempts(queue, job)
    seen, stack = fell.evidence, fell.traceback or ""
    assert seen.signal == "SIGSEGV"
    assert LARGE < (seen.worker_peak_rss or 0) < 20 * LARGE
    assert 0.1 <= (seen.worker_cpu_seconds or 0) < 10
    assert 0.1 <= (seen.run_seconds or 0) < 10
    assert stack.startswith("Fatal Python error: Segmentation fault")
    assert stack.count("in fall") == FRAMES
    assert seen.output.endswith("fall line 99")
    assert "Fatal" not in seen.output


async def test_a_job_killed_at_its_deadline_keeps_its_stack_and_the_signal(
    here: Place, queue: JobQueueAdapter
) -> None:
    job = await ending(queue, "block", max_retries=0)
    here.supervisor("--job-timeout", "300ms", "--kill-grace", "200ms", app=APP)
    assert (await ended(queue, job.id)).status is JobStatus.DEAD_LETTER
    [late] = await attempts(queue, job)
    assert (late.ended_as, late.error_type) == ("dead_letter", "JobTimeoutError")
    assert late.evidence.signal == "SIGKILL"
    assert "(most recent call first):" in (late.traceback or "").splitlines()[0]
    assert "in handle" in (late.traceback or "")
    assert late.evidence.output.endswith("block line 99")


async def test_a_job_that_outlived_its_supervisor_remembers_whose_it_was(
    here: Place, queue: JobQueueAdapter
) -> None:
    job = await ending(queue, "block", "fine")
    lost = here.supervisor(app=APP)
    await lost.until(lambda: lost.events("worker_output", line="block line 99"))
    lost.signal(signal.SIGKILL)
    here.supervisor("--drain", app=APP)
    assert (await ended(queue, job.id)).status is JobStatus.COMPLETED
    expired, complete = await attempts(queue, job)
    assert (expired.ended_as, complete.ended_as) == ("expire", "complete")
    assert (expired.owner or "").endswith(f":{lost.pid}")


async def test_a_shutdown_that_kills_a_job_is_in_its_history(
    here: Place, queue: JobQueueAdapter
) -> None:
    job = await ending(queue, "block")
    supervisor = here.supervisor("--shutdown-grace", "100ms", app=APP)
    await supervisor.until(lambda: supervisor.events("worker_output", line="block line 99"))
    supervisor.signal(signal.SIGTERM)
    await supervisor.ended()
    [stopped] = await attempts(queue, job)
    assert (stopped.ended_as, stopped.evidence.signal) == ("interrupt", "SIGKILL")
    assert (stopped.evidence.run_seconds or 0) > 0


async def test_the_command_shows_the_history_of_a_dead_job(
    here: Place, queue: JobQueueAdapter
) -> None:
    job = await ending(queue, "raise", "killed", max_retries=1)
    here.supervisor("--workers", "1", app=APP)
    assert (await ended(queue, job.id)).status is JobStatus.DEAD_LETTER

    def portico(*arguments: str) -> str:
        command = [sys.executable, "-m", "portico.cli", *arguments, "--queue-url", here.url]
        surroundings = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, capture_output=True, check=True, env=surroundings)
        return done.stdout.decode()

    for shown in (portico("jobs", "show", str(job.id)), portico("dead", "show", str(job.id))):
        assert "History" in shown
        assert "ValueError: not this time" in shown
        assert "killed by SIGKILL" in shown
        seen = r"ran \d+\.\d{3} s, worker \d+.*, CPU \d+\.\d\d s in its life, peak memory \d+ MiB"
        assert len(re.findall(seen, shown)) == 2
        assert "out of memory suspected" not in shown  # it was killed by one who is no kernel
        raised, died = shown.split("Last output of the worker in attempt ")[1:]
        assert "raise line 99" in raised
        assert "killed line 99" in died
        assert "not this time" in shown.split("Traceback of attempt 1")[1]
    first, second = json.loads(portico("dead", "show", str(job.id), "--json"))["attempts"]
    assert (first["ended_as"], first["error_type"]) == ("retry", "ValueError")
    assert (second["ended_as"], second["signal"]) == ("crash", "SIGKILL")
    assert second["worker_peak_rss"] > 2**20
    assert second["oom_suspected"] is False
