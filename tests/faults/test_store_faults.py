"""What becomes of jobs when the SQLite file is locked, full, failing, replaced, or torn."""

from __future__ import annotations

import asyncio
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from typing import Any
from uuid import UUID

import pytest

from portico import compose
from portico.exceptions import QueueConnectionError
from portico.ports.draft import Draft
from portico.ports.job import JobStatus
from portico.ports.job_queue import JobQueueAdapter
from portico.ports.leasing import JobFilter
from portico.supervisor.supervisor import EXIT_CONFIGURATION, EXIT_STORE, EXIT_UNSETTLED
from tests.support.jobs import ended, make_job
from tests.support.odd_supervisor import odd
from tests.support.supervisors import ROOT, Place
from tests.support.surroundings import failing, fill, small_disk
from tests.support.waiting import wait_until

APP = "tests.support.store_app:app"


def gated(here: Place, **payload: Any) -> Any:
    """A job that ends when `open_gate` is called."""
    return make_job(
        job_type="test.until_there", payload={"path": str(here.folder / "gate")} | payload
    )


def open_gate(here: Place) -> None:
    (here.folder / "gate").touch()


async def ran_once(here: Place, queue: JobQueueAdapter, job_id: UUID) -> None:
    """The job ends COMPLETED, and was started once, charged with nothing."""
    assert (await ended(queue, job_id)).status is JobStatus.COMPLETED
    record = await queue.inspect(job_id)
    assert record is not None
    assert record.accounted
    assert (record.attempt, record.job.retry_count, record.expiry_count) == (1, 0, 0)
    assert here.ledger.count("BEGIN", job_id) == here.ledger.count("END", job_id) == 1


@asynccontextmanager
async def producer(here: Place) -> AsyncIterator[JobQueueAdapter]:
    queue = compose.job_queue(here.url)
    await queue.initialize()
    yield queue
    await queue.close()


@pytest.mark.fault("D1")
async def test_jobs_whose_end_falls_into_a_long_lock_of_an_outsider_are_settled_after_it(
    here: Place, queue: JobQueueAdapter
) -> None:
    jobs = [await queue.enqueue(gated(here)) for _ in range(2)]
    supervisor = here.supervisor("--lease", "2s", app=APP, command=odd("impatient"))
    await supervisor.until(lambda: here.ledger.count("BEGIN") == 2)
    vulture = here.supervisor("--lease", "2s", app=APP, command=odd("impatient"))
    await vulture.started()
    with closing(sqlite3.connect(here.folder / "jobs.db", isolation_level=None)) as outsider:
        outsider.execute("BEGIN EXCLUSIVE")
        locked_at = time.monotonic()
        open_gate(here)
        await supervisor.event("store_unreachable")
        await wait_until(lambda: time.monotonic() - locked_at > 4.2)  # over two lease lengths
        outsider.execute("ROLLBACK")
    for job in jobs:
        await ran_once(here, queue, job.id)
    back = await supervisor.event("store_back")
    assert back["settlements_waited"] == 2
    assert len(supervisor.events("store_unreachable")) == 1
    assert "locked" in supervisor.events("store_unreachable")[0]["error"]
    assert not supervisor.events("job_failed") + supervisor.events("job_will_retry")
    assert not vulture.events("job_recovered")


@pytest.mark.fault("D1")
async def test_a_supervisor_that_stops_during_a_lock_says_what_it_could_not_settle(
    here: Place, queue: JobQueueAdapter
) -> None:
    job = await queue.enqueue(gated(here))
    supervisor = here.supervisor("--lease", "2s", app=APP, command=odd("impatient"))
    await supervisor.until(lambda: here.ledger.count("BEGIN", job.id))
    with closing(sqlite3.connect(here.folder / "jobs.db", isolation_level=None)) as outsider:
        outsider.execute("BEGIN EXCLUSIVE")
        open_gate(here)
        await supervisor.event("store_unreachable")
        supervisor.signal(signal.SIGTERM)
        assert await supervisor.ended() == EXIT_UNSETTLED
        assert supervisor.events("jobs_unsettled")[0]["jobs"] == 1
        outsider.execute("ROLLBACK")
    successor = here.supervisor("--drain", "--lease", "2s", app=APP)
    assert await successor.ended() == 0
    assert (await ended(queue, job.id)).status is JobStatus.COMPLETED


