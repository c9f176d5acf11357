"""What soaks have found, each in its smallest form."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import psutil
import pytest

from portico.adapters.job_queue import DatabaseJobQueueAdapter
from portico.ports.job import Job, JobStatus
from portico.ports.leasing import Answer, Settlement, Transition
from tests.support.jobs import ended, make_job
from tests.support.supervisors import place

LEASE = 3.0


class Clock:
    """A monotonic clock that goes on when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def adapter(folder: Path, clock: Clock) -> AsyncIterator[DatabaseJobQueueAdapter]:
    opened = DatabaseJobQueueAdapter(f"sqlite:///{folder / 'jobs.db'}", LEASE, monotonic=clock)
    await opened.initialize()
    try:
        yield opened
    finally:
        await opened.close()


async def test_lock_that_keeps_an_owner_from_renewing_does_not_take_its_leases(
    tmp_path: Path,
) -> None:
    """The lock ends before anybody's patience does, so nobody has seen an error; but while the
    one waited to recover, the other waited to renew."""
    clock = Clock()
    async with adapter(tmp_path, clock) as holder, adapter(tmp_path, clock) as other:
        job = await holder.enqueue(make_job())
        (lease,) = (await holder.exchange([], ["default"], 1)).leases
        await holder.renew([lease])
        assert await other.recover() == []  # this is when it saw the holder's counter
        with closing(sqlite3.connect(tmp_path / "jobs.db", isolation_level=None)) as stranger:
            stranger.execute("BEGIN EXCLUSIVE")
            clock.now += LEASE / 6
            recovering = asyncio.create_task(other.recover())
            await asyncio.sleep(0.3)
            clock.now += 1.5 * LEASE
            stranger.execute("ROLLBACK")
        assert await recovering == []
        (renewal,) = await holder.renew([lease])
        assert renewal.answer is Answer.OK
        found = await holder.get_job(job.id)
        assert found is not None
        assert found.status is JobStatus.RUNNING


@pytest.mark.parametrize("waits", ["renew", "settle"])
async def test_lock_that_was_waited_for_with_something_else_takes_no_leases_either(
    tmp_path: Path, waits: str
) -> None:
    """Whoever recovers has waited before: its recovery comes right after the lock's end."""
    clock = Clock()
    async with adapter(tmp_path, clock) as holder, adapter(tmp_path, clock) as other:
        for _ in range(2):
            await holder.enqueue(make_job())
        (lease,) = (await holder.exchange([], ["default"], 1)).leases
        (its_own,) = (await other.exchange([], ["default"], 1)).leases
        await holder.renew([lease])
        assert await other.recover() == []
        with closing(sqlite3.connect(tmp_path / "jobs.db", isolation_level=None)) as stranger:
            stranger.execute("BEGIN EXCLUSIVE")
            done = Settlement(its_own.id, its_own.token, Transition.COMPLETE)
            waiting: asyncio.Future[object] = asyncio.ensure_future(
                other.renew([its_own])
                if waits == "renew"
                else other.exchange([done], ["default"], 0)
            )
            await asyncio.sleep(0.3)
            clock.now += 1.5 * LEASE
            stranger.execute("ROLLBACK")
        await waiting
        assert await other.recover() == []
        (renewal,) = await holder.renew([lease])
        assert renewal.answer is Answer.OK


async def test_owner_that_is_silent_after_a_lock_loses_its_leases_a_lease_later(
    tmp_path: Path,
) -> None:
    clock = Clock()
    async with adapter(tmp_path, clock) as holder, adapter(tmp_path, clock) as other:
        await holder.enqueue(make_job())
        (lease,) = (await holder.exchange([], ["default"], 1)).leases
        await holder.renew([lease])
        assert await other.recover() == []
        with closing(sqlite3.connect(tmp_path / "jobs.db", isolation_level=None)) as stranger:
            stranger.execute("BEGIN EXCLUSIVE")
            recovering = asyncio.create_task(other.recover())
            await asyncio.sleep(0.3)
            clock.now += 1.5 * LEASE
            stranger.execute("ROLLBACK")
        assert await recovering == []
        clock.now += LEASE * 1.1
        assert [found.lease.id for found in await other.recover()] == [lease.id]


async def test_job_that_ended_while_its_supervisor_was_stopped_is_not_overdue(
    tmp_path: Path,
) -> None:
    """When it goes on, its wait for events is cut short and its timers run before its pipes are
    read. The job that shares the worker, and has time left, must not pay for that."""
    with place(tmp_path) as here:
        queue = DatabaseJobQueueAdapter(here.url)
        await queue.initialize()
        supervisor = here.supervisor(
            *("--workers", "1", "--concurrency", "2"),
            *("--job-timeout", "1500ms", "--kill-grace", "200ms"),
        )
        await supervisor.started()
        first = await queue.enqueue(sleeper(1.0))
        await supervisor.until(lambda: here.ledger.count("BEGIN", first.id))
        await asyncio.sleep(0.8)
        second = await queue.enqueue(sleeper(1.4))
        await supervisor.until(lambda: here.ledger.count("BEGIN", second.id))
        supervisor.signal(signal.SIGSTOP)
        await asyncio.sleep(1.1)  # past the first one's deadline, within the second one's
        assert here.ledger.count("END", first.id) == 1
        supervisor.signal(signal.SIGCONT)
        statuses = [(await ended(queue, job.id)).status for job in (first, second)]
        await queue.close()
        assert supervisor.events("job_overdue") == []
        assert supervisor.events("worker_exited") == []
        assert statuses == [JobStatus.COMPLETED, JobStatus.COMPLETED]


async def test_job_whose_worker_died_while_its_supervisor_was_stopped_has_crashed(
    tmp_path: Path,
) -> None:
    """Found dead and past its deadline at the same instant, it is judged by what it died of."""
    with place(tmp_path) as here:
        queue = DatabaseJobQueueAdapter(here.url)
        await queue.initialize()
        supervisor = here.supervisor(
            *("--workers", "1", "--job-timeout", "1s", "--kill-grace", "200ms")
        )
        await supervisor.started()
        job = await queue.enqueue(sleeper(0.7))
        await supervisor.until(lambda: here.ledger.count("BEGIN", job.id))
        supervisor.signal(signal.SIGSTOP)
        psutil.Process(int(here.ledger.of("BEGIN", job.id)[0][2])).kill()
        await asyncio.sleep(1.5)  # a stopped process has no event to wait for: time must pass
        supervisor.signal(signal.SIGCONT)
        await ended(queue, job.id)
        record = await queue.inspect(job.id)
        await queue.close()
        assert record is not None
        assert (record.error_type, record.crash_count) == ("WorkerLostError", 1)
        assert supervisor.events("job_overdue") == []


def sleeper(seconds: float) -> Job:
    return make_job(job_type="test.sleep", payload={"seconds": seconds}, max_retries=0)
