"""What becomes of a job whose handler misuses its process: memory, descriptors, pipes, children."""

from __future__ import annotations

import os
import signal
from functools import partial

import psutil
import pytest

from portico.ports.job import JobStatus
from portico.ports.job_queue import JobQueueAdapter
from tests.support.accounts import AT_ONCE, MISBEHAVING, account, enqueue, pid_of
from tests.support.jobs import ended
from tests.support.supervisors import Place, SupervisorProcess

SWEEP_OFTEN = "supervisor.supervisor:_SWEEP=0.05"


async def child_of(queue: JobQueueAdapter, job_id: object) -> int:
    result = await queue.get_result(job_id)  # type: ignore[arg-type]
    assert result is not None
    return int(result["child"])


def zombies(supervisor: SupervisorProcess) -> list[psutil.Process]:
    return [p for p in supervisor.descendants() if p.status() == psutil.STATUS_ZOMBIE]


def gone(pid: int) -> bool:
    """Whether it has ended; whoever adopted it may take a while to collect it."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.mark.fault("B5")
async def test_a_handler_out_of_memory_fails_once_and_its_worker_is_replaced(
    here: Place, queue: JobQueueAdapter
) -> None:
    before = await enqueue(queue, "pid", priority=9)
    job = await enqueue(queue, "out_of_memory", priority=5)
    after = [await enqueue(queue, "pid") for _ in range(20)]
    supervisor = here.supervisor(
        "--workers", "1", "--log-level", "DEBUG", app=MISBEHAVING, TUNING=AT_ONCE
    )
    await account(
        here, queue, job, JobStatus.COMPLETED, retries=1, executions=2, error="MemoryError"
    )
    for neighbour in (before, *after):
        await account(here, queue, neighbour, JobStatus.COMPLETED)
    first = await pid_of(queue, before)
    assert {await pid_of(queue, done) for done in (job, *after)}.isdisjoint({first})
    recycled = await supervisor.event("worker_recycled")
    assert (recycled["reason"], recycled["pid"]) == ("memory_error", first)
    await supervisor.until(lambda: not psutil.pid_exists(first), what="the old one's end")
    await supervisor.event("worker_retired", status="exited with code 0")
    assert not supervisor.events("worker_exited")
    await supervisor.until(lambda: len(supervisor.workers()) == 1, what="the whole pool")


@pytest.mark.fault("B7")
async def test_a_forked_child_is_killed_with_its_worker_and_leaves_no_zombie(
    here: Place, queue: JobQueueAdapter
) -> None:
    """It holds copies of the worker's pipes: their end is never seen, the death is."""
    job = await enqueue(queue, "fork")
    supervisor = here.supervisor("--workers", "1", app=MISBEHAVING, TUNING=SWEEP_OFTEN)
    await account(here, queue, job, JobStatus.COMPLETED)
    child, worker = await child_of(queue, job.id), await pid_of(queue, job)
    assert psutil.Process(child).status() != psutil.STATUS_ZOMBIE
    os.kill(worker, signal.SIGKILL)
    await supervisor.event("worker_exited", pid=worker)
    await supervisor.until(lambda: not psutil.pid_exists(child), what="the child's end")
    after = await enqueue(queue, "pid")
    await account(here, queue, after, JobStatus.COMPLETED)
    assert not zombies(supervisor)


@pytest.mark.fault("B7")
async def test_a_forked_child_that_comes_back_from_the_handler_does_not_speak_for_the_job(
    here: Place, queue: JobQueueAdapter
) -> None:
    jobs = [await enqueue(queue, "fork_and_return") for _ in range(5)]
    supervisor = here.supervisor("--workers", "1", app=MISBEHAVING)
    for job in jobs:
        await account(here, queue, job, JobStatus.COMPLETED)
        assert await child_of(queue, job.id) > 0
    await supervisor.until(lambda: here.ledger.count("CHILD") == 5, what="every child")
    await supervisor.until(lambda: supervisor.text().count("came back from a handler") == 5)
    assert not supervisor.events("frame_invalid") + supervisor.events("worker_exited")