@pytest.mark.fault("D2")
async def test_on_a_full_disk_results_wait_nothing_is_leased_and_producers_are_told(
    here: Place,
) -> None:
    with small_disk(here.folder, "1m") as disk:
        here.url = f"sqlite:///{disk / 'jobs.db'}"
        async with producer(here) as queue:
            running = await queue.enqueue(gated(here, size=20_000))
            waiting = await queue.enqueue(gated(here, size=20_000))
            supervisor = here.supervisor("--workers", "1", "--lease", "2s", app=APP)
            await supervisor.until(lambda: here.ledger.count("BEGIN", running.id))
            fillers = []
            for _ in range(2):  # the first failure makes room by folding the log of changes
                fillers.append(fill(disk))
                with pytest.raises(QueueConnectionError, match=r"jobs\.db .*disk is full.*free"):
                    await queue.enqueue(make_job(payload={"much": "x" * 20_000}))
            open_gate(here)
            full = await supervisor.event("store_full")
            assert "jobs.db" in full["error"]
            assert "nothing is leased" in full["next"]
            await supervisor.until(lambda: here.ledger.count("END", running.id))
            assert here.ledger.count("BEGIN", waiting.id) == 0
            assert (await queue.get_job(running.id)).status is JobStatus.RUNNING  # type: ignore[union-attr]
            for filler in fillers:
                filler.unlink()
            for job in (running, waiting):
                await ran_once(here, queue, job.id)
            await supervisor.event("store_back")
            later = await queue.enqueue(make_job(job_type="test.fine"))
            await ran_once(here, queue, later.id)
            supervisor.signal(signal.SIGTERM)
            assert await supervisor.ended() == 0


@pytest.mark.fault("D2")
async def test_a_supervisor_that_stops_while_the_disk_is_full_says_what_it_could_not_settle(
    here: Place,
) -> None:
    with small_disk(here.folder, "1m") as disk:
        here.url = f"sqlite:///{disk / 'jobs.db'}"
        async with producer(here) as queue:
            job = await queue.enqueue(gated(here, size=20_000))
            supervisor = here.supervisor("--lease", "2s", app=APP)
            await supervisor.until(lambda: here.ledger.count("BEGIN", job.id))
            fillers = [fill(disk)]
            open_gate(here)
            await supervisor.event("store_full")
            fillers.append(fill(disk))
            supervisor.signal(signal.SIGTERM)
            assert await supervisor.ended() == EXIT_UNSETTLED
            assert supervisor.events("jobs_unsettled")[0]["jobs"] == 1
            for filler in fillers:
                filler.unlink()
            assert (await queue.get_job(job.id)).status is JobStatus.RUNNING  # type: ignore[union-attr]


@pytest.mark.fault("D2")
async def test_a_disk_that_the_log_of_changes_has_filled_gets_room_again_by_itself(
    here: Place,
) -> None:
    told = []

    async def insisting(act: Callable[[], Awaitable[Any]]) -> None:
        try:
            await act()
        except QueueConnectionError as error:
            told.append(str(error))
            await act()

    with small_disk(here.folder, "3m") as disk:
        here.url = f"sqlite:///{disk / 'jobs.db'}"
        drafts = [Draft.of(make_job(payload={"much": "x" * 100_000})) for _ in range(40)]
        for part in (drafts[:1], drafts[1:]):  # the file gets its size when the first one closes
            async with producer(here) as queue:
                for draft in part:
                    await insisting(lambda draft=draft: queue.insert([draft]))  # type: ignore[misc]
                    await insisting(lambda draft=draft: queue.cancel_job(draft.id))  # type: ignore[misc]
                    await insisting(lambda: queue.purge(JobFilter(), 10))
        assert told
        assert all("disk is full" in error for error in told)


@pytest.mark.fault("D3")
async def test_a_disk_that_cannot_sync_costs_no_job_and_no_second_run(
    here: Place, queue: JobQueueAdapter
) -> None:
    jobs = [await queue.enqueue(gated(here)) for _ in range(2)]
    supervisor = here.supervisor(app=APP)
    await supervisor.until(lambda: here.ledger.count("BEGIN") == 2)
    async with failing(supervisor.pid, "fdatasync,fsync", "EIO", here.folder):
        open_gate(here)
        lost = await supervisor.event("store_unreachable")
        assert "disk cannot be read or written" in lost["error"]
    for job in jobs:
        await ran_once(here, queue, job.id)
    await supervisor.event("store_back")
    assert supervisor.process.poll() is None


