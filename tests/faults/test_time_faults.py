"""What becomes of leases, deadlines and due jobs when the clock jumps, stands still, or is odd."""

from __future__ import annotations

import math
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
import pytest

from portico.exceptions import ValidationError
from portico.kits.job.job_service import JobService
from portico.ports.draft import Draft
from portico.ports.job import JobStatus
from portico.ports.job_queue import JobQueueAdapter
from portico.ports.leasing import Settlement, Transition
from tests.support.freezing import freeze
from tests.support.jobs import ended, make_job
from tests.support.odd_supervisor import odd
from tests.support.redis_queues import own_namespace
from tests.support.servers import PostgresServer, RedisServer
from tests.support.supervisors import Place, SupervisorProcess, place
from tests.support.waiting import wait_until

APP = "tests.support.store_app:app"
HOUR = 3600.0
each_store = pytest.mark.parametrize(
    "here",
    ["sqlite", *(pytest.param(kind, marks=pytest.mark.servers) for kind in ("postgres", "redis"))],
    indirect=True,
)


@pytest.fixture
def here(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """With a SQLite queue, or one on the server that the test asks for."""
    kind = getattr(request, "param", "sqlite")
    with place(tmp_path) as found:
        if kind == "postgres":
            postgres: PostgresServer = request.getfixturevalue("postgres")
            found.url = postgres.url(postgres.database())
        elif kind == "redis":
            redis: RedisServer = request.getfixturevalue("redis")
            found.url = own_namespace(redis.url())
        yield found


@pytest.fixture
def clock(here: Place) -> Path:
    """By how many seconds the wall clock of an odd supervisor is ahead."""
    path = here.folder / "clock"
    path.write_text("0")
    return path


def set_to(clock: Path, ahead: float) -> None:
    """At once: whoever reads it meanwhile must not find half of a number."""
    new = clock.with_suffix(".new")
    new.write_text(str(ahead))
    new.rename(clock)


def gated(here: Place, job_type: str = "test.until_there", **fields: Any) -> Any:
    """A job that ends when the file `gate` is there."""
    return make_job(job_type=job_type, payload={"path": str(here.folder / "gate")}, **fields)


async def while_time_passes(seconds: float) -> None:
    """That nothing happens meanwhile is what is tested; there is no event to wait for."""
    until = time.monotonic() + seconds
    await wait_until(lambda: time.monotonic() > until, seconds + 10)


async def ran_once(here: Place, queue: JobQueueAdapter, job_id: UUID) -> None:
    """The job ends COMPLETED, and was started once, charged with nothing."""
    assert (await ended(queue, job_id)).status is JobStatus.COMPLETED
    record = await queue.inspect(job_id)
    assert record is not None
    assert record.accounted
    assert (record.attempt, record.job.retry_count, record.expiry_count) == (1, 0, 0)
    assert here.ledger.count("BEGIN", job_id) == 1


@pytest.mark.fault("E1")
@pytest.mark.fault("E2")
@pytest.mark.parametrize("jump", [HOUR, -HOUR])
@pytest.mark.parametrize("who", ["holder", "other"])
@each_store
async def test_a_wall_clock_that_jumps_by_an_hour_costs_no_lease(
    here: Place, queue: JobQueueAdapter, clock: Path, jump: float, who: str
) -> None:
    job = await queue.enqueue(gated(here))
    jumping = {"command": odd("other_clock"), "CLOCK": str(clock)}
    holder = here.supervisor("--lease", "2s", app=APP, **(jumping if who == "holder" else {}))
    await holder.until(lambda: here.ledger.count("BEGIN", job.id))
    other = here.supervisor("--lease", "2s", app=APP, **(jumping if who == "other" else {}))
    await other.started()
    set_to(clock, jump)
    await while_time_passes(2.5)  # more than a lease length
    (here.folder / "gate").touch()
    await ran_once(here, queue, job.id)
    later = await queue.enqueue(make_job(job_type="test.fine"))
    await ran_once(here, queue, later.id)
    for supervisor in (holder, other):
        assert not supervisor.events("lease_lost") + supervisor.events("job_recovered")
        supervisor.signal(signal.SIGTERM)
        assert await supervisor.ended() == 0


@pytest.mark.fault("E1")
@pytest.mark.fault("E2")
@pytest.mark.parametrize("jump", [HOUR, -HOUR])
@each_store
async def test_a_wall_clock_that_jumps_during_a_drain_neither_shortens_nor_prolongs_it(
    here: Place, queue: JobQueueAdapter, clock: Path, jump: float
) -> None:
    async def drain(grace: str) -> SupervisorProcess:
        begun = here.ledger.count("BEGIN")
        supervisor = here.supervisor(
            "--shutdown-grace", grace, app=APP, command=odd("other_clock"), CLOCK=str(clock)
        )
        await supervisor.until(lambda: here.ledger.count("BEGIN") > begun)
        supervisor.signal(signal.SIGTERM)
        await supervisor.event("stopping")
        set_to(clock, jump)
        return supervisor

    patient = await queue.enqueue(gated(here))
    supervisor = await drain("60s")
    await while_time_passes(0.5)
    assert supervisor.process.poll() is None
    (here.folder / "gate").touch()
    assert await supervisor.ended() == 0
    await ran_once(here, queue, patient.id)

    endless = await queue.enqueue(make_job(job_type="test.sleep", payload={"seconds": 3600}))
    supervisor = await drain("500ms")
    assert await supervisor.ended() == 0
    record = await queue.inspect(endless.id)
    assert record is not None
    assert (record.job.status, record.release_count) == (JobStatus.PENDING, 1)


@pytest.mark.fault("E1")
@pytest.mark.fault("E2")
@pytest.mark.parametrize("jump", [HOUR, -HOUR])
@each_store
async def test_a_wall_clock_that_jumps_moves_no_deadline_of_a_job(
    here: Place, queue: JobQueueAdapter, clock: Path, jump: float
) -> None:
    job = await queue.enqueue(gated(here, "test.block_until_there", max_retries=0))
    supervisor = here.supervisor(
        "--job-timeout", "1s", "--kill-grace", "300ms", app=APP,
        command=odd("other_clock"), CLOCK=str(clock),
    )  # fmt: skip
    await supervisor.until(lambda: here.ledger.count("BEGIN", job.id))
    set_to(clock, jump)
    assert (await ended(queue, job.id)).status is JobStatus.DEAD_LETTER
    assert time.monotonic() - first_start(here) >= 1.3
    record = await queue.inspect(job.id)
    assert record is not None
    assert record.accounted
    assert record.error_type == "JobTimeoutError"
    (overdue,) = supervisor.events("job_overdue")
    assert 1.3 <= overdue["seconds"] < HOUR / 2


def signal_all(supervisor: SupervisorProcess, number: signal.Signals) -> None:
    """As a suspended machine, or a paused container: the supervisor and all of its workers."""
    for process in [psutil.Process(supervisor.pid), *supervisor.descendants()]:
        process.send_signal(number)


@pytest.mark.fault("E4")
@each_store
async def test_a_pause_of_everything_beyond_a_lease_costs_nothing_when_nobody_else_was_there(
    here: Place, queue: JobQueueAdapter
) -> None:
    running = await queue.enqueue(gated(here))
    supervisor = here.supervisor("--lease", "1s", "--workers", "1", app=APP)
    await supervisor.until(lambda: here.ledger.count("BEGIN", running.id))
    waiting = await queue.enqueue(make_job(job_type="test.fine"))
    await freeze(supervisor, here.folder)
    signal_all(supervisor, signal.SIGSTOP)
    await while_time_passes(2.5)
    signal_all(supervisor, signal.SIGCONT)
    (here.folder / "gate").touch()
    await ran_once(here, queue, running.id)
    await ran_once(here, queue, waiting.id)
    assert not supervisor.events("lease_lost") + supervisor.events("job_recovered")


@pytest.mark.fault("E4")
@each_store
async def test_after_a_pause_of_everything_the_job_that_another_took_is_killed_and_not_settled(
    here: Place, queue: JobQueueAdapter
) -> None:
    job = await queue.enqueue(gated(here, "test.block_until_there"))
    paused = here.supervisor("--lease", "1s", "--workers", "1", app=APP)
    await paused.until(lambda: here.ledger.count("BEGIN", job.id))
    await paused.started()
    second = here.supervisor("--lease", "1s", "--workers", "1", app=APP)
    await second.started()
    await freeze(paused, here.folder)
    signal_all(paused, signal.SIGSTOP)
    await second.until(lambda: here.ledger.count("BEGIN", job.id) == 2)
    signal_all(paused, signal.SIGCONT)
    await paused.event("lease_lost")
    loser = int(here.ledger.of("BEGIN", job.id)[0][2])
    await paused.until(lambda: not psutil.pid_exists(loser), what="the end of the worker")
    (here.folder / "gate").touch()
    assert (await ended(queue, job.id)).status is JobStatus.COMPLETED
    record = await queue.inspect(job.id)
    assert record is not None
    assert record.accounted
    assert (record.expiry_count, record.job.retry_count) == (1, 1)
    assert here.ledger.count("END", job.id) == 1


@pytest.mark.slow
@pytest.mark.fault("E5")
async def test_a_hundred_thousand_jobs_that_become_due_at_once_hold_up_nobody(
    here: Place, queue: JobQueueAdapter
) -> None:
    later = datetime.now(UTC) + timedelta(days=1)
    for _ in range(20):
        await queue.insert([
            Draft.of(make_job(job_type="test.fine", scheduled_at=later)) for _ in range(5000)
        ])  # fmt: skip
    supervisor = here.supervisor("--workers", "1")
    await supervisor.started()
    resident = psutil.Process(supervisor.pid).memory_info().rss
    with closing(sqlite3.connect(here.folder / "jobs.db", isolation_level=None)) as outsider:
        due = time.time() + 3
        due_on_our_clock = time.monotonic() + 3
        outsider.execute("UPDATE portico_jobs SET run_at = ?", (int(due * 1e6),))
        assert time.time() < due, "this machine is too slow for this test"
        await supervisor.until(lambda: here.ledger.count("BEGIN"))
        assert first_start(here) - due_on_our_clock < 2.0
        [[scheduled]] = outsider.execute(
            "SELECT count(*) FROM portico_jobs WHERE status = 'scheduled'"
        ).fetchall()
        assert scheduled > 50_000  # nothing changes them but their own start
        created = time.monotonic()
        fresh = await queue.enqueue(make_job(job_type="test.fine", priority=10))
        await supervisor.until(lambda: here.ledger.count("BEGIN", fresh.id))
        assert float(here.ledger.of("BEGIN", fresh.id)[0][3]) - created < 2.0
    assert psutil.Process(supervisor.pid).memory_info().rss - resident < 50 * 2**20


def first_start(here: Place) -> float:
    return float(here.ledger.of("BEGIN")[0][3])


@pytest.mark.fault("E9")
async def test_an_instant_that_cannot_be_kept_is_refused_when_it_is_given(
    queue: JobQueueAdapter,
) -> None:
    wrong = {
        "without a time zone": datetime(2030, 1, 1),  # noqa: DTZ001
        "before 2255": datetime.max.replace(tzinfo=UTC),
        "aware datetime": math.nan,
    }
    for said, instant in wrong.items():
        with pytest.raises(ValidationError, match=said) as caught:
            await queue.enqueue(make_job(scheduled_at=instant))
        assert isinstance(caught.value, ValueError)
    for instant in (datetime.max.replace(tzinfo=UTC), math.nan, "tomorrow"):
        with pytest.raises(ValidationError, match="scheduled_at"):
            await JobService(queue).create_job("test.fine", {}, scheduled_at=instant)
    assert (await queue.get_queue_stats("default")).total == 0


@pytest.mark.fault("E9")
@pytest.mark.parametrize("delay", [math.nan, math.inf, -1.0, 1e300])
async def test_a_delay_that_is_none_never_leaves_a_job_that_cannot_be_settled(
    queue: JobQueueAdapter, delay: float
) -> None:
    job = await queue.enqueue(make_job())
    [lease] = (await queue.exchange((), ("default",), 1)).leases
    retry = Settlement(lease.id, lease.token, Transition.RETRY, delay=delay)
    [receipt] = (await queue.exchange([retry], (), 0)).receipts
    assert receipt.status is JobStatus.RETRYING
    record = await queue.inspect(job.id)
    assert record is not None
    assert record.due_at is not None
    assert record.due_at < datetime.now(UTC) + timedelta(days=3651)


@pytest.mark.fault("E10")
async def test_the_ten_thousandth_retry_waits_an_hour_at_most(
    here: Place, queue: JobQueueAdapter
) -> None:
    job = await queue.enqueue(make_job(job_type="test.raise_error", max_retries=20_000))
    with closing(sqlite3.connect(here.folder / "jobs.db", isolation_level=None)) as outsider:
        outsider.execute("UPDATE portico_jobs SET retry_count = 10000, attempt = 10000")
    supervisor = here.supervisor("--drain")
    assert await supervisor.ended() == 0
    record = await queue.inspect(job.id)
    assert record is not None
    assert record.accounted
    assert (record.job.status, record.job.retry_count) == (JobStatus.RETRYING, 10_001)
    assert record.due_at is not None
    wait = record.due_at - datetime.now(UTC)
    assert timedelta(minutes=25) < wait <= timedelta(hours=1)
