"""Several supervisors on one server: killed, stopped, cut off, and with a clock that jumps."""

from __future__ import annotations

import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest

from portico import compose
from portico.ports.job import Job, JobStatus
from portico.ports.job_queue import JobQueueAdapter
from tests.faults.server_faults import (
    APP,
    LEASE,
    accounted,
    gated,
    many,
    open_gate,
    ran_once,
    ran_twice,
    server_of_its_own,
)
from tests.support.clocks import Clock
from tests.support.freezing import freeze
from tests.support.hosts import Host, Network, network
from tests.support.jobs import ended, make_job
from tests.support.servers import PostgresServer, RedisServer, server_folder
from tests.support.supervisors import Place, SupervisorProcess, place
from tests.support.waiting import wait_until

pytestmark = pytest.mark.servers


def url_of(server: PostgresServer | RedisServer) -> str:
    """The queue's URL there; a test cannot wait ten seconds for each answer."""
    if isinstance(server, PostgresServer):
        options = "sslmode=disable&connect_timeout=2&command_timeout=2"
        return f"{server.url(server.database())}?{options}"
    return f"{server.url()}?connect_timeout=2&timeout=2"


@pytest.fixture(params=["postgres", "redis"], scope="module")
def server(request: pytest.FixtureRequest) -> Iterator[PostgresServer | RedisServer]:
    with server_of_its_own(request.param) as started:
        yield started


@pytest.fixture
def here(tmp_path: Path, server: PostgresServer | RedisServer) -> Iterator[Place]:
    if isinstance(server, RedisServer):
        server.run("FLUSHALL")
    with place(tmp_path) as found:
        found.url = url_of(server)
        yield found


@asynccontextmanager
async def producer(here: Place) -> AsyncIterator[JobQueueAdapter]:
    queue = compose.job_queue(here.url)
    await queue.initialize()
    try:
        yield queue
    finally:
        await queue.close()


@pytest.mark.fault("C1")
async def test_the_jobs_of_a_killed_supervisor_are_taken_over_within_its_lease(
    here: Place, queue: JobQueueAdapter
) -> None:
    job = await queue.enqueue(gated(here))
    victim = here.supervisor(*LEASE, "--workers", "1", app=APP)
    await victim.until(lambda: here.ledger.count("BEGIN", job.id))
    workers = victim.descendants()
    victim.signal(signal.SIGKILL)
    successor = here.supervisor(*LEASE, "--workers", "1", app=APP)
    await successor.until(lambda: here.ledger.count("BEGIN", job.id) == 2, timeout=6)
    assert not any(worker.is_running() and not gone(worker) for worker in workers)
    open_gate(here)
    await ran_twice(here, queue, job.id)


TIDY = "adapters.job_queue._postgres.leasing:_TIDY_EVERY=0.5"


@pytest.mark.fault("C1")
@pytest.mark.parametrize("survivor", range(3), ids=["first", "second", "last"])
async def test_whichever_supervisor_is_left_alone_does_all_that_comes_round(
    here: Place, queue: JobQueueAdapter, server: PostgresServer | RedisServer, survivor: int
) -> None:
    """Nobody is elected: neither who came first nor who came last has a duty of its own."""
    crowd, held = [], []
    for number in range(3):
        crowd.append(here.supervisor(*LEASE, "--workers", "1", app=APP, TUNING=TIDY))
        await crowd[-1].started()
        held.append(await queue.enqueue(gated(here, f"gate{number}")))
        await crowd[-1].until(lambda: here.ledger.count("BEGIN", held[-1].id))
    later = make_job(job_type="test.fine", scheduled_at=datetime.now(UTC) + timedelta(seconds=4))
    await queue.enqueue(later)
    left = crowd.pop(survivor)
    lost = {job.id for job in held if f":{left.pid}" not in await holder(queue, job)}
    assert len(lost) == 2
    for supervisor in crowd:
        supervisor.signal(signal.SIGKILL)
    await left.until(lambda: len(left.events("job_recovered")) == 2)
    for number in range(3):
        open_gate(here, f"gate{number}")
    for job in held:
        await (ran_twice if job.id in lost else ran_once)(here, queue, job.id)
    told = {event["job_id"] for event in left.events("job_recovered")}
    assert told == {str(job_id) for job_id in lost}
    await ran_once(here, queue, later.id)
    stopped = await queue.enqueue(gated(here, "never"))
    await left.until(lambda: here.ledger.count("BEGIN", stopped.id))
    assert await queue.request_cancel(stopped.id)
    assert (await ended(queue, stopped.id)).error_message == "Job cancelled"
    await wait_until(lambda: is_tidied(here, server))


async def holder(queue: JobQueueAdapter, job: Job) -> str:
    record = await queue.inspect(job.id)
    assert record is not None
    assert record.owner is not None
    return record.owner


def is_tidied(here: Place, server: PostgresServer | RedisServer) -> bool:
    """Whether what PostgreSQL counts apart has been summed up; there is no such thing on Redis."""
    if isinstance(server, RedisServer):
        return True
    database = here.url.partition("?")[0].rpartition("/")[2]
    asked = "SELECT count(*) = count(DISTINCT queue_name) FROM portico.portico_totals"
    return server.run(asked, database) == "t"


