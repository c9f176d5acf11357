"""A supervisor at work: what handlers see, what signals do, how workers come and go."""

from __future__ import annotations

import signal
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta

import psutil
import pytest

from portico import compose
from portico.ports.job import JobStatus
from portico.ports.job_queue import JobQueueAdapter
from tests.support.jobs import ended, make_job
from tests.support.records import record_of
from tests.support.supervisors import Place
from tests.support.waiting import wait_until


async def test_a_plain_start_in_an_empty_folder_serves_the_bundled_examples(here: Place) -> None:
    supervisor = here.supervisor(app="portico.examples:app")
    await supervisor.started()
    note = await supervisor.event("bundled_examples")
    assert "--app" in note["note"]


async def test_the_bundled_examples_leave_jobs_of_other_types_untouched_and_name_them(
    here: Place, queue: JobQueueAdapter
) -> None:
    others = [await queue.enqueue(make_job(job_type="mail.send", priority=9)) for _ in range(30)]
    own = await queue.enqueue(make_job(job_type="system.echo"))
    supervisor = here.supervisor(app="portico.examples:app")
    assert (await ended(queue, own.id)).status is JobStatus.COMPLETED
    told = await supervisor.event("other_types_wait")
    assert told["types"] == {"mail.send": 30}
    assert "--app" in told["note"]
    for job in others:
        record = await record_of(queue, job.id)
        assert (record.job.status, record.attempt) == (JobStatus.PENDING, 0)
    assert not supervisor.events("job_put_off")
    supervisor.signal(signal.SIGTERM)
    assert await supervisor.ended() == 0


async def test_drain_finishes_what_is_due_and_leaves_what_is_not(
    here: Place, queue: JobQueueAdapter
) -> None:
    due = [await queue.enqueue(make_job(job_type="test.fine")) for _ in range(20)]
    later = await queue.enqueue(
        make_job(job_type="test.fine", scheduled_at=datetime.now(UTC) + timedelta(hours=1))
    )
    supervisor = here.supervisor("--drain")
    assert await supervisor.ended() == 0
    for job in due:
        assert (await ended(queue, job.id)).status is JobStatus.COMPLETED
    waiting = await queue.get_job(later.id)
    assert waiting is not None
    assert waiting.status is JobStatus.SCHEDULED
    stopped = await supervisor.event("supervisor_stopped")
    assert stopped["completed"] == 20


async def test_queues_are_served_in_strict_order(here: Place, queue: JobQueueAdapter) -> None:
    jobs = {}
    for name in ("low", "default", "high"):
        for _ in range(3):
            job = await queue.enqueue(make_job(job_type="test.fine", queue_name=name))
            jobs[str(job.id)] = name
    here.supervisor("--workers", "1", "--queues", "high,default,low", "--drain")
    await wait_until(lambda: here.ledger.count("END") == 9)
    assert [jobs[line[1]] for line in here.ledger.of("BEGIN")] == (
        ["high"] * 3 + ["default"] * 3 + ["low"] * 3
    )


async def test_a_result_is_stored_as_the_handler_returned_it(
    here: Place, queue: JobQueueAdapter
) -> None:
    job = await queue.enqueue(make_job(job_type="test.fine", payload={"ä": [1, 2.5, None]}))
    here.supervisor("--drain")
    await ended(queue, job.id)
    result = await queue.get_result(job.id)
    assert result is not None
    assert result["echo"] == {"ä": [1, 2.5, None]}


@pytest.mark.parametrize(
    ("name", "status", "error_type", "executions"),
    [
        ("raise_error", JobStatus.DEAD_LETTER, "RuntimeError", 1),
        ("give_up", JobStatus.FAILED, "NonRetryableError", 1),
        ("leave_politely", JobStatus.DEAD_LETTER, "SystemExit", 1),
        ("odd_result", JobStatus.FAILED, "ResultNotSerializable", 1),
        ("wrong_return", JobStatus.FAILED, "InvalidResult", 0),
    ],
)
async def test_every_way_to_fail_has_its_status_and_its_words(
    name: str,
    status: JobStatus,
    error_type: str,
    executions: int,
    here: Place,
    queue: JobQueueAdapter,
) -> None:
    job = await queue.enqueue(make_job(job_type=f"test.{name}", max_retries=0))
    supervisor = here.supervisor("--drain")
    assert (await ended(queue, job.id)).status is status
    record = await queue.inspect(job.id)
    assert record is not None
    assert record.accounted
    assert record.error_type == error_type
    assert record.job.error_message
    assert here.ledger.count("BEGIN", job.id) == executions
    assert await supervisor.ended() == 0
    assert not supervisor.events("worker_exited")


