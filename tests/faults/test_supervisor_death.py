"""What becomes of jobs and workers when the supervisor is killed, stopped, or signalled."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from portico.ports.draft import Draft
from portico.ports.job import JobStatus
from portico.ports.job_queue import JobQueueAdapter
from portico.supervisor.scheduling.watch import KILL_AFTER
from tests.support.freezing import freeze
from tests.support.jobs import ended, make_job
from tests.support.supervisors import Place
from tests.support.waiting import wait_until


def gone(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.mark.fault("C1")
async def test_after_a_kill_the_workers_are_gone_within_a_second_and_a_successor_finishes_all(
    here: Place, queue: JobQueueAdapter
) -> None:
    long = [
        await queue.enqueue(make_job(job_type="test.sleep", payload={"seconds": 1.0}))
        for _ in range(2)
    ]
    rest = [await queue.enqueue(make_job(job_type="test.fine")) for _ in range(200)]
    supervisor = here.supervisor()
    await supervisor.until(lambda: here.ledger.count("BEGIN") >= 2)
    children = supervisor.descendants()
    supervisor.signal(signal.SIGKILL)
    killed_at = time.monotonic()
    await wait_until(lambda: all(gone(child) for child in children))
    assert time.monotonic() - killed_at < 1.0

    successor = here.supervisor("--drain")
    for job in [*long, *rest]:
        assert (await ended(queue, job.id)).status is JobStatus.COMPLETED
    for job in long:
        record = await queue.inspect(job.id)
        assert record is not None
        assert record.accounted
        assert (record.expiry_count, record.crash_count, record.job.retry_count) == (1, 0, 1)
    assert await successor.ended() == 0
    names = [(event["event"], event.get("job_id")) for event in successor.events()]
    before = names[: names.index(("supervisor_started", None))]
    assert {("job_recovered", str(job.id)) for job in long} <= {*before}  # no lease is waited for


@pytest.mark.fault("C4")
async def test_an_idle_supervisor_stops_at_once_with_code_0(here: Place) -> None:
    supervisor = here.supervisor()
    await supervisor.started()
    children = supervisor.descendants()
    supervisor.signal(signal.SIGTERM)
    assert await supervisor.ended(timeout=3) == 0
    assert all(gone(child) for child in children)
    assert supervisor.events("supervisor_stopped")


@pytest.mark.fault("C5")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_first_signal_lets_running_jobs_finish_and_releases_the_rest(
    number: signal.Signals, here: Place, queue: JobQueueAdapter
) -> None:
    jobs = [
        await queue.enqueue(make_job(job_type="test.sleep", payload={"seconds": 0.5}))
        for _ in range(6)
    ]
    supervisor = here.supervisor()
    await supervisor.until(lambda: here.ledger.count("BEGIN") == 2)
    supervisor.signal(number)
    assert await supervisor.ended() == 0
    statuses = [found.status for job in jobs if (found := await queue.get_job(job.id))]
    assert statuses.count(JobStatus.COMPLETED) == 2
    assert statuses.count(JobStatus.PENDING) == 4
    assert len(supervisor.events("stopping", signal=number.name)) == 1
    assert supervisor.events("supervisor_stopped", completed=2, unsettled=0)
    for job in jobs:
        record = await queue.inspect(job.id)
        assert record is not None
        assert record.accounted
        assert record.job.retry_count == 0


@pytest.mark.fault("C6")
async def test_a_job_that_outlasts_the_grace_is_put_back_uncharged(
    here: Place, queue: JobQueueAdapter
) -> None:
    polite = await queue.enqueue(make_job(job_type="test.sleep", payload={"seconds": 3600}))
    rude = await queue.enqueue(make_job(job_type="test.spin"))
    supervisor = here.supervisor("--shutdown-grace", "300ms")
    await supervisor.until(lambda: here.ledger.count("BEGIN") == 2)
    supervisor.signal(signal.SIGTERM)
    signalled_at = time.monotonic()
    assert await supervisor.ended(timeout=6) == 0
    taken = time.monotonic() - signalled_at
    assert 0.3 + KILL_AFTER <= taken < 0.3 + KILL_AFTER + 1.5
    for job in (polite, rude):
        record = await queue.inspect(job.id)
        assert record is not None
        assert record.accounted
        assert record.job.status is JobStatus.PENDING
        assert (record.job.retry_count, record.crash_count, record.release_count) == (0, 0, 1)
        (told,) = supervisor.events("job_interrupted", job_id=str(job.id))
        assert "no retry is used up" in told["next"]


async def test_a_job_that_must_not_start_twice_is_dead_lettered_when_a_shutdown_kills_it(
    here: Place, queue: JobQueueAdapter
) -> None:
    job = await queue.enqueue(make_job(job_type="test.spin", max_retries=0))
    supervisor = here.supervisor("--shutdown-grace", "100ms")
    await supervisor.until(lambda: here.ledger.count("BEGIN") == 1)
    supervisor.signal(signal.SIGTERM)
    assert await supervisor.ended(timeout=6) == 0
    dead = await queue.get_job(job.id)
    assert dead is not None
    assert dead.status is JobStatus.DEAD_LETTER
    assert "unknown" in (dead.error_message or "")


@pytest.mark.fault("C7")
async def test_a_second_signal_stops_at_once(here: Place, queue: JobQueueAdapter) -> None:
    job = await queue.enqueue(make_job(job_type="test.sleep", payload={"seconds": 3600}))
    supervisor = here.supervisor()
    await supervisor.until(lambda: here.ledger.count("BEGIN") == 1)
    supervisor.signal(signal.SIGTERM)
    await supervisor.event("stopping")
    supervisor.signal(signal.SIGTERM)
    assert await supervisor.ended(timeout=3.5) == 0
    record = await queue.inspect(job.id)
    assert record is not None
    assert record.accounted
    assert record.job.status is JobStatus.PENDING
    assert (record.job.retry_count, record.crash_count, record.release_count) == (0, 0, 1)


@pytest.mark.fault("C8")
async def test_ctrl_c_reaches_the_whole_group_and_only_the_supervisor_heeds_it(
    here: Place, queue: JobQueueAdapter
) -> None:
    job = await queue.enqueue(make_job(job_type="test.sleep", payload={"seconds": 0.5}))
    supervisor = here.supervisor()
    await supervisor.until(lambda: here.ledger.count("BEGIN") == 1)
    for child in supervisor.descendants():
        child.send_signal(signal.SIGINT)
    supervisor.signal(signal.SIGINT)
    assert await supervisor.ended() == 0
    assert (await ended(queue, job.id)).status is JobStatus.COMPLETED
    assert here.ledger.count("BEGIN", job.id) == 1
    assert len(supervisor.events("stopping", signal="SIGINT")) == 1


@pytest.mark.fault("C9")
async def test_quit_kills_the_workers_and_leaves_the_jobs_to_a_successor(
    here: Place, queue: JobQueueAdapter
) -> None:
    job = await queue.enqueue(make_job(job_type="test.sleep", payload={"seconds": 0.7}))
    supervisor = here.supervisor()
    await supervisor.until(lambda: here.ledger.count("BEGIN") == 1)
    supervisor.signal(signal.SIGQUIT)
    assert await supervisor.ended(timeout=3) == 131
    found = await queue.get_job(job.id)
    assert found is not None
    assert found.status is JobStatus.RUNNING
    assert supervisor.events("quit")
    here.supervisor("--drain")
    assert (await ended(queue, job.id)).status is JobStatus.COMPLETED
    record = await queue.inspect(job.id)
    assert record is not None
    assert record.accounted
    assert (record.expiry_count, record.crash_count, record.job.retry_count) == (1, 0, 1)


@pytest.mark.fault("C13")
async def test_a_signal_during_the_start_ends_it_cleanly(here: Place) -> None:
    supervisor = here.supervisor()
    await supervisor.until(supervisor.descendants, what="the zygote")
    children = supervisor.descendants()
    supervisor.signal(signal.SIGTERM)
    assert await supervisor.ended() == 0
    await wait_until(lambda: all(gone(child) for child in children), timeout=3)


async def test_a_supervisor_that_is_told_to_stop_until_it_is_gone_ends_with_its_code(
    here: Place,
) -> None:
    """The last signals come when the loop that heeded them is closed already."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        supervisor = here.supervisor()
        await supervisor.started()
        supervisor.signal(signal.SIGTERM)
        while supervisor.process.poll() is None:
            supervisor.signal(number)
            await asyncio.sleep(0.0005)
        assert supervisor.process.returncode == 0, number