def gone(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.mark.fault("C2")
async def test_a_supervisor_that_slept_past_its_lease_settles_nothing_of_the_other_ones(
    here: Place, queue: JobQueueAdapter
) -> None:
    job = await queue.enqueue(gated(here))
    sleeper = here.supervisor(*LEASE, "--workers", "1", app=APP)
    await sleeper.until(lambda: here.ledger.count("BEGIN", job.id))
    other = here.supervisor(*LEASE, "--workers", "1", app=APP)
    await freeze(sleeper, here.folder)
    try:
        await other.until(lambda: here.ledger.count("BEGIN", job.id) == 2)
    finally:
        sleeper.signal(signal.SIGCONT)
    await sleeper.event("lease_lost")
    running = await queue.get_job(job.id)
    assert running is not None
    assert running.status is JobStatus.RUNNING
    open_gate(here)
    await ran_twice(here, queue, job.id)
    assert here.ledger.count("END", job.id) == 1, "the sleeper's copy was stopped"


@pytest.mark.fault("C15")
async def test_supervisors_that_share_a_server_run_each_job_once(
    here: Place, queue: JobQueueAdapter
) -> None:
    jobs = await many(queue, 2000)
    both = [here.supervisor("--drain", app=APP) for _ in range(2)]
    for supervisor in both:
        assert await supervisor.ended(timeout=30) == 0
    stats = await queue.get_queue_stats("default")
    assert stats.completed_count == len(jobs)
    begun = Counter(line[1] for line in here.ledger.of("BEGIN"))
    assert len(begun) == len(jobs)
    assert set(begun.values()) == {1}
    for supervisor in both:
        assert not supervisor.events("store_unreachable")


@pytest.mark.fault("E3")
@pytest.mark.parametrize("kind", ["postgres", "redis"])
async def test_leases_that_a_jump_of_the_stores_clock_ended_are_lost_and_fenced(
    tmp_path: Path, kind: str
) -> None:
    folder = server_folder("clock")
    clock = Clock(folder)
    with (
        server_of_its_own(kind, environment=clock.environment) as server,
        place(tmp_path) as here,
    ):
        here.url = url_of(server)
        async with producer(here) as queue:
            job = await queue.enqueue(gated(here))
            first = here.supervisor("--lease", "8s", "--workers", "1", app=APP)
            await first.until(lambda: here.ledger.count("BEGIN", job.id))
            first.signal(signal.SIGSTOP)  # so that it cannot renew before the other one looks
            clock.move(3600)
            second = here.supervisor("--lease", "8s", "--workers", "1", app=APP)
            await second.until(lambda: here.ledger.count("BEGIN", job.id) == 2)
            first.signal(signal.SIGCONT)
            await first.event("lease_lost")
            open_gate(here)
            await ran_twice(here, queue, job.id)


@pytest.fixture
def net() -> Iterator[Network]:
    with network() as found:
        yield found


def on(host: Host, here: Place, *arguments: str) -> SupervisorProcess:
    command = (*host.wrap, sys.executable, "-m", "portico.supervisor")
    return here.supervisor(*(arguments or LEASE), app=APP, command=command)


@pytest.mark.fault("D29")
@pytest.mark.parametrize("kind", ["postgres", "redis"])
async def test_a_supervisor_that_is_cut_off_loses_its_jobs_to_the_others_and_nothing_else(
    tmp_path: Path, net: Network, kind: str
) -> None:
    cut, others = net.host("cut"), net.host("others")
    with (
        server_of_its_own(kind, on=net.host("server")) as server,
        place(tmp_path) as here,
    ):
        here.url = url_of(server)
        async with producer(here) as queue:
            jobs = [await queue.enqueue(gated(here, str(number))) for number in range(2)]
            alone = on(cut, here)
            await alone.until(lambda: here.ledger.count("BEGIN") == 2)
            rest = on(others, here)
            await rest.started()
            cut.cut()
            open_gate(here, "0")
            await alone.event("store_unreachable")
            await wait_until(lambda: here.ledger.count("END", jobs[0].id) >= 1)
            await rest.until(lambda: here.ledger.count("BEGIN", jobs[1].id) == 2)
            cut.join()
            await alone.event("store_back")
            await alone.event("lease_lost")
            open_gate(here, "1")
            for job in jobs:
                record = await accounted(queue, job.id)
                assert record.attempt == here.ledger.count("BEGIN", job.id) == 2
                assert record.expiry_count == 1
            assert here.ledger.count("END", jobs[1].id) == 1, "the cut off one stopped its copy"
            late = await many(queue, 40)
            for job_id in late:
                await ran_once(here, queue, job_id)


@pytest.mark.fault("D11")
@pytest.mark.parametrize("kind", ["postgres", "redis"])
async def test_a_server_that_vanishes_without_a_word_is_an_outage_and_comes_back(
    tmp_path: Path, net: Network, kind: str
) -> None:
    home = net.host("server")
    with server_of_its_own(kind, on=home) as server, place(tmp_path) as here:
        here.url = url_of(server)
        async with producer(here) as queue:
            job = await queue.enqueue(gated(here))
            supervisor = on(net.host("one"), here, "--lease", "10s")
            await supervisor.until(lambda: here.ledger.count("BEGIN", job.id))
            vulture = on(net.host("other"), here, "--lease", "10s")
            await vulture.started()
            home.cut()
            open_gate(here)
            await supervisor.event("store_unreachable")
            await vulture.event("store_unreachable")
            home.join()
            await supervisor.event("store_back")
        async with producer(here) as queue:  # a new one: the old one's connections hung
            await ended(queue, job.id)
            await ran_once(here, queue, job.id)
        assert not supervisor.events("job_recovered") + vulture.events("job_recovered")