async def test_max_retries_of_3_means_four_executions(here: Place, queue: JobQueueAdapter) -> None:
    """The delays are real: about 1 to 2, 2 to 4 and 4 to 8 seconds."""
    job = await queue.enqueue(make_job(job_type="test.raise_error", max_retries=3))
    here.supervisor()
    dead = await ended(queue, job.id, timeout=40)
    assert dead.status is JobStatus.DEAD_LETTER
    assert dead.retry_count == 3
    assert here.ledger.count("BEGIN", job.id) == 4


async def test_a_payload_that_cannot_be_decoded_is_dead_lettered_alone(
    here: Place, queue: JobQueueAdapter
) -> None:
    """The supervisor hands it over unopened: a worker finds out, and it costs that job only."""
    jobs = [await queue.enqueue(make_job(job_type="test.fine")) for _ in range(64)]
    bad = jobs[30]
    with closing(sqlite3.connect(here.folder / "jobs.db")) as database, database:
        changed = database.execute(
            "UPDATE portico_jobs SET payload = ? WHERE id = ?",
            (b"\xff\xfe not json", bad.id.bytes),
        )
        assert changed.rowcount == 1
    database.close()
    supervisor = here.supervisor("--drain")
    assert await supervisor.ended() == 0
    for job in jobs:
        if job is not bad:
            assert (await ended(queue, job.id)).status is JobStatus.COMPLETED
    stats = await queue.get_queue_stats("default")
    assert (stats.completed_count, stats.dead_letter_count) == (63, 1)
    assert supervisor.events("job_dead_lettered", job_id=str(bad.id))
    assert not here.ledger.count("BEGIN", bad.id)


async def test_an_unknown_job_type_is_put_back_uncharged_and_loudly(
    here: Place, queue: JobQueueAdapter
) -> None:
    job = await queue.enqueue(make_job(job_type="nobody.serves.this"))
    supervisor = here.supervisor()
    event = await supervisor.event("job_put_off")
    assert "nobody.serves.this" in event["error"]
    assert "test.fine" in event["error"]
    record = await queue.inspect(job.id)
    assert record is not None
    assert record.accounted
    assert record.job.status is JobStatus.SCHEDULED
    assert (record.job.retry_count, record.snooze_count) == (0, 1)


async def test_a_handler_creates_a_job_which_the_store_has_when_the_call_returns(
    here: Place, queue: JobQueueAdapter
) -> None:
    parent = await queue.enqueue(make_job(job_type="test.parent", payload={"options": {}}))
    supervisor = here.supervisor("--drain")
    assert (await ended(queue, parent.id)).status is JobStatus.COMPLETED
    result = await queue.get_result(parent.id)
    assert result is not None
    assert result["stored"] == {"n": 1}
    assert result["total"] == 2
    assert result["worker"] in (1, 2)
    assert await supervisor.ended() == 0
    child = await ended(queue, result["child"])
    assert child.status is JobStatus.COMPLETED


async def test_what_the_store_refuses_reaches_the_handler_as_an_error(
    here: Place, queue: JobQueueAdapter
) -> None:
    taken = await queue.enqueue(make_job(job_type="test.fine"))
    parent = await queue.enqueue(
        make_job(
            job_type="test.parent", payload={"options": {"job_id": str(taken.id)}}, max_retries=0
        )
    )
    here.supervisor("--drain")
    assert (await ended(queue, parent.id)).status is JobStatus.DEAD_LETTER
    record = await queue.inspect(parent.id)
    assert record is not None
    assert record.error_type == "ConflictError"


async def test_a_handler_of_dead_letters_redrives_through_its_view_of_the_queue(
    here: Place, queue: JobQueueAdapter
) -> None:
    dead = await queue.enqueue(make_job(job_type="test.raise_error", max_retries=0))
    here.supervisor()
    assert (await ended(queue, dead.id)).status is JobStatus.DEAD_LETTER
    redriver = await queue.enqueue(
        make_job(job_type="test.redrive", payload={"dead_job_id": str(dead.id)})
    )
    assert (await ended(queue, redriver.id)).status is JobStatus.COMPLETED
    await wait_until(lambda: here.ledger.count("BEGIN", dead.id) == 2)


