"""What becomes of jobs when PostgreSQL crashes, hangs, refuses, or loses the answer."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest

from portico.exceptions import QueueConnectionError
from portico.ports.job import JobStatus
from portico.ports.job_queue import JobQueueAdapter
from portico.ports.leasing import Answer, Settlement, Transition
from portico.supervisor.supervisor import EXIT_STORE
from tests.faults.server_faults import (
    APP,
    LEASE,
    gated,
    many,
    open_gate,
    ran_once,
    reconnected,
    results_told_to_wait,
    said_by_status,
    server_of_its_own,
)
from tests.support.jobs import ended, make_job
from tests.support.server_sets import PgBouncer
from tests.support.servers import PostgresServer, server_folder
from tests.support.supervisors import Place, place
from tests.support.waiting import wait_until

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def kept() -> Iterator[PostgresServer]:
    """For tests that leave the server as it was."""
    with server_of_its_own("postgres") as server:
        assert isinstance(server, PostgresServer)
        yield server


@pytest.fixture
def server(request: pytest.FixtureRequest, kept: PostgresServer) -> Iterator[PostgresServer]:
    """The module's, or one of the test's own with the settings that it asks for."""
    settings = getattr(request, "param", None)
    if settings is None:
        yield kept
        return
    with server_of_its_own("postgres", settings=settings) as own:
        assert isinstance(own, PostgresServer)
        yield own


own_server = pytest.mark.parametrize("server", [{}], indirect=True, ids=["own"])


@pytest.fixture
def here(tmp_path: Path, server: PostgresServer) -> Iterator[Place]:
    with place(tmp_path) as found:
        found.url = f"{server.url(server.database())}?connect_timeout=2&command_timeout=2"
        yield found


def backends(server: PostgresServer, having: str) -> list[int]:
    """The processes that serve Portico's connections of this database for which SQL holds."""
    told = server.run(
        "SELECT pid FROM pg_stat_activity WHERE application_name = 'portico' "
        f"AND pid <> pg_backend_pid() AND {having}"
    )
    return [int(pid) for pid in told.split()]