@pytest.mark.fault("D4")
@pytest.mark.parametrize("how", ["removed", "replaced"])
async def test_a_file_that_is_no_longer_the_same_ends_the_supervisor_and_is_left_alone(
    here: Place, queue: JobQueueAdapter, how: str
) -> None:
    job = await queue.enqueue(gated(here))
    supervisor = here.supervisor(app=APP)
    await supervisor.until(lambda: here.ledger.count("BEGIN", job.id))
    path = here.folder / "jobs.db"
    if how == "replaced":
        shutil.copy(path, here.folder / "another")
        before = path.read_bytes()
        (here.folder / "another").rename(path)
    else:
        path.unlink()
        before = None
    open_gate(here)
    assert await supervisor.ended() == EXIT_STORE
    failed = supervisor.events("supervisor_failed")[0]
    assert f"{path} was {how}" in failed["error"]
    assert (path.read_bytes() if path.exists() else None) == before
    assert supervisor.descendants() == []


@pytest.mark.fault("D5")
@pytest.mark.parametrize("how", ["no shared memory", "a directory in the way"])
async def test_where_there_can_be_no_write_ahead_log_nothing_starts(here: Place, how: str) -> None:
    if how == "no shared memory":
        supervisor = here.supervisor(command=odd("no_shared_memory"))
        reason = "cannot use a write-ahead log"
    else:
        (here.folder / "jobs.db-shm").mkdir()
        supervisor = here.supervisor()
        reason = "jobs.db-shm is a directory"
    assert await supervisor.ended() == EXIT_CONFIGURATION
    assert reason in supervisor.events("supervisor_failed")[0]["error"]
    assert not supervisor.events("supervisor_started")


ENQUEUES_AND_DIES = """
import asyncio, os, signal, sys
from portico import compose
from tests.support.jobs import make_job

async def main():
    queue = compose.job_queue(sys.argv[1])
    await queue.initialize()
    for _ in range(20):
        print((await queue.enqueue(make_job(job_type="test.fine"))).id, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


@pytest.mark.fault("D6")
async def test_a_torn_end_of_the_log_costs_the_last_transaction_at_most(here: Place) -> None:
    died = subprocess.run(
        [sys.executable, "-c", ENQUEUES_AND_DIES, here.url],
        capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip
    ids = [UUID(line) for line in died.stdout.split()]
    assert len(ids) == 20, died.stderr
    log = here.folder / "jobs.db-wal"
    with log.open("r+b") as file:
        file.truncate(log.stat().st_size - 1)
    (here.folder / "jobs.db-shm").unlink()  # gone after a power cut, and so is what it knew
    supervisor = here.supervisor("--drain")
    assert await supervisor.ended() == 0
    async with producer(here) as queue:
        for job_id in ids[:-1]:
            await ran_once(here, queue, job_id)
    with closing(sqlite3.connect(here.folder / "jobs.db")) as outsider:
        assert outsider.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.mark.fault("D7")
async def test_every_write_under_contention_is_in_a_transaction_that_began_as_one(
    here: Place, queue: JobQueueAdapter
) -> None:
    """One that reads first and writes then fails at once when somebody wrote in between."""
    trace = here.folder / "trace"
    supervisors = [here.supervisor(command=odd("traced"), TRACE=str(trace)) for _ in range(2)]
    for supervisor in supervisors:
        await supervisor.started()
    jobs = await asyncio.gather(
        *(queue.enqueue(make_job(job_type="test.fine")) for _ in range(300))
    )
    for job in jobs:
        assert (await ended(queue, job.id)).status is JobStatus.COMPLETED
    for supervisor in supervisors:
        supervisor.signal(signal.SIGTERM)
        assert await supervisor.ended() == 0
        assert not supervisor.events("store_unreachable")
    assert here.ledger.count("BEGIN") == len(jobs)
    begun: dict[str, str] = defaultdict(str)
    written = 0
    for line in trace.read_text().splitlines():
        connection, _, statement = line.partition(" ")
        verb = statement.partition(" ")[0].upper()
        if verb == "BEGIN":
            begun[connection] = statement
        elif verb in ("COMMIT", "ROLLBACK") and "TO" not in statement:
            begun[connection] = ""
        elif verb in ("INSERT", "UPDATE", "DELETE", "REPLACE") or "UPDATE portico" in statement:
            written += 1
            assert begun[connection] == "BEGIN IMMEDIATE", line
    assert written > len(jobs) / 300
