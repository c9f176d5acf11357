"""What becomes of jobs where descriptors, processes, time, memory or temporary space run short."""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from portico import compose
from portico.ports.draft import Draft
from portico.ports.job import JobStatus
from portico.ports.job_queue import JobQueueAdapter
from portico.supervisor.scheduling.dispatch import MOST_JOBS
from tests.support.jobs import ended, make_job
from tests.support.supervisors import COMMAND, ROOT, Place, SupervisorProcess
from tests.support.surroundings import as_nobody, with_full_tmp

APP = "tests.support.store_app:app"


def zygote(supervisor: SupervisorProcess) -> psutil.Process:
    [found] = [p for p in supervisor.descendants() if p.num_threads() == 1]
    return found


def alarms(supervisor: SupervisorProcess) -> list[dict[str, Any]]:
    quiet, root = ("debug", "info"), "running_as_root"
    return [e for e in supervisor.events() if e["level"] not in quiet and e["event"] != root]


@pytest.mark.fault("F2")
async def test_a_handler_that_uses_up_its_workers_descriptors_fails_and_the_worker_goes_on(
    here: Place, queue: JobQueueAdapter
) -> None:
    supervisor = here.supervisor("--workers", "1", app=APP)
    await supervisor.started()
    [worker] = supervisor.workers()
    worker.rlimit(psutil.RLIMIT_NOFILE, (300, 300))
    greedy = await queue.enqueue(make_job(job_type="test.take_all_descriptors", max_retries=0))
    assert (await ended(queue, greedy.id)).status is JobStatus.DEAD_LETTER
    record = await queue.inspect(greedy.id)
    assert record is not None
    assert record.accounted
    assert record.error_type == "OSError"
    assert "Too many open files" in (record.job.error_message or "")
    assert record.crash_count == 0
    for _ in range(20):
        job = await queue.enqueue(make_job(job_type="test.silent"))
        await ended(queue, job.id)
        assert await queue.get_result(job.id) == {"pid": worker.pid}
    assert not supervisor.events("frame_invalid") + supervisor.events("worker_exited")


@pytest.mark.fault("F3")
async def test_where_no_process_can_be_forked_the_remaining_workers_go_on(tmp_path: Path) -> None:
    here = Place(tmp_path)
    supervisor = here.supervisor(app=APP, command=[*as_nobody(), *COMMAND])
    try:
        await supervisor.started()
        await supervisor.until(lambda: len(supervisor.workers()) == 2, what="the whole pool")
        parent = zygote(supervisor)
        most_processes(parent, "1")
        first, second = supervisor.workers()
        first.kill()
        failed = await supervisor.event("spawn_failed")
        assert "temporarily unavailable" in failed["error"]
        assert failed["again_in"] >= 0.1
        queue = compose.job_queue(here.url)
        await queue.initialize()
        for _ in range(10):
            job = await queue.enqueue(make_job(job_type="test.silent"))
            assert (await ended(queue, job.id)).status is JobStatus.COMPLETED
            assert await queue.get_result(job.id) == {"pid": second.pid}
        await queue.close()
        most_processes(parent, "10000")
        await supervisor.until(lambda: len(supervisor.workers()) == 2, what="the whole pool")
        assert not supervisor.events("zygote_restarted")
    finally:
        here.destroy()


def most_processes(process: psutil.Process, limit: str) -> None:
    """Limit how many processes the user of this one may have, as seen from this one."""
    command = ["prlimit", "--pid", str(process.pid), f"--nproc={limit}:"]
    subprocess.run([*as_nobody(), *command], check=True)