@pytest.mark.fault("D8")
@pytest.mark.fault("D30")
async def test_a_commit_whose_answer_was_lost_is_recognised_and_not_repeated(
    here: Place, queue: JobQueueAdapter, server: PostgresServer
) -> None:
    """A commit that waits for a standby that never comes has happened when its session dies."""
    job = await queue.enqueue(gated(here))
    supervisor = here.supervisor("--lease", "20s", "--workers", "1", app=APP)
    await supervisor.until(lambda: here.ledger.count("BEGIN", job.id))
    server.run("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
    server.run("SELECT pg_reload_conf()")
    await wait_until(lambda: server.run("SHOW synchronous_standby_names") == "nobody")
    try:
        open_gate(here)
        committed = "wait_event = 'SyncRep'"
        [pid, *_] = await wait_until(lambda: backends(server, committed))
        server.run(f"SELECT pg_terminate_backend({pid})")
        await supervisor.event("store_unreachable")
        assert (await ended(queue, job.id)).status is JobStatus.COMPLETED
    finally:
        server.run("ALTER SYSTEM RESET synchronous_standby_names")
        server.run("SELECT pg_reload_conf()")
    await supervisor.event("store_back")
    await ran_once(here, queue, job.id)
    supervisor.signal(signal.SIGTERM)
    assert await supervisor.ended() == 0
    [stopped] = supervisor.events("supervisor_stopped")
    assert (stopped["completed"], stopped["lost"], stopped["unsettled"]) == (1, 0, 0)


@pytest.mark.fault("D9")
@own_server
async def test_a_crash_of_the_server_under_load_loses_nothing_and_repeats_nothing(
    here: Place, queue: JobQueueAdapter, server: PostgresServer
) -> None:
    jobs = await many(queue, 1000)
    running = [await queue.enqueue(gated(here, priority=1)) for _ in range(2)]
    supervisor = here.supervisor("--lease", "8s", "--workers", "3", app=APP)
    vulture = here.supervisor("--lease", "8s", "--workers", "1", app=APP)
    await supervisor.until(lambda: here.ledger.count("END") > 50)
    await supervisor.until(lambda: all(here.ledger.count("BEGIN", job.id) for job in running))
    server.stop("immediate")
    await supervisor.event("store_unreachable")
    server.start()
    await reconnected(queue)
    open_gate(here)
    for job in running:
        await ran_once(here, queue, job.id)
    for job_id in jobs:
        assert (await ended(queue, job_id)).status is JobStatus.COMPLETED
    begun = len(here.ledger.of("BEGIN"))
    assert begun == 1002, f"{begun - 1002} jobs ran more than once"
    assert not supervisor.events("job_recovered") + vulture.events("job_recovered")


@pytest.mark.fault("D9")
@own_server
async def test_a_producer_is_told_of_a_broken_connection_once_and_is_served_on_a_new_one(
    here: Place, queue: JobQueueAdapter, server: PostgresServer
) -> None:
    job = await queue.enqueue(make_job())
    server.stop("immediate")
    server.start()
    with pytest.raises(QueueConnectionError, match="the connection broke") as told:
        await queue.get_job(job.id)
    assert "terminate" not in str(told.value)
    assert await queue.get_job(job.id) == job


@pytest.mark.fault("D10")
@own_server
async def test_while_the_server_is_down_work_goes_on_and_is_settled_when_it_is_back(
    here: Place, queue: JobQueueAdapter, server: PostgresServer
) -> None:
    jobs = [await queue.enqueue(gated(here, str(number))) for number in range(2)]
    supervisor = here.supervisor("--lease", "3s", app=APP)
    vulture = here.supervisor("--lease", "3s", app=APP)
    await supervisor.started()
    await vulture.started()
    await supervisor.until(lambda: here.ledger.count("BEGIN") == 2)
    server.stop("fast")
    await supervisor.event("store_unreachable")
    await vulture.event("store_unreachable")
    open_gate(here, "0")
    open_gate(here, "1")
    await wait_until(lambda: here.ledger.count("END") == 2)
    both = [f"supervisor {one.pid} leases nothing since" for one in (supervisor, vulture)]
    status = await said_by_status(
        here,
        lambda said: results_told_to_wait(said) == 2 and all(words in said for words in both),
    )
    assert status.returncode == 1
    assert "cannot be used right now" in status.stderr
    assert "portico:portico" not in status.stderr + supervisor.text()
    await asyncio.sleep(4.5)  # the leases have run out
    server.start()
    await reconnected(queue)
    for job in jobs:
        await ran_once(here, queue, job.id)
    told = [await one.event("store_back") for one in (supervisor, vulture)]
    assert sum(event["settlements_waited"] for event in told) == 2
    assert not supervisor.events("job_recovered") + vulture.events("job_recovered")


@pytest.mark.fault("D10")
@own_server
async def test_an_outbox_that_is_full_lets_nothing_begin_and_what_runs_goes_on(
    here: Place, queue: JobQueueAdapter, server: PostgresServer
) -> None:
    jobs = [await queue.enqueue(gated(here)) for _ in range(6)]
    supervisor = here.supervisor(
        "--concurrency", "3", "--lease", "20s", app=APP,
        TUNING="kits.job.outbox:MOST_RESULTS=3",
    )  # fmt: skip
    await supervisor.until(lambda: here.ledger.count("BEGIN") == 6)
    server.stop("fast")
    await supervisor.event("store_unreachable")
    open_gate(here)
    full = await supervisor.event("outbox_full")
    assert full["results"] > 3
    await wait_until(lambda: here.ledger.count("END") == 6)
    server.start()
    await supervisor.event("outbox_has_room")
    await reconnected(queue)
    for job in jobs:
        await ran_once(here, queue, job.id)
    late = await queue.enqueue(make_job(job_type="test.fine"))
    await ran_once(here, queue, late.id)


@pytest.mark.fault("D11")
@own_server
async def test_sessions_that_hang_are_given_up_and_others_take_their_place(
    here: Place, queue: JobQueueAdapter, server: PostgresServer
) -> None:
    job = await queue.enqueue(gated(here))
    supervisor = here.supervisor("--lease", "20s", app=APP)
    await supervisor.until(lambda: here.ledger.count("BEGIN", job.id))
    frozen = backends(server, "true")
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    try:
        open_gate(here)
        await supervisor.event("store_back")
        [unreachable] = supervisor.events("store_unreachable")
        assert "did not answer in time" in unreachable["error"]
    finally:
        for pid in frozen:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
    await ran_once(here, queue, job.id)


@pytest.mark.fault("D12")
@own_server
async def test_a_listening_session_that_died_in_silence_delays_a_job_by_a_poll_at_most(
    here: Place, queue: JobQueueAdapter, server: PostgresServer
) -> None:
    supervisor = here.supervisor(*LEASE, app=APP)
    await supervisor.started()
    listens = "query LIKE 'LISTEN%' OR query = 'SELECT 1'"
    frozen = await wait_until(lambda: backends(server, f"({listens})"))
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    try:
        job = await queue.enqueue(make_job(job_type="test.fine"))
        await ended(queue, job.id, timeout=2.5)
        await supervisor.event("postgres_listening_lost")
        await wait_until(lambda: set(backends(server, f"({listens})")) - set(frozen))
    finally:
        for pid in frozen:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


@pytest.mark.fault("D13")
async def test_behind_a_transaction_pooler_jobs_run_by_polling(
    here: Place, queue: JobQueueAdapter, server: PostgresServer
) -> None:
    folder = server_folder("pooler")
    pooler = PgBouncer(folder / "pooler", server)
    pooler.start()
    try:
        here.url = pooler.url(here.url.rpartition("/")[2])
        jobs = await many(queue, 50)
        supervisor = here.supervisor(*LEASE, app=APP)
        for job_id in jobs:
            await ran_once(here, queue, job_id)
        late = await queue.enqueue(make_job(job_type="test.fine"))
        await ran_once(here, queue, late.id)
        assert supervisor.events("postgres_pooler")
        assert not supervisor.events("store_unreachable")
    finally:
        pooler.stop()
        shutil.rmtree(folder)


@pytest.mark.fault("D14")
async def test_many_small_enqueues_are_told_in_few_and_small_notifications(
    here: Place, queue: JobQueueAdapter, server: PostgresServer
) -> None:
    plain = here.url.partition("?")[0]
    with psycopg.connect(plain, autocommit=True) as listening:
        listening.execute('LISTEN "portico.portico"')
        loop = asyncio.get_running_loop()
        began = loop.time()
        await many(queue, 10_000)
        for _ in range(500):
            await queue.enqueue(make_job(job_type="test.fine"))
        seconds = loop.time() - began
        await queue.close()
        heard = [notice.payload for notice in listening.notifies(timeout=0.5)]
    assert 1 <= len(heard) <= 2 + seconds / 0.01
    assert set(heard) == {"default"}


@pytest.mark.fault("D15")
async def test_a_deadlock_with_an_outsider_is_tried_again_and_settles_the_whole_batch(
    here: Place, queue: JobQueueAdapter, server: PostgresServer
) -> None:
    for _ in range(2):
        await queue.enqueue(make_job(job_type="test.fine"))
    leases = sorted((await queue.exchange((), ("default",), 2)).leases)
    done = [Settlement(one.id, one.token, Transition.COMPLETE, b"{}") for one in leases]
    lock = "SELECT 1 FROM portico.portico_jobs WHERE id = %s FOR UPDATE"
    outsider = await psycopg.AsyncConnection.connect(here.url.partition("?")[0])
    async with outsider:
        await outsider.execute("SET deadlock_timeout = '30s'")  # so that the other one is chosen
        first, second = (one.job_id for one in leases)
        await outsider.execute(lock, (second,))
        settling = asyncio.create_task(queue.exchange(done[::-1], ("default",), 0))
        blocked = "wait_event_type = 'Lock'"
        await wait_until(lambda: backends(server, blocked))
        await outsider.execute(lock, (first,))
        await outsider.rollback()
    exchange = await settling
    assert [receipt.answer for receipt in exchange.receipts] == [Answer.OK, Answer.OK]


@pytest.mark.fault("D16")
@own_server
async def test_a_server_that_became_read_only_is_an_outage_until_it_takes_writes_again(
    here: Place, queue: JobQueueAdapter, server: PostgresServer
) -> None:
    job = await queue.enqueue(gated(here))
    supervisor = here.supervisor(*LEASE, app=APP)
    await supervisor.until(lambda: here.ledger.count("BEGIN", job.id))
    server.run("ALTER SYSTEM SET default_transaction_read_only = on")
    server.run("SELECT pg_reload_conf()")
    open_gate(here)
    await supervisor.event("store_unreachable")
    server.run("ALTER SYSTEM RESET default_transaction_read_only")
    server.run("SELECT pg_reload_conf()")
    await supervisor.event("store_back")
    await ran_once(here, queue, job.id)


FEW = {
    "max_connections": 6, "superuser_reserved_connections": 0, "max_wal_senders": 0,
    "autovacuum": "off",
}  # fmt: skip


@pytest.mark.fault("D17")
@pytest.mark.parametrize("server", [FEW], indirect=True, ids=["few"])
@pytest.mark.parametrize("freed", [True, False])
async def test_a_server_without_a_free_connection_is_waited_for_and_then_given_up(
    here: Place, server: PostgresServer, freed: bool
) -> None:
    taken = [psycopg.connect(server.url()) for _ in range(6)]
    supervisor = here.supervisor(app=APP, TUNING="supervisor.supervisor:STORE_PATIENCE=3.0")
    awaited = await supervisor.event("store_awaited")
    assert "takes no more connections" in awaited["error"]
    if freed:
        for connection in taken:
            connection.close()
        await supervisor.started()
        return
    assert await supervisor.ended() == EXIT_STORE
    assert "max_connections" in supervisor.events("supervisor_failed")[0]["error"]
    for connection in taken:
        connection.close()


@pytest.mark.fault("D18")
@pytest.mark.parametrize("name", ["nasty_error", "nasty_message", "nasty_result", "nul_in_result"])
async def test_text_that_the_server_cannot_hold_is_stored_as_well_as_can_be(
    here: Place, queue: JobQueueAdapter, name: str
) -> None:
    nasty = await queue.enqueue(make_job(job_type=f"test.{name}", max_retries=0))
    fine = await many(queue, 20)
    supervisor = here.supervisor(*LEASE, app=APP)
    found = await ended(queue, nasty.id)
    assert found.status is not JobStatus.RUNNING
    for job_id in fine:
        await ran_once(here, queue, job_id)
    assert here.ledger.count("BEGIN", nasty.id) == 1
    assert not supervisor.events("store_unreachable")