async def test_a_worker_never_loads_a_store_nor_knows_its_address(
    here: Place, queue: JobQueueAdapter
) -> None:
    modules = await queue.enqueue(make_job(job_type="test.modules"))
    around = await queue.enqueue(make_job(job_type="test.surroundings"))
    here.supervisor("--drain", PORTICO_QUEUE_URL=here.url)
    for job in (modules, around):
        assert (await ended(queue, job.id)).status is JobStatus.COMPLETED
    loaded = await queue.get_result(modules.id)
    assert loaded == {"loaded": []}
    seen = await queue.get_result(around.id)
    assert seen is not None
    assert "PORTICO_QUEUE_URL" not in seen["environment"]
    assert not [path for path in seen["fds"].values() if "jobs.db" in path]
    assert seen["stdin"] == ""
    assert seen["group"]
    ours = [path for fd, path in seen["fds"].items() if int(fd) >= 200]
    low = [path for fd, path in seen["fds"].items() if 2 < int(fd) < 200]
    assert len(ours) > 5  # those that it was born with, and the loop's
    assert not low


async def test_what_handlers_print_is_logged_with_its_worker_and_never_blocks_them(
    here: Place, queue: JobQueueAdapter
) -> None:
    job = await queue.enqueue(make_job(job_type="test.shout", payload={"lines": 20000}))
    supervisor = here.supervisor("--drain")
    assert (await ended(queue, job.id)).status is JobStatus.COMPLETED
    assert await supervisor.ended() == 0
    assert supervisor.events("worker_output", line="line 0")
    assert sum(event["lines"] for event in supervisor.events("worker_output_dropped")) > 10000


async def test_workers_are_recycled_after_so_many_jobs_and_no_job_is_charged(
    here: Place, queue: JobQueueAdapter
) -> None:
    jobs = [
        await queue.enqueue(make_job(job_type="test.sleep", payload={"seconds": 0.02}))
        for _ in range(100)
    ]
    supervisor = here.supervisor("--max-tasks-per-child", "10", "--drain")
    for job in jobs:
        assert (await ended(queue, job.id)).status is JobStatus.COMPLETED
        record = await queue.inspect(job.id)
        assert record is not None
        assert record.job.retry_count == 0
    assert len({line[2] for line in here.ledger.of("BEGIN")}) >= 6
    assert await supervisor.ended() == 0
    assert supervisor.events("worker_recycled", reason="max jobs")


async def test_hup_replaces_every_worker_while_jobs_go_on(
    here: Place, queue: JobQueueAdapter
) -> None:
    supervisor = here.supervisor()
    await supervisor.started()
    await supervisor.until(lambda: len(supervisor.workers()) == 2)
    before = {worker.pid for worker in supervisor.workers()}
    jobs = [
        await queue.enqueue(make_job(job_type="test.sleep", payload={"seconds": 0.02}))
        for _ in range(60)
    ]
    supervisor.signal(signal.SIGHUP)
    for job in jobs:
        assert (await ended(queue, job.id)).status is JobStatus.COMPLETED
        assert here.ledger.count("BEGIN", job.id) == 1
    await supervisor.until(
        lambda: (
            len(supervisor.workers()) == 2
            and not before & {worker.pid for worker in supervisor.workers()}
        )
    )
    supervisor.signal(signal.SIGTERM)
    assert await supervisor.ended() == 0


async def test_hup_with_broken_code_keeps_the_old_workers(
    here: Place, queue: JobQueueAdapter
) -> None:
    good = "from tests.support.fault_app import app\n"
    (here.folder / "live_app.py").write_text(good)
    supervisor = here.supervisor(app="live_app:app")
    await supervisor.started()
    (here.folder / "live_app.py").write_text("this is no python\n")
    supervisor.signal(signal.SIGHUP)
    await supervisor.event("reload_failed")
    job = await queue.enqueue(make_job(job_type="test.fine"))
    assert (await ended(queue, job.id)).status is JobStatus.COMPLETED


async def test_ttin_and_ttou_change_the_number_of_workers(here: Place) -> None:
    supervisor = here.supervisor()
    await supervisor.started()
    await supervisor.until(lambda: len(supervisor.workers()) == 2)
    supervisor.signal(signal.SIGTTIN)
    await supervisor.until(lambda: len(supervisor.workers()) == 3)
    supervisor.signal(signal.SIGTTOU)
    await supervisor.until(lambda: len(supervisor.workers()) == 2)


