"""A supervisor as people start it: bare, by environment, idle, with the bundled handlers."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from statistics import median

import psutil
import pytest

from portico.ports.job import JobStatus
from portico.ports.job_queue import JobQueueAdapter
from tests.support.jobs import ended, make_job
from tests.support.odd_supervisor import odd
from tests.support.supervisors import ROOT, Place
from tests.support.waiting import PATIENCE, wait_until


def bare_environment(folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PORTICO_")}
    return {**kept, "PYTHONPATH": str(ROOT), "HOME": str(folder)}


def threads(process: psutil.Process) -> int:
    """A worker has two, the zygote one."""
    try:
        return process.num_threads()
    except psutil.NoSuchProcess:
        return 0


def portico(folder: Path, *arguments: str) -> str:
    return subprocess.run(
        [sys.executable, "-m", "portico.cli", *arguments],
        cwd=folder, env=bare_environment(folder), capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip


async def test_without_any_option_but_workers_it_makes_a_file_serves_the_examples_and_says_so(
    tmp_path: Path,
) -> None:
    log = tmp_path / "log"
    folder = tmp_path / "empty"
    folder.mkdir()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "portico.supervisor", "--workers", "8"],
            cwd=folder, env=bare_environment(folder), stdout=output, stderr=output,
        )  # fmt: skip
    try:
        await wait_until(lambda: "bundled_examples" in log.read_text())
        supervisor = psutil.Process(process.pid)
        await wait_until(lambda: len([c for c in supervisor.children() if threads(c) > 1]) == 8)
        job_id = portico(folder, "enqueue", "system.echo", '{"n": 1}').strip()

        def status() -> str:
            shown = json.loads(portico(folder, "jobs", "show", job_id, "--json"))
            return str(shown["status"])

        await wait_until(lambda: status() == "completed")
        assert json.loads(portico(folder, "jobs", "result", job_id)) == {"n": 1}
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()
    assert stat.S_IMODE((folder / "portico.db").stat().st_mode) == 0o600
    said = log.read_text()
    assert "queue_url=sqlite:///portico.db" in said
    assert "workers=8" in said
    assert "the handlers of portico.examples are served, which fetch any address" in said


async def test_every_setting_can_come_from_the_environment(
    here: Place, queue: JobQueueAdapter
) -> None:
    """The values show in the log and in what happens."""
    job = await queue.enqueue(make_job(job_type="test.fine", queue_name="high"))
    environment = {
        "PORTICO_WORKERS": "3", "PORTICO_APP": "tests.support.fault_app:app",
        "PORTICO_QUEUE_URL": here.url, "PORTICO_QUEUES": "high,low", "PORTICO_CONCURRENCY": "2",
        "PORTICO_DRAIN": "1", "PORTICO_JOB_TIMEOUT": "5m", "PORTICO_KILL_GRACE": "1",
        "PORTICO_SHUTDOWN_GRACE": "3s", "PORTICO_LEASE": "10s", "PORTICO_MAX_JOBS_PER_WORKER": "9",
        "PORTICO_MAX_MEMORY_PER_WORKER": "2G", "PORTICO_START_METHOD": "spawn",
        "PORTICO_LOG_LEVEL": "INFO", "PORTICO_LOG_FORMAT": "json",
        "PORTICO_PID_FILE": str(here.folder / "pid"),
        "LEDGER": str(here.ledger.path),
    }  # fmt: skip
    result = subprocess.run(
        [sys.executable, "-m", "portico.supervisor"],
        cwd=here.folder, env={**bare_environment(here.folder), **environment},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    lines = [json.loads(line) for line in result.stderr.splitlines()]
    (started,) = [line for line in lines if line["event"] == "supervisor_started"]
    assert (started["workers"], started["concurrency"], started["queues"]) == (3, 2, "high,low")
    assert started["app"] == "tests.support.fault_app:app"
    assert started["queue_url"] == here.url
    assert (await ended(queue, job.id)).status is JobStatus.COMPLETED


async def test_the_command_runs_the_same_supervisor(here: Place, queue: JobQueueAdapter) -> None:
    job = await queue.enqueue(make_job(job_type="test.fine"))
    result = subprocess.run(
        [sys.executable, "-m", "portico.cli", "--queue-url", here.url, "supervisor", "--app",
         "tests.support.fault_app:app", "-w", "1", "--drain"],
        cwd=here.folder, capture_output=True, text=True, check=False,
        env={**bare_environment(here.folder), "LEDGER": str(here.ledger.path)},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert (await ended(queue, job.id)).status is JobStatus.COMPLETED


async def test_a_pid_file_is_there_while_it_runs(here: Place) -> None:
    path = here.folder / "supervisor.pid"
    supervisor = here.supervisor("--pid-file", str(path))
    await supervisor.started()
    assert path.read_text() == f"{supervisor.pid}\n"
    second = here.supervisor("--pid-file", str(path))
    assert await second.ended() == 1
    assert f"process {supervisor.pid} is running" in second.text()
    supervisor.signal(signal.SIGTERM)
    assert await supervisor.ended() == 0
    assert not path.exists()


@pytest.mark.parametrize("method", ["zygote", "spawn"])
async def test_a_pid_file_is_held_through_a_reload_and_by_no_worker_after_a_kill(
    here: Place, queue: JobQueueAdapter, method: str
) -> None:
    path = here.folder / "supervisor.pid"
    options = ("--pid-file", str(path), "--start-method", method, "--log-level", "DEBUG")
    supervisor = here.supervisor(*options)
    await supervisor.ready()
    supervisor.signal(signal.SIGHUP)
    await supervisor.until(lambda: len(supervisor.events("worker_ready")) == 4)
    assert await here.supervisor(*options).ended() == 1
    job = await queue.enqueue(make_job(job_type="test.leave_orphan"))
    await ended(queue, job.id)
    supervisor.ruined = "it is killed"
    supervisor.process.kill()  # what its job has forked lives on
    await supervisor.ended()
    assert path.read_text() == f"{supervisor.pid}\n"
    successor = here.supervisor(*options)
    await successor.started()
    assert path.read_text() == f"{successor.pid}\n"
    (here.folder / "go").touch()
    successor.signal(signal.SIGTERM)
    assert await successor.ended() == 0
    assert not path.exists()


@pytest.mark.fault("B6")
async def test_a_worker_that_has_grown_is_replaced_and_its_job_is_not_disturbed(
    here: Place, queue: JobQueueAdapter
) -> None:
    until = here.folder / "until"
    payload = {"megabytes": 300, "until": str(until)}
    grown = await queue.enqueue(make_job(job_type="test.grow", payload=payload))
    supervisor = here.supervisor(
        "--workers", "1", "--max-memory-per-worker", "200M", app="tests.support.leaky_app:app"
    )
    recycled = await supervisor.event("worker_recycled")
    assert "resident size" in recycled["reason"]
    until.touch()
    assert (await ended(queue, grown.id)).status is JobStatus.COMPLETED
    record = await queue.inspect(grown.id)
    assert record is not None
    assert (record.attempt, record.job.retry_count, record.crash_count) == (1, 0, 0)
    first = await queue.get_result(grown.id)
    assert first is not None
    assert first["pid"] == recycled["pid"]
    await supervisor.until(lambda: not psutil.pid_exists(first["pid"]), what="the old one's end")
    small = await queue.enqueue(make_job(job_type="test.grow", payload={**payload, "megabytes": 0}))
    assert (await ended(queue, small.id)).status is JobStatus.COMPLETED
    second = await queue.get_result(small.id)
    assert second is not None
    assert second["pid"] != first["pid"]
    assert (first["kept"], second["kept"]) == (1, 1)
    assert len(supervisor.workers()) == 1


async def test_a_job_of_another_process_wakes_an_idle_supervisor_within_milliseconds(
    here: Place, queue: JobQueueAdapter
) -> None:
    """A fallback that polls once a second would take half a second on average."""
    supervisor = here.supervisor("--workers", "1")
    await supervisor.started()
    latencies = []
    for _ in range(9):
        before = time.monotonic()
        job = await queue.enqueue(make_job(job_type="test.fine"))
        await ended(queue, job.id)
        (line,) = here.ledger.of("BEGIN", job.id)
        latencies.append(float(line[3]) - before)
    assert median(latencies) < 0.1, latencies


async def test_a_dead_letter_job_redrives_a_dead_job_of_the_bundled_app(
    here: Place, queue: JobQueueAdapter, unused_tcp_port: int
) -> None:
    """No mail server listens: the message dies, is judged transient, and gets another chance."""
    letter = {"recipient": "ada@example.com", "subject": "Hi", "body": "..."}
    dead = await queue.enqueue(make_job(job_type="email.send", payload=letter, max_retries=0))
    here.supervisor(
        app="portico.examples:app",
        PORTICO_SMTP_HOST="127.0.0.1", PORTICO_SMTP_PORT=str(unused_tcp_port),
    )  # fmt: skip
    first = await ended(queue, dead.id)
    assert first.status is JobStatus.DEAD_LETTER
    care = await queue.enqueue(
        make_job(job_type="system.deadletter.process", payload={"dead_job_id": str(dead.id)})
    )
    assert (await ended(queue, care.id)).status is JobStatus.COMPLETED
    assert await queue.get_result(care.id) == {
        "analyzed": True, "requeued": True, "error_type": "transient",
    }  # fmt: skip

    async def died_again() -> bool:
        again = await queue.get_job(dead.id)
        assert again is not None
        return again.status is JobStatus.DEAD_LETTER and again.failed_at != first.failed_at

    await wait_until(died_again)


async def test_the_bundled_app_leaves_a_permanent_failure_where_it_is(
    here: Place, queue: JobQueueAdapter
) -> None:
    dead = await queue.enqueue(
        make_job(job_type="data.import", payload={"dataset": "trains"}, max_retries=0)
    )
    here.supervisor(app="portico.examples:app")
    first = await ended(queue, dead.id)
    assert first.status is JobStatus.FAILED
    care = await queue.enqueue(
        make_job(job_type="system.deadletter.process", payload={"dead_job_id": str(dead.id)})
    )
    assert (await ended(queue, care.id)).status is JobStatus.COMPLETED
    result = await queue.get_result(care.id)
    assert result is not None
    assert (result["requeued"], result["error_type"]) == (False, "permanent")
    assert await queue.get_job(dead.id) == first


async def test_the_service_manager_is_told_when_it_is_ready_and_when_it_stops(
    here: Place,
) -> None:
    address = here.folder / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(address))
        listener.setblocking(False)
        told: list[bytes] = []

        def next_word() -> bool:
            try:
                told.append(listener.recv(100))
            except BlockingIOError:
                return False
            return True

        supervisor = here.supervisor(NOTIFY_SOCKET=str(address))
        await wait_until(next_word)
        assert supervisor.workers()
        supervisor.signal(signal.SIGTERM)
        assert await supervisor.ended() == 0
        await wait_until(next_word)
    assert told == [b"READY=1", b"STOPPING=1"]


async def test_the_service_manager_that_watches_is_given_signs_of_life_to_the_end(
    here: Place, queue: JobQueueAdapter
) -> None:
    job = await queue.enqueue(make_job(job_type="test.sleep", payload={"seconds": 3600}))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(here.folder / "notify"))
        listener.settimeout(PATIENCE)
        supervisor = here.supervisor(
            "--shutdown-grace", "1", NOTIFY_SOCKET=str(here.folder / "notify"),
            WATCHDOG_USEC="20000",
        )  # fmt: skip

        async def hear(word: bytes) -> None:
            while await asyncio.to_thread(listener.recv, 100) != word:
                pass

        await hear(b"WATCHDOG=1")
        await hear(b"READY=1")
        await hear(b"WATCHDOG=1")
        await wait_until(lambda: here.ledger.count("BEGIN", job.id) == 1)
        supervisor.signal(signal.SIGTERM)
        await supervisor.event("stopping")
        await hear(b"STOPPING=1")
        assert await supervisor.ended() == 0


async def test_a_process_that_outlived_its_handler_is_collected_when_it_ends(
    here: Place, queue: JobQueueAdapter
) -> None:
    """As process 1 of a container must: nobody else would."""
    job = await queue.enqueue(make_job(job_type="test.orphan"))
    supervisor = here.supervisor("--workers", "1", app="tests.support.leaky_app:app")
    assert (await ended(queue, job.id)).status is JobStatus.COMPLETED
    result = await queue.get_result(job.id)
    assert result is not None
    orphan = psutil.Process(result["pid"])
    assert orphan.ppid() == supervisor.pid
    orphan.kill()
    await supervisor.until(lambda: not psutil.pid_exists(orphan.pid), what="the end of the orphan")


async def test_a_store_that_comes_a_little_later_than_the_supervisor_is_waited_for(
    here: Place, queue: JobQueueAdapter
) -> None:
    job = await queue.enqueue(make_job(job_type="test.fine"))
    with closing(sqlite3.connect(here.folder / "jobs.db", isolation_level=None)) as outsider:
        outsider.execute("BEGIN EXCLUSIVE")
        supervisor = here.supervisor("--drain", command=odd("impatient"))
        await supervisor.event("store_awaited")
    assert await supervisor.ended() == 0
    assert (await ended(queue, job.id)).status is JobStatus.COMPLETED


async def test_a_store_that_others_keep_locked_ends_the_start_with_code_5(
    here: Place, queue: JobQueueAdapter
) -> None:
    outsider = sqlite3.connect(here.folder / "jobs.db", isolation_level=None)
    try:
        outsider.execute("BEGIN EXCLUSIVE")
        tuning = "supervisor.supervisor:STORE_PATIENCE=1.0"
        supervisor = here.supervisor("--drain", TUNING=tuning)
        assert await supervisor.ended() == 5
    finally:
        outsider.close()
    assert str(here.folder / "jobs.db") in supervisor.text()
    assert "another process has kept it locked" in supervisor.text()


async def test_what_runs_beside_a_job_that_is_killed_at_its_deadline_is_released(
    here: Place, queue: JobQueueAdapter
) -> None:
    """The first two begin together; one heeds its cancellation, which is when the third comes."""
    asleep = {"seconds": 3600}
    overdue = await queue.enqueue(make_job(job_type="test.stubborn", max_retries=0))
    heeding = await queue.enqueue(make_job(job_type="test.sleep", payload=asleep, max_retries=0))
    here.supervisor(
        "--workers", "1", "--concurrency", "3", "--job-timeout", "2s", "--kill-grace", "1500ms"
    )  # fmt: skip
    assert (await ended(queue, heeding.id)).status is JobStatus.DEAD_LETTER
    beside = await queue.enqueue(make_job(job_type="test.sleep", payload={"seconds": 1.8}))
    assert (await ended(queue, overdue.id)).status is JobStatus.DEAD_LETTER
    assert (await ended(queue, beside.id)).status is JobStatus.COMPLETED
    record = await queue.inspect(beside.id)
    assert record is not None
    assert record.accounted
    assert (record.job.retry_count, record.crash_count, record.release_count) == (0, 0, 1)
    assert here.ledger.count("BEGIN", beside.id) == 2