@contextmanager
def spinners(count: int) -> Iterator[None]:
    processes = [subprocess.Popen(["sh", "-c", "while :; do :; done"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.wait()


@pytest.mark.fault("F5")
async def test_a_starved_machine_costs_no_lease_and_no_worker(
    here: Place, queue: JobQueueAdapter
) -> None:
    supervisor = here.supervisor("--lease", "10s", app=APP)
    await supervisor.started()
    await supervisor.until(lambda: len(supervisor.workers()) == 2, what="the whole pool")
    workers = {worker.pid for worker in supervisor.workers()}
    long = await queue.enqueue(make_job(job_type="test.sleep", payload={"seconds": 3}))
    await supervisor.until(lambda: here.ledger.count("BEGIN", long.id))
    with spinners(50):
        jobs = [await queue.enqueue(make_job(job_type="test.fine")) for _ in range(50)]
        for job in [long, *jobs]:
            assert (await ended(queue, job.id, timeout=45)).status is JobStatus.COMPLETED
    assert here.ledger.count("BEGIN") == 51
    assert {worker.pid for worker in supervisor.workers()} == workers
    assert alarms(supervisor) == []


@pytest.mark.slow
@pytest.mark.fault("F6")
async def test_a_long_queue_of_slow_jobs_stays_in_the_store(
    here: Place, queue: JobQueueAdapter
) -> None:
    supervisor = here.supervisor(app=APP)
    await supervisor.started()
    warm = [await queue.enqueue(make_job(job_type="test.fine")) for _ in range(100)]
    for job in warm:
        await ended(queue, job.id)
    before = psutil.Process(supervisor.pid).memory_info().rss
    for _ in range(40):
        await queue.insert([
            Draft.of(make_job(job_type="test.sleep", payload={"seconds": 0.05, "pad": "x" * 500}))
            for _ in range(5000)
        ])  # fmt: skip
    leased = []
    with closing(sqlite3.connect(here.folder / "jobs.db", isolation_level=None)) as outsider:

        def look() -> bool:
            query = "SELECT count(*) FROM portico_jobs WHERE status = 'running'"
            leased.append(outsider.execute(query).fetchone()[0])
            return here.ledger.count("END") > 140

        await supervisor.until(look, timeout=30)
    cap = 2 * 2 * MOST_JOBS  # for each worker what it is given at once, and a round ahead
    assert 2 <= max(leased) <= cap
    assert psutil.Process(supervisor.pid).memory_info().rss - before < 20 * 2**20


@pytest.mark.fault("F1")
async def test_a_live_supervisor_without_descriptors_goes_on_with_the_workers_that_it_has(
    here: Place, queue: JobQueueAdapter
) -> None:
    supervisor = here.supervisor("--log-level", "DEBUG", app=APP)
    lost, _ = await supervisor.ready()
    process = psutil.Process(supervisor.pid)
    usual = process.rlimit(psutil.RLIMIT_NOFILE)
    process.rlimit(psutil.RLIMIT_NOFILE, (3, usual[1]))
    lost.kill()
    refused = await supervisor.event("spawn_failed")
    assert "Too many open files" in refused["error"]
    for _ in range(20):
        job = await queue.enqueue(make_job(job_type="test.fine"))
        assert (await ended(queue, job.id)).status is JobStatus.COMPLETED
    assert len(supervisor.events("worker_ready")) == 2
    process.rlimit(psutil.RLIMIT_NOFILE, usual)
    await supervisor.until(lambda: len(supervisor.events("worker_ready")) == 3)


@pytest.mark.fault("F7")
async def test_nothing_depends_on_room_in_the_temporary_folders(
    here: Place, queue: JobQueueAdapter
) -> None:
    command = [*with_full_tmp(ROOT, here.folder), *COMMAND]
    supervisor = here.supervisor(app=APP, command=command)
    await supervisor.started()
    folders = {"folders": ["/tmp", "/dev/shm"]}
    probe = await queue.enqueue(make_job(job_type="test.write_to", payload=folders))
    await ended(queue, probe.id)
    assert await queue.get_result(probe.id) == dict.fromkeys(
        folders["folders"], "No space left on device"
    )
    supervisor.workers()[0].kill()
    await supervisor.until(lambda: len(supervisor.workers()) == 2, what="a new worker")
    jobs = [await queue.enqueue(make_job(job_type="test.fine")) for _ in range(50)]
    for job in jobs:
        assert (await ended(queue, job.id)).status is JobStatus.COMPLETED
    supervisor.signal(signal.SIGTERM)
    assert await supervisor.ended() == 0


MANY_DESCRIPTORS = """
import os, resource, sys
most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
null = os.open("/dev/full", os.O_RDWR)
for _ in range(int(sys.argv[1])):
    os.set_inheritable(os.dup(null), True)
os.execv(sys.argv[2], sys.argv[2:])
"""


@pytest.mark.fault("F8")
async def test_ten_thousand_inherited_descriptors_and_a_huge_environment_do_no_harm(
    here: Place, queue: JobQueueAdapter
) -> None:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    count = 10_000 if most == resource.RLIM_INFINITY else min(10_000, most - 1000)
    supervisor = here.supervisor(
        app=APP,
        command=[sys.executable, "-c", MANY_DESCRIPTORS, str(count), *COMMAND],
        **{f"HUGE_{number}": "x" * 100_000 for number in range(10)},
    )
    started = await supervisor.started()
    assert started["start_seconds"] < 5
    assert descriptors(supervisor.pid, "/dev/full") >= count  # the supervisor did inherit them
    for child in supervisor.descendants():
        assert descriptors(child.pid, "/dev/full") == 0
    begun = time.monotonic()
    supervisor.workers()[0].kill()
    await supervisor.until(lambda: len(supervisor.workers()) == 2, what="a new worker")
    assert time.monotonic() - begun < 5
    job = await queue.enqueue(make_job(job_type="test.fine"))
    assert (await ended(queue, job.id)).status is JobStatus.COMPLETED


def descriptors(pid: int, leading_to: str) -> int:
    folder = f"/proc/{pid}/fd"
    found = 0
    for number in os.listdir(folder):
        try:
            found += os.readlink(f"{folder}/{number}") == leading_to
        except FileNotFoundError:
            continue
    return found
