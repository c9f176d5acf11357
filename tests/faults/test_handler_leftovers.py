"""What becomes of what a handler leaves on: exits, generators, threads, processes."""

from __future__ import annotations

import pytest

from portico.ports.job import JobStatus
from portico.ports.job_queue import JobQueueAdapter
from tests.support import leftover_app
from tests.support.accounts import AT_ONCE, account, enqueue, pid_of
from tests.support.supervisors import Place

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