@pytest.mark.fault("C15")
async def test_two_supervisors_share_one_file_and_every_job_runs_once(
    here: Place, queue: JobQueueAdapter
) -> None:
    jobs = [make_job(job_type="test.fine") for _ in range(5000)]
    await queue.insert([Draft.of(job) for job in jobs[:4000]])
    supervisors = [here.supervisor(), here.supervisor()]
    for job in jobs[4000:]:
        await queue.enqueue(job)
    for job in jobs:
        assert (await ended(queue, job.id)).status is JobStatus.COMPLETED
    assert here.ledger.count("BEGIN") == len(jobs)
    for supervisor in supervisors:
        supervisor.signal(signal.SIGTERM)
    for supervisor in supervisors:
        assert await supervisor.ended() == 0
        assert not supervisor.events("store_unreachable")


@pytest.mark.fault("C2")
async def test_a_frozen_supervisor_loses_its_lease_and_does_not_settle_what_another_finished(
    here: Place, queue: JobQueueAdapter
) -> None:
    job = await queue.enqueue(make_job(job_type="test.sleep", payload={"seconds": 6.0}))
    frozen = here.supervisor("--lease", "1s", "--workers", "1")
    await frozen.until(lambda: here.ledger.count("BEGIN", job.id) == 1)
    await frozen.started()
    second = here.supervisor("--lease", "1s", "--workers", "1")
    await second.started()
    await freeze(frozen, here.folder)
    await second.until(lambda: here.ledger.count("BEGIN", job.id) == 2)
    frozen.signal(signal.SIGCONT)
    await frozen.event("lease_lost")
    finished = await ended(queue, job.id)
    assert finished.status is JobStatus.COMPLETED
    record = await queue.inspect(job.id)
    assert record is not None
    assert record.accounted
    assert record.expiry_count == 1
    [[_, _, ended_in, *_]] = here.ledger.of("END", job.id)
    assert int(ended_in) in {worker.pid for worker in second.workers()}
    assert record.attempts[-1].owner is not None
    assert record.attempts[-1].owner.endswith(f":{second.pid}")


