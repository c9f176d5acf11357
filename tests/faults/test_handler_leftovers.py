"""What becomes of what a handler leaves on: exits, generators, threads, processes."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from typing import Any

import pytest

from portico.ports.job import Job, JobStatus
from portico.ports.job_queue import JobQueueAdapter
from tests.support import leftover_app
from tests.support.accounts import AT_ONCE, account, end_of, enqueue, pid_of
from tests.support.supervisors import Place

pytestmark = pytest.mark.every_python

LEFTOVERS = "tests.support.leftover_app:app"


@pytest.mark.fault("B28")
async def test_an_exit_in_a_task_of_a_handler_fails_its_own_job_and_hurts_no_other(
    here: Place, queue: JobQueueAdapter
) -> None:
    """Gathered, in a group, awaited, in a thread, by way of a thread, in a callback."""
    beside = [await enqueue(queue, "until_go", max_retries=0, priority=9) for _ in range(3)]
    names = [act.__name__ for act in leftover_app.EXITS]
    supervisor = here.supervisor(
        "--workers", "1", "--concurrency", "4", app=LEFTOVERS, TUNING=AT_ONCE
    )
    await supervisor.until(lambda: here.ledger.count("BEGIN") == 3)
    for name in names:
        error = "KeyboardInterrupt" if name.startswith("interrupt") else "SystemExit"
        job = await enqueue(queue, name, max_retries=0)
        record = await account(here, queue, job, JobStatus.DEAD_LETTER, error=error)
        assert record.job.error_message == "bad option --foo", name
    callbacks = await enqueue(queue, "exit_in_callbacks", max_retries=0)
    await account(here, queue, callbacks, JobStatus.COMPLETED)
    (here.folder / "go").touch()
    for job in beside:
        await account(here, queue, job, JobStatus.COMPLETED)
    assert not supervisor.events("worker_exited") + supervisor.events("worker_loop_ended")
    contained = supervisor.events("handler_exit_contained")
    assert {event["error"] for event in contained} == {"bad option --foo", "bad option --bar"}
    assert all(set(event["jobs"]) >= {str(job.id) for job in beside} for event in contained)


async def test_a_generator_that_was_left_early_is_cleaned_up_as_the_loop_does_it(
    here: Place, queue: JobQueueAdapter
) -> None:
    """Else its connection never came back, and the third job waited for ever."""
    jobs = [await enqueue(queue, "first_row", max_retries=0) for _ in range(6)]
    raising = await enqueue(queue, "first_row", max_retries=0, raises=True)
    last = await enqueue(queue, "pid")
    supervisor = here.supervisor("--workers", "1", app=LEFTOVERS)
    for job in (*jobs, raising, last):
        await account(here, queue, job, JobStatus.COMPLETED)
    assert len({await pid_of(queue, job) for job in (*jobs, last)}) == 1
    failed = await supervisor.event("generator_cleanup_failed")
    assert (failed["job_id"], failed["error"]) == (str(raising.id), "the connection broke")
    assert failed["generator"] == "Connections.rows"
    assert {line[1] for line in here.ledger.of("RETURNED")} >= {str(job.id) for job in jobs}
    assert not supervisor.events("handler_leaked_tasks")


def check_that_nothing_overlaps(here: Place, job: Job) -> None:
    """Nothing of the first attempt was written after its `on_failure` had begun."""
    written = [line for line in here.ledger.lines() if line[1] == str(job.id)]
    events = [line[0] for line in written]
    first = events.index("FAILED") if "FAILED" in events else len(events)
    assert events[0] == "BEGIN"
    assert set(events[1:first]) == {"ROW"}, events
    assert events[first:] == ["FAILED", "MOURNED", "BEGIN", "END"], events


@pytest.mark.parametrize(
    ("end", "acts"),
    [("raises", leftover_app.THREADS), ("is stopped", leftover_app.THREADS[:1])],
    ids=["raises", "is stopped"],
)
async def test_threads_of_a_failed_attempt_are_gone_before_on_failure_and_the_next_attempt(
    end: str, acts: Sequence[Any], here: Place, queue: JobQueueAdapter
) -> None:
    """They cannot be ended: their worker is, and only then goes it on, in another."""
    names = [act.__name__ for act in acts]
    timeout = "60s" if end == "raises" else "2s"
    supervisor = here.supervisor(
        "--workers", "1", "--job-timeout", timeout, app=LEFTOVERS, TUNING=AT_ONCE
    )
    for name in names:
        job = await enqueue(queue, name, end=end)
        behind = await enqueue(queue, "pid", max_retries=0)
        error = "ValueError" if end == "raises" else "JobTimeoutError"
        await account(here, queue, job, JobStatus.COMPLETED, retries=1, executions=2, error=error)
        await account(here, queue, behind, JobStatus.COMPLETED)
        check_that_nothing_overlaps(here, job)
        (told,) = supervisor.events("attempt_goes_on", job_id=str(job.id))
        assert "/tests/support/" in told["goes_on"][0], "wherever it is, it is in the job's code"
        pids = [line[2] for line in here.ledger.of("BEGIN", job.id)]
        assert len(set(pids)) == 2, "it went on in the same worker"
    killed = supervisor.events(
        "worker_exited", status="was killed: what a failed job had started went on"
    )
    assert len(killed) == len(names)


@pytest.mark.parametrize(
    ("end", "acts"),
    [("raises", leftover_app.PROCESSES), ("is stopped", leftover_app.PROCESSES[:1])],
    ids=["raises", "is stopped"],
)
async def test_processes_of_a_failed_attempt_are_ended_before_on_failure_and_the_next_attempt(
    end: str, acts: Sequence[Any], here: Place, queue: JobQueueAdapter
) -> None:
    names: list[tuple[str, dict[str, str]]] = [(act.__name__, {}) for act in acts]
    if end == "raises":
        names.append(("of_multiprocessing", {"method": "spawn"}))
    timeout = "60s" if end == "raises" else "2s"
    supervisor = here.supervisor(
        "--workers", "1", "--job-timeout", timeout, app=LEFTOVERS, TUNING=AT_ONCE
    )
    for name, more in names:
        job = await enqueue(queue, name, end=end, **more)
        error = "ValueError" if end == "raises" else "JobTimeoutError"
        await account(here, queue, job, JobStatus.COMPLETED, retries=1, executions=2, error=error)
        check_that_nothing_overlaps(here, job)
        told = supervisor.events("handler_left_processes", job_id=str(job.id))
        processes = [process for line in told for process in line["processes"]]
        assert processes
        assert processes == [process.strip() for process in processes], "the rest of a title"
    assert not supervisor.events("worker_exited"), "a worker was given up for that"


async def test_a_process_in_a_session_of_its_own_is_killed_with_the_worker_that_is_overdue(
    here: Place, queue: JobQueueAdapter
) -> None:
    job = await enqueue(queue, "own_session", end="blocks")
    supervisor = here.supervisor(
        "--workers", "1", "--job-timeout", "2s", "--kill-grace", "100ms",
        app=LEFTOVERS, TUNING=AT_ONCE,
    )  # fmt: skip
    await account(
        here, queue, job, JobStatus.COMPLETED, retries=1, executions=2, error="JobTimeoutError"
    )
    check_that_nothing_overlaps(here, job)
    (killed,) = supervisor.events("strays_killed")
    assert "/bin/sh -c" in killed["processes"][0]


async def test_a_cancellation_and_a_shutdown_end_what_a_job_has_started_too(
    here: Place, queue: JobQueueAdapter
) -> None:
    """The one is final, and is told to on_failure; the other gives the job back, and is not."""
    cancelled = await enqueue(queue, "to_thread", end="is stopped")
    supervisor = here.supervisor("--workers", "1", "--shutdown-grace", "0s", app=LEFTOVERS)
    await supervisor.until(lambda: here.ledger.count("ROW", cancelled.id))
    assert await queue.request_cancel(cancelled.id)
    record = await end_of(queue, cancelled)
    assert (record.job.status, record.job.error_message) == (JobStatus.FAILED, "Job cancelled")
    events = [line[0] for line in here.ledger.lines()]
    assert events[events.index("FAILED") :] == ["FAILED", "MOURNED"]
    interrupted = await enqueue(queue, "bare_thread", end="is stopped")
    await supervisor.until(lambda: here.ledger.count("ROW", interrupted.id))
    supervisor.signal(signal.SIGTERM)
    assert await supervisor.ended() == 0
    given_back = await queue.inspect(interrupted.id)
    assert given_back is not None
    assert (given_back.job.status, given_back.release_count) == (JobStatus.PENDING, 1)
    assert not here.ledger.count("FAILED", interrupted.id)


async def test_what_neighbours_have_running_is_theirs_and_they_are_let_end(
    here: Place, queue: JobQueueAdapter
) -> None:
    """Processes are ended by the job that started them; for a thread the worker goes, later."""
    beside = await enqueue(queue, "processes_until_go", max_retries=0)
    supervisor = here.supervisor(
        "--workers", "1", "--concurrency", "3", app=LEFTOVERS, TUNING=AT_ONCE
    )
    await supervisor.until(lambda: here.ledger.count("ROW", beside.id) > 3)
    for name in ("asyncio_process", "plain_process", "forked"):
        job = await enqueue(queue, name, end="raises")
        await account(
            here, queue, job, JobStatus.COMPLETED, retries=1, executions=2, error="ValueError"
        )
        check_that_nothing_overlaps(here, job)
    assert not supervisor.events("attempt_goes_on"), (
        "a neighbour's processes were taken for its own"
    )
    going_on = await enqueue(queue, "bare_thread", end="raises")
    await supervisor.event("attempt_goes_on", job_id=str(going_on.id))
    behind = await enqueue(queue, "pid", max_retries=0)
    await account(here, queue, behind, JobStatus.COMPLETED)
    assert not here.ledger.count("FAILED", going_on.id)
    (here.folder / "go").touch()
    await account(here, queue, beside, JobStatus.COMPLETED)
    await account(
        here, queue, going_on, JobStatus.COMPLETED, retries=1, executions=2, error="ValueError"
    )
    assert await pid_of(queue, behind) != await pid_of(queue, beside)
    await supervisor.until(lambda: len(supervisor.workers()) == 1, what="the old one's end")


async def test_what_a_job_sets_on_the_loop_goes_with_it(
    here: Place, queue: JobQueueAdapter
) -> None:
    setters = [act.__name__ for act in leftover_app.SETTERS]
    names = [name for setter in setters for name in (setter, "see_the_loop")]
    jobs = [await enqueue(queue, name, max_retries=0) for name in names]
    supervisor = here.supervisor("--workers", "1", app=LEFTOVERS)
    for job in jobs:
        await account(here, queue, job, JobStatus.COMPLETED)
    assert len({await pid_of(queue, job) for job in jobs}) == 1
    assert not supervisor.events("worker_exited")


async def test_threads_that_succeeded_jobs_leave_are_told_and_take_none_from_later_ones(
    here: Place, queue: JobQueueAdapter
) -> None:
    """They are let be; when they keep half of the loop's threads, the worker is replaced."""
    threads = min(32, (os.cpu_count() or 1) + 4)
    jobs = [await enqueue(queue, "leave_a_thread", max_retries=0) for _ in range(2 * threads)]
    last = await enqueue(queue, "see_the_loop", max_retries=0)
    supervisor = here.supervisor("--workers", "1", app=LEFTOVERS)
    for job in (*jobs, last):
        await account(here, queue, job, JobStatus.COMPLETED)
    (told, *_) = supervisor.events("handler_left_threads")
    assert told["job_id"] == str(jobs[0].id)
    assert "/tests/support/" in told["threads"][0]
    replaced = supervisor.events("worker_recycled", reason="threads that jobs have left")
    assert len(replaced) >= 3
    workers = {await pid_of(queue, job) for job in jobs}
    assert len(supervisor.events("handler_left_threads")) <= len(workers), "told once by each"
    assert not supervisor.events("worker_exited")


@pytest.mark.parametrize("used", [True, False], ids=["used before", "new"])
async def test_what_a_failed_job_has_given_to_a_pool_of_processes_is_ended_and_breaks_no_later_job(
    used: bool, here: Place, queue: JobQueueAdapter
) -> None:
    """Its processes may have been there before; where they are ended, the pool is broken."""
    before = [await enqueue(queue, "use_the_pool", priority=9) for _ in range(int(used))]
    job = await enqueue(queue, "pool_of_processes", end="raises", priority=5)
    after = [await enqueue(queue, "use_the_pool", max_retries=0) for _ in range(3)]
    supervisor = here.supervisor("--workers", "1", app=LEFTOVERS, TUNING=AT_ONCE)
    await account(
        here, queue, job, JobStatus.COMPLETED, retries=1, executions=2, error="ValueError"
    )
    check_that_nothing_overlaps(here, job)
    for other in (*before, *after):
        await account(here, queue, other, JobStatus.COMPLETED)
    if used:
        (told,) = supervisor.events("attempt_goes_on", job_id=str(job.id))
        assert told["goes_on"][0] == "rows in a pool of processes"
    else:
        await supervisor.event("worker_recycled", reason="processes of a pool were ended")
        assert not supervisor.events("attempt_goes_on")