@pytest.mark.fault("B8")
@pytest.mark.parametrize("kill", [False, True], ids=["left alone", "killed"])
async def test_a_daemon_that_outlives_its_worker_is_adopted_and_killed_on_request(
    kill: bool, here: Place, queue: JobQueueAdapter
) -> None:
    job = await enqueue(queue, "daemonise")
    options = ("--kill-orphans",) if kill else ()
    supervisor = here.supervisor("--workers", "1", *options, app=MISBEHAVING)
    await account(here, queue, job, JobStatus.COMPLETED)
    child, worker = await child_of(queue, job.id), await pid_of(queue, job)
    os.kill(worker, signal.SIGKILL)
    adopted = await supervisor.event("orphan_adopted", pid=child)
    assert adopted["command"] == "/bin/sleep 61"
    if kill:
        assert adopted["action"] == "killed"
        await supervisor.until(lambda: not psutil.pid_exists(child), what="its end")
    else:
        assert adopted["action"] == "left running"
        assert "--kill-orphans" in adopted["note"]
        assert psutil.Process(child).ppid() == supervisor.pid
        psutil.Process(child).kill()
        await supervisor.until(lambda: not psutil.pid_exists(child), what="its end")
    after = await enqueue(queue, "pid")
    await account(here, queue, after, JobStatus.COMPLETED)
    assert len(supervisor.events("orphan_adopted")) == 1
    assert not zombies(supervisor)


async def test_a_zygote_that_was_replaced_is_collected_and_so_are_orphans_after_it(
    here: Place, queue: JobQueueAdapter
) -> None:
    supervisor = here.supervisor("--workers", "1", "--kill-orphans", app=MISBEHAVING)
    await supervisor.started()
    workers = {worker.pid for worker in supervisor.workers()}
    (zygote,) = [child.pid for child in supervisor.descendants() if child.pid not in workers]
    supervisor.signal(signal.SIGHUP)
    await supervisor.until(lambda: not psutil.pid_exists(zygote), what="the end of the zygote")
    job = await enqueue(queue, "daemonise")
    await account(here, queue, job, JobStatus.COMPLETED)
    child = await child_of(queue, job.id)
    os.kill(await pid_of(queue, job), signal.SIGKILL)
    await supervisor.until(lambda: not psutil.pid_exists(child), what="the orphan's end")
    assert [event["pid"] for event in supervisor.events("orphan_adopted")] == [child]


@pytest.mark.fault("B9")
async def test_a_handler_that_closes_low_descriptors_gets_none_of_its_workers(
    here: Place, queue: JobQueueAdapter
) -> None:
    """Its files take the numbers that it closed; then the loop is woken, and told to stop."""
    closing = await enqueue(queue, "close_descriptors", first=0, up_to=21)
    supervisor = here.supervisor("--workers", "1", "--log-level", "DEBUG", app=MISBEHAVING)
    await account(here, queue, closing, JobStatus.COMPLETED)
    result = await queue.get_result(closing.id)
    assert result is not None
    assert set(range(21)) <= set(result["fds"])
    for _ in range(5):
        after = await enqueue(queue, "pid")
        await account(here, queue, after, JobStatus.COMPLETED)
        assert await pid_of(queue, after) == result["pid"]
    supervisor.signal(signal.SIGTERM)
    assert await supervisor.ended() == 0
    assert supervisor.events("worker_retired", status="exited with code 0")
    for number in range(30):
        assert (here.folder / f"mine-{number}").read_text() == "mine\n"


@pytest.mark.fault("B9")
async def test_a_handler_that_closes_every_descriptor_costs_its_worker_and_no_other_job(
    here: Place, queue: JobQueueAdapter
) -> None:
    """Its result needs no descriptor; but the thread that owns the job pipe may notice first that
    there is none any more, and end the worker: then that job is charged."""
    closing = await enqueue(queue, "close_descriptors", first=3, up_to=4096, max_retries=0)
    beside = [await enqueue(queue, "pid") for _ in range(5)]
    supervisor = here.supervisor("--workers", "1", app=MISBEHAVING)
    for job in beside:
        await account(here, queue, job, JobStatus.COMPLETED)
    ended = await queue.get_job(closing.id)
    assert ended is not None
    if ended.status is not JobStatus.COMPLETED:
        await account(
            here, queue, closing, JobStatus.DEAD_LETTER, crashes=1, error="WorkerLostError"
        )
    gone = await supervisor.event("worker_exited")
    assert gone["pid"] not in [await pid_of(queue, job) for job in beside]
    for mine in here.folder.glob("mine-*"):  # it may not have come to write into all of them
        assert mine.read_text() in ("", "mine\n")