@pytest.mark.fault("C19")
async def test_closed_standard_descriptors_do_not_mix_logs_into_other_files(
    here: Place, queue: JobQueueAdapter
) -> None:
    job = await queue.enqueue(make_job(job_type="test.surroundings"))
    command = (
        f"exec python -m portico.supervisor -w 1 --drain -u {here.url} "
        "-A tests.support.fault_app:app <&- >&- 2>&-"
    )
    environment = {**os.environ, "LEDGER": str(here.ledger.path), "PYTHONPATH": os.getcwd()}
    command = command.replace("python", sys.executable)
    process = subprocess.Popen(["/bin/sh", "-c", command], env=environment)
    await wait_until(lambda: process.poll() is not None)
    assert process.returncode == 0
    assert (await ended(queue, job.id)).status is JobStatus.COMPLETED
    result = await queue.get_result(job.id)
    assert result is not None
    fds = {int(fd): target for fd, target in result["fds"].items()}
    assert fds[0] == "/dev/null"
    ours = {target for fd, target in fds.items() if fd >= 200 and target.startswith("pipe:")}
    assert len(ours) >= 3  # jobs, results, and what handlers print; the loop has some too
    assert fds[1] == fds[2] in ours
    assert not ours & {target for fd, target in fds.items() if 2 < fd < 200}


async def test_a_second_signal_does_not_wait_for_an_application_that_hangs_while_it_closes(
    here: Place,
) -> None:
    (here.folder / "hold-closing").touch()
    supervisor = here.supervisor(app="tests.support.race_app:app", RACES=str(here.folder))
    await supervisor.started()
    supervisor.signal(signal.SIGTERM)
    await supervisor.event("stopping")
    supervisor.signal(signal.SIGTERM)
    assert await supervisor.ended() == 0
