"""What becomes of jobs when the pipes are full, hold lies, dribble, leak, or are small."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from portico import compose
from portico.ports.draft import Draft
from portico.ports.job import Job, JobStatus
from portico.ports.job_queue import JobQueueAdapter
from tests.support.jobs import ended, make_job
from tests.support.odd_supervisor import odd
from tests.support.pipes import drain, fill, flags_of, no_large_pipes, pipe_ends
from tests.support.supervisors import COMMAND, LOOKED_INTO, Place, SupervisorProcess
from tests.support.surroundings import as_nobody
from tests.support.waiting import wait_until

APP = "tests.support.wire_app:app"
TEXT = "0123456789" * 10_000
REDIRECT = """
import os, sys
os.dup2(os.open(os.environ["LOG"], os.O_WRONLY | os.O_NONBLOCK), 2)
os.execv(sys.argv[1], sys.argv[1:])
"""


def start(here: Place, *arguments: str, **options: Any) -> SupervisorProcess:
    return here.supervisor(*arguments, *LOOKED_INTO, app=APP, WIRE=str(here.folder), **options)


async def forger(queue: JobQueueAdapter, frame: str, **payload: Any) -> Job:
    payload |= {"frame": frame}
    return await queue.enqueue(make_job(job_type="test.forge", payload=payload, max_retries=0))


async def charged_with_its_worker(queue: JobQueueAdapter, job: Job) -> None:
    """Dead-lettered by the death of the worker, and not by anything that it wrote."""
    assert (await ended(queue, job.id)).status is JobStatus.DEAD_LETTER
    record = await queue.inspect(job.id)
    assert record is not None
    assert record.accounted
    assert (record.attempt, record.crash_count) == (1, 1)
    assert record.result is None


async def completes(queue: JobQueueAdapter, job: Job, **result: Any) -> None:
    assert (await ended(queue, job.id)).status is JobStatus.COMPLETED
    record = await queue.inspect(job.id)
    assert record is not None
    assert record.accounted
    assert record.attempt == 1
    if result:
        assert record.result == result


async def echoes(here: Place, queue: JobQueueAdapter, count: int, text: str = TEXT) -> None:
    """So many jobs whose payloads and results fill the pipes, all once."""
    payload = {"text": text}
    drafts = [Draft.of(make_job(job_type="test.echo", payload=payload)) for _ in range(count)]
    await queue.insert(drafts)
    for draft in drafts:
        assert (await ended(queue, draft.id)).status is JobStatus.COMPLETED
        assert await queue.get_result(draft.id) == {"twice": text * 2}
        assert here.ledger.count("BEGIN", draft.id) == 1


@pytest.mark.fault("G1")
@pytest.mark.parametrize("concurrency", ["1", "4"])
async def test_payloads_and_results_larger_than_a_pipe_in_both_directions_never_lock_up(
    here: Place, queue: JobQueueAdapter, concurrency: str
) -> None:
    supervisor = start(here, "--workers", "1", "--concurrency", concurrency)
    await supervisor.started()
    await echoes(here, queue, 40)
    assert not supervisor.events("worker_exited")


@pytest.mark.fault("G2")
@pytest.mark.fault("G3")
@pytest.mark.parametrize(
    "frame",
    [
        "length of 4 GiB", "length over the limit", "unknown type", "no frame at all",
        "frame of the other direction", "another version", "batch of a number to come",
    ],
)  # fmt: skip
async def test_a_frame_that_cannot_be_costs_its_worker_and_nothing_else(
    here: Place, queue: JobQueueAdapter, frame: str
) -> None:
    supervisor = start(here)
    await supervisor.started()
    before = psutil.Process(supervisor.pid).memory_info().rss
    lying = await forger(queue, frame)
    others = [await queue.enqueue(make_job(job_type="test.fine")) for _ in range(20)]
    await charged_with_its_worker(queue, lying)
    for other in others:
        await completes(queue, other)
    invalid = await supervisor.event("frame_invalid")
    assert invalid["error"]
    assert invalid["pid"] == int(here.ledger.of("BEGIN", lying.id)[0][2])
    await supervisor.until(lambda: len(supervisor.workers()) == 2, what="the whole pool")
    assert psutil.Process(supervisor.pid).memory_info().rss - before < 64 * 2**20


@pytest.mark.fault("G3")
async def test_workers_of_another_version_are_refused_at_a_reload_and_the_old_ones_stay(
    here: Place, queue: JobQueueAdapter
) -> None:
    supervisor = start(here)
    await supervisor.started()
    await supervisor.until(lambda: len(supervisor.workers()) == 2, what="the whole pool")
    workers = {worker.pid for worker in supervisor.workers()}
    (here.folder / "version").touch()
    supervisor.signal(signal.SIGHUP)
    invalid = await supervisor.event("frame_invalid")
    assert "version 99" in invalid["error"]
    failed = await supervisor.event("worker_boot_failed")
    assert "goes on in its place" in failed["note"]
    assert await supervisor.event("reload_failed")
    job = await queue.enqueue(make_job(job_type="test.fine"))
    await completes(queue, job)
    await supervisor.until(lambda: {worker.pid for worker in supervisor.workers()} == workers)


@pytest.mark.fault("G4")
async def test_frames_that_dribble_byte_by_byte_both_ways_are_the_same_frames(
    here: Place, queue: JobQueueAdapter
) -> None:
    (here.folder / "dribble").touch()
    supervisor = start(here, command=odd("dribbling"))
    await supervisor.started()
    await echoes(here, queue, 20, "äöü\N{SNOWMAN}" * 50)
    failing = await queue.enqueue(make_job(job_type="test.raise_error", max_retries=0))
    assert (await ended(queue, failing.id)).error_message == "it went wrong"
    assert not supervisor.events("frame_invalid") + supervisor.events("worker_exited")


@pytest.mark.fault("G5")
async def test_a_result_for_a_job_of_another_worker_settles_nothing(
    here: Place, queue: JobQueueAdapter
) -> None:
    supervisor = start(here)
    target = await queue.enqueue(make_job(job_type="test.tell_serial"))
    told = here.folder / f"serial-{target.id}"
    await supervisor.until(told.exists, what="the other's serial")
    lying = await forger(queue, "result", serial=int(told.read_text()))
    await charged_with_its_worker(queue, lying)
    assert (await supervisor.event("frame_invalid"))["worker"]
    found = await queue.get_job(target.id)
    assert found is not None
    assert found.status is JobStatus.RUNNING
    (here.folder / "go").touch()
    await completes(queue, target, honest=True)


@pytest.mark.fault("G5")
async def test_a_second_result_of_the_same_job_changes_nothing(
    here: Place, queue: JobQueueAdapter
) -> None:
    supervisor = start(here, "--workers", "1")
    lying = await forger(queue, "result", then="return")
    await completes(queue, lying, forged=True)
    await supervisor.event("frame_invalid")
    later = await queue.enqueue(make_job(job_type="test.fine"))
    await completes(queue, later)
    supervisor.signal(signal.SIGTERM)
    assert await supervisor.ended() == 0
    assert supervisor.events("supervisor_stopped")[0]["completed"] == 2


@pytest.mark.fault("G5")
async def test_a_result_of_a_job_that_has_not_been_started_is_none(
    here: Place, queue: JobQueueAdapter
) -> None:
    """The next job waits in the same worker, as all of them are known to be short."""
    for _ in range(20):
        await forger(queue, "nothing", then="return")
    supervisor = start(here, "--workers", "1")
    await supervisor.until(lambda: here.ledger.count("END") == 20)
    payloads = [{"frame": "result of the next"}, *[{"frame": "nothing", "then": "return"}] * 20]
    drafts = [
        Draft.of(make_job(job_type="test.forge", payload=payload, max_retries=0))
        for payload in payloads
    ]
    await queue.insert(drafts)
    for draft in drafts[1:]:
        assert (await ended(queue, draft.id)).status is JobStatus.COMPLETED
        assert await queue.get_result(draft.id) == {"honest": True}
        assert here.ledger.count("END", draft.id) == 1
    assert (await ended(queue, drafts[0].id)).status is JobStatus.DEAD_LETTER
    await supervisor.event("frame_invalid")


@pytest.mark.fault("G6")
@pytest.mark.parametrize("method", ["fork", "spawn"])
async def test_nobody_but_the_two_of_them_holds_an_end_of_a_workers_pipes(
    here: Place, method: str
) -> None:
    arguments = ("--start-method", method) if method == "spawn" else ()
    supervisor = start(here, "--workers", "3", "--log-level", "DEBUG", *arguments)
    (await supervisor.ready(3))[0].kill()
    await supervisor.event("worker_exited")
    await supervisor.until(lambda: len(supervisor.workers()) == 3)
    await supervisor.until(lambda: all(len(pipe_ends(w.pid)) == 4 for w in supervisor.workers()))
    ours = pipe_ends(supervisor.pid)
    seen: set[str] = set()
    workers = supervisor.workers()
    for worker in workers:
        ends = pipe_ends(worker.pid)  # jobs to read; results, output and log to write
        assert sorted(mode for _, mode in ends) == [os.O_RDONLY, *[os.O_WRONLY] * 3]
        names = {name for name, _ in ends}
        assert not names & seen
        assert not ends & ours  # the supervisor has the other end of each, and only that
        assert names <= {name for name, _ in ours}
        seen |= names
    for other in supervisor.descendants():
        if other.pid not in {worker.pid for worker in workers}:
            assert not {name for name, _ in pipe_ends(other.pid)} & seen


@pytest.mark.fault("G7")
async def test_a_broken_pipe_that_kills_is_a_crash_of_the_job_and_of_nobody_else(
    here: Place, queue: JobQueueAdapter
) -> None:
    supervisor = start(here)
    job = await queue.enqueue(make_job(job_type="test.broken_pipe", max_retries=0))
    others = [await queue.enqueue(make_job(job_type="test.fine")) for _ in range(20)]
    await charged_with_its_worker(queue, job)
    found = await queue.get_job(job.id)
    assert found is not None
    assert "SIGPIPE" in (found.error_message or "")
    for other in others:
        await completes(queue, other)
    assert "SIGPIPE" in (await supervisor.event("worker_exited"))["status"]
    assert supervisor.process.poll() is None


@pytest.mark.fault("G8")
async def test_a_log_that_does_not_block_and_that_nobody_reads_holds_up_nothing(
    here: Place, queue: JobQueueAdapter
) -> None:
    log = here.folder / "log"
    os.mkfifo(log)
    reader = os.open(log, os.O_RDWR | os.O_NONBLOCK)
    supervisor = start(
        here, "--workers", "1", command=[sys.executable, "-c", REDIRECT, *COMMAND], LOG=str(log)
    )
    flag = await queue.enqueue(make_job(job_type="test.never_block"))
    await completes(queue, flag)
    assert flags_of(supervisor.pid, 2) & os.O_NONBLOCK
    assert not flags_of(supervisor.pid, 1) & os.O_NONBLOCK  # of a handler's doing
    fill(reader)
    for _ in range(5):
        failing = await queue.enqueue(make_job(job_type="test.raise_error", max_retries=0))
        assert (await ended(queue, failing.id)).status is JobStatus.DEAD_LETTER
    drain(reader)
    last = await queue.enqueue(make_job(job_type="test.raise_error", max_retries=0))
    assert (await ended(queue, last.id)).status is JobStatus.DEAD_LETTER
    said = b""

    def heard() -> bool:
        nonlocal said
        said += drain(reader)
        return str(last.id).encode() in said

    await wait_until(heard)
    supervisor.signal(signal.SIGTERM)
    assert await supervisor.ended() == 0
    os.close(reader)


@pytest.mark.fault("G9")
async def test_with_the_smallest_pipes_everything_is_only_slower(tmp_path: Path) -> None:
    here = Place(tmp_path)
    try:
        with no_large_pipes():
            supervisor = start(here, command=[*as_nobody(), *COMMAND])
            await supervisor.started()
            worker = supervisor.workers()[0]
            with open(f"/proc/{worker.pid}/fd/201", "wb") as results:
                assert fcntl.fcntl(results, fcntl.F_GETPIPE_SZ) <= 65536
            queue = compose.job_queue(here.url)
            await queue.initialize()
            await echoes(here, queue, 30)
            await queue.close()
            assert not supervisor.events("worker_exited")
    finally:
        here.destroy()