async def test_usr1_logs_the_state_and_the_stacks_of_busy_workers(
    here: Place, queue: JobQueueAdapter
) -> None:
    job = await queue.enqueue(make_job(job_type="test.block", payload={"seconds": 1.0}))
    supervisor = here.supervisor()
    await supervisor.until(lambda: here.ledger.count("BEGIN", job.id))
    supervisor.signal(signal.SIGUSR1)
    await supervisor.event("supervisor_state")
    await supervisor.until(
        lambda: any("in block" in event["stacks"] for event in supervisor.events("worker_stacks"))
    )


async def test_spawned_workers_run_jobs_like_forked_ones(
    here: Place, queue: JobQueueAdapter
) -> None:
    jobs = [await queue.enqueue(make_job(job_type="test.fine")) for _ in range(20)]
    supervisor = here.supervisor("--start-method", "spawn", "--drain")
    for job in jobs:
        assert (await ended(queue, job.id)).status is JobStatus.COMPLETED
    assert await supervisor.ended() == 0


@pytest.mark.fault("A21")
async def test_a_zygote_that_is_killed_is_replaced_when_it_is_needed(
    here: Place, queue: JobQueueAdapter
) -> None:
    supervisor = here.supervisor()
    await supervisor.started()
    await supervisor.until(lambda: len(supervisor.workers()) == 2)
    workers = {worker.pid for worker in supervisor.workers()}
    (zygote,) = [child for child in supervisor.descendants() if child.pid not in workers]
    zygote.kill()
    psutil.Process(workers.pop()).kill()
    await supervisor.event("zygote_restarted")
    await supervisor.until(lambda: len(supervisor.workers()) == 2)
    job = await queue.enqueue(make_job(job_type="test.fine"))
    assert (await ended(queue, job.id)).status is JobStatus.COMPLETED


async def test_concurrency_runs_several_jobs_in_one_worker(
    here: Place, queue: JobQueueAdapter
) -> None:
    jobs = [
        await queue.enqueue(make_job(job_type="test.sleep", payload={"seconds": 0.5}))
        for _ in range(8)
    ]
    here.supervisor("--workers", "1", "--concurrency", "8")
    await wait_until(lambda: here.ledger.count("BEGIN") == 8)
    assert here.ledger.count("END") == 0
    for job in jobs:
        assert (await ended(queue, job.id)).status is JobStatus.COMPLETED


async def test_an_audit_trail_is_kept_of_every_job_that_ends(
    here: Place, queue: JobQueueAdapter
) -> None:
    done = await queue.enqueue(make_job(job_type="test.fine"))
    failed = await queue.enqueue(make_job(job_type="test.give_up"))
    url = f"sqlite:///{here.folder / 'audit.db'}"
    supervisor = here.supervisor("--audit-url", url, "--drain")
    assert await supervisor.ended() == 0
    audit = compose.audit(url)
    try:
        (event,) = await audit.get_resource_history("job", str(done.id))
        assert (event.details["event"], event.success) == ("completed", True)
        (event,) = await audit.get_resource_history("job", str(failed.id))
        assert (event.details["event"], event.success) == ("failed", False)
    finally:
        await audit.close()


@pytest.mark.parametrize("name", ["sleep", "block"])
async def test_a_running_job_that_someone_cancels_is_stopped_and_its_neighbour_goes_on(
    name: str, here: Place, queue: JobQueueAdapter
) -> None:
    """The holder learns of it when it renews its lease: within a quarter of the lease's length."""
    doomed = await queue.enqueue(make_job(job_type=f"test.{name}", payload={"seconds": 3600}))
    beside = await queue.enqueue(make_job(job_type="test.sleep", payload={"seconds": 3.0}))
    supervisor = here.supervisor("--lease", "1s")
    await supervisor.until(lambda: here.ledger.count("BEGIN") == 2)
    service = compose.job_service(queue)
    assert not await service.cancel_job(doomed.id)
    assert await service.cancel_job(doomed.id, running=True)
    cancelled = await ended(queue, doomed.id)
    assert (cancelled.status, cancelled.error_message) == (JobStatus.FAILED, "Job cancelled")
    record = await queue.inspect(doomed.id)
    assert record is not None
    assert record.accounted
    assert (await ended(queue, beside.id)).status is JobStatus.COMPLETED
    assert here.ledger.count("BEGIN", beside.id) == 1