@pytest.mark.fault("B10")
async def test_a_hundred_megabytes_of_output_block_nobody_and_are_counted(
    here: Place, queue: JobQueueAdapter
) -> None:
    warm = await enqueue(queue, "flood", megabytes=2)
    supervisor = here.supervisor("--workers", "1", app=MISBEHAVING)
    await account(here, queue, warm, JobStatus.COMPLETED)
    process = psutil.Process(supervisor.pid)
    before, most = process.memory_info().rss, 0
    job = await enqueue(queue, "flood", megabytes=100)

    def flooded() -> bool:
        nonlocal most
        most = max(most, process.memory_info().rss)
        return bool(here.ledger.count("END", job.id))

    await supervisor.until(flooded, what="the end of the flood")
    await account(here, queue, job, JobStatus.COMPLETED)
    assert most - before < 5 << 20
    supervisor.signal(signal.SIGTERM)
    assert await supervisor.ended() == 0
    dropped = supervisor.events("worker_output_dropped")
    shown = [e for e in supervisor.events("worker_output") if e["line"].startswith("x")]
    assert sum(event["lines"] for event in dropped) + len(shown) >= 51 * 1024


@pytest.mark.fault("B11")
async def test_a_handler_that_writes_garbage_to_the_result_pipe_is_a_crash(
    here: Place, queue: JobQueueAdapter
) -> None:
    job = await enqueue(queue, "garbage", max_retries=0)
    beside = [await enqueue(queue, "pid") for _ in range(20)]
    supervisor = here.supervisor(app=MISBEHAVING)
    await account(here, queue, job, JobStatus.DEAD_LETTER, crashes=1, error="WorkerLostError")
    for neighbour in beside:
        await account(here, queue, neighbour, JobStatus.COMPLETED)
    invalid = await supervisor.event("frame_invalid")
    assert invalid["pid"] == int(here.ledger.of("BEGIN", job.id)[0][2])
    assert "over the limit" in invalid["error"]
    assert supervisor.process.poll() is None


@pytest.mark.fault("B30")
async def test_a_handler_that_changes_its_surroundings_does_not_stop_the_next_one(
    here: Place, queue: JobQueueAdapter
) -> None:
    """Signals ignored and blocked, another folder and umask, no streams, logging shut down."""
    changing = await enqueue(queue, "change_surroundings", priority=9)
    after = [await enqueue(queue, "pid") for _ in range(5)]
    failing = await enqueue(queue, "raises", kind="lock", max_retries=0)
    supervisor = here.supervisor("--workers", "1", "--log-level", "DEBUG", app=MISBEHAVING)
    for job in (changing, *after):
        await account(here, queue, job, JobStatus.COMPLETED)
    await account(here, queue, failing, JobStatus.DEAD_LETTER, error="ValueError")
    assert {await pid_of(queue, job) for job in (changing, *after)} == {
        await pid_of(queue, changing)
    }
    supervisor.signal(signal.SIGTERM)
    assert await supervisor.ended() == 0
    assert supervisor.events("worker_retired", status="exited with code 0")


@pytest.mark.fault("B30")
async def test_a_worker_for_each_job_keeps_what_a_handler_changes_to_itself(
    here: Place, queue: JobQueueAdapter
) -> None:
    changing = await enqueue(queue, "change_surroundings", priority=9)
    after = [await enqueue(queue, "pid") for _ in range(3)]
    here.supervisor("--workers", "1", "--max-jobs-per-worker", "1", app=MISBEHAVING)
    pids = [await pid_of(queue, await ended(queue, job.id)) for job in (changing, *after)]
    assert len(set(pids)) == 4


@pytest.mark.fault("B31")
async def test_a_handler_that_kills_its_supervisor_is_dead_lettered_after_ten_expiries(
    here: Place, queue: JobQueueAdapter
) -> None:
    """Each successor recovers the job, and is killed by it, until there have been ten. With a
    sandbox the handler cannot."""
    job = await enqueue(queue, "kill_the_parent", max_retries=99)
    for run in range(10):
        supervisor = here.supervisor("--workers", "1", "--limits", "sandbox=off", app=MISBEHAVING)
        worker = await start_of(supervisor, here, run + 1)
        assert await supervisor.ended() == -signal.SIGKILL
        await supervisor.until(partial(gone, worker), what="its worker's end")
    last = here.supervisor("--workers", "1", app=MISBEHAVING)
    record = await account(
        here, queue, job, JobStatus.DEAD_LETTER,
        retries=9, expiries=10, executions=10, error="LeaseExpired",
    )  # fmt: skip
    assert record.attempt == 10
    await last.event("job_recovered", status="dead_letter")
    after = await enqueue(queue, "pid")
    await account(here, queue, after, JobStatus.COMPLETED)


async def start_of(supervisor: SupervisorProcess, here: Place, run: int) -> int:
    """The worker of this run, once it has begun the job."""
    await supervisor.until(lambda: here.ledger.count("BEGIN") == run, what="the start")
    return int(here.ledger.of("BEGIN")[-1][2])
