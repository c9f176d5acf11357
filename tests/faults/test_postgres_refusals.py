"""A PostgreSQL server that was well at the start, and lets its supervisors in no more."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from subprocess import CalledProcessError

import pytest

from portico import compose
from portico.exceptions import ConfigurationError
from portico.kits.job.worker_manager import WorkerManager
from portico.ports.job import JobStatus
from portico.ports.job_queue import JobQueueAdapter
from portico.supervisor.supervisor import EXIT_CONFIGURATION
from tests.faults.server_faults import (
    APP,
    Refusal,
    gate,
    lives_through,
    open_gate,
    ran_once,
    reconnected,
    server_of_its_own,
)
from tests.support.jobs import ended, make_job
from tests.support.servers import PostgresServer
from tests.support.supervisors import Place, place
from tests.support.waiting import wait_until
from tests.unit.kits.parts import Doing

pytestmark = [pytest.mark.servers, pytest.mark.timeout(240)]

ROLE, PASSWORD = "clerk", "old-Pa55word"


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with server_of_its_own("postgres") as own:
        assert isinstance(own, PostgresServer)
        own.run(f"CREATE ROLE {ROLE} LOGIN PASSWORD '{PASSWORD}'")
        yield own


@pytest.fixture
def database(server: PostgresServer) -> str:
    name = server.database()
    server.run(f"ALTER DATABASE {name} OWNER TO {ROLE}")
    return name


@pytest.fixture
def here(tmp_path: Path, server: PostgresServer, database: str) -> Iterator[Place]:
    with place(tmp_path) as found:
        found.url = f"postgresql://{ROLE}:{PASSWORD}@{server.host}:{server.port}/{database}"
        yield found


def cut(server: PostgresServer) -> None:
    """End the connections of the role."""
    server.run(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{ROLE}'")


def refusals(server: PostgresServer, database: str) -> Iterator[Refusal]:
    def by(name: str, do: str, undo: str, told: str, where: str = "postgres") -> Refusal:
        return Refusal(name, lambda: server.run(do, where), lambda: server.run(undo, where), told)

    def rename() -> None:
        for _ in range(1000):  # nobody may be in it meanwhile
            cut(server)
            with suppress(CalledProcessError):
                server.run(f"ALTER DATABASE {database} RENAME TO elsewhere")
                return
        raise AssertionError("somebody was in the database all the time")

    role, entry = f"ALTER ROLE {ROLE}", f"ALTER DATABASE {database}"
    wrong, rights = "the user or the password is wrong", "this user lacks a right"
    jobs = "ON portico.portico_jobs"
    yield by("nologin", f"{role} NOLOGIN", f"{role} LOGIN", "does not let this user in")
    yield by("password", f"{role} PASSWORD 'new'", f"{role} PASSWORD '{PASSWORD}'", wrong)
    yield by("ended", f"{role} VALID UNTIL 'yesterday'", f"{role} VALID UNTIL 'infinity'", wrong)
    yield by("crowded", f"{role} CONNECTION LIMIT 0", f"{role} CONNECTION LIMIT -1",
             "it takes no more connections")  # fmt: skip
    yield by("closed", f"{entry} ALLOW_CONNECTIONS false", f"{entry} ALLOW_CONNECTIONS true",
             "takes no connections to this")  # fmt: skip
    renamed = by("", "", f"ALTER DATABASE elsewhere RENAME TO {database}", "")
    yield Refusal("renamed", rename, renamed.undo, "the database does not exist")
    yield by("read-only", f"{role} SET default_transaction_read_only = on",
             f"{role} RESET default_transaction_read_only",
             "no server that takes writes")  # fmt: skip
    yield by("schema", f"REVOKE USAGE ON SCHEMA portico FROM {ROLE}",
             f"GRANT USAGE ON SCHEMA portico TO {ROLE}", rights, database)  # fmt: skip
    yield by("reading", f"REVOKE SELECT {jobs} FROM {ROLE}", f"GRANT SELECT {jobs} TO {ROLE}",
             rights, database)  # fmt: skip
    yield by("mislaid", "ALTER SCHEMA portico RENAME TO mislaid",
             "ALTER SCHEMA mislaid RENAME TO portico", "the schema is not there",
             database)  # fmt: skip


@pytest.mark.fault("D16")
async def test_whatever_the_server_refuses_in_use_is_waited_for_and_costs_no_job(
    here: Place, queue: JobQueueAdapter, server: PostgresServer, database: str
) -> None:
    payload = {"path": str(gate(here))}
    job = await queue.enqueue(make_job(job_type="test.block_until_there", payload=payload))
    supervisor = here.supervisor(app=APP)
    await supervisor.until(lambda: here.ledger.count("BEGIN", job.id))
    await lives_through(supervisor, list(refusals(server, database)), lambda: cut(server))
    await queue.close()
    await queue.initialize()
    await a_result_that_may_not_be_written_is_kept(here, queue, server, database)
    open_gate(here)
    await ran_once(here, queue, job.id)
    assert PASSWORD not in supervisor.text()
    supervisor.signal(signal.SIGTERM)
    assert await supervisor.ended() == 0


async def a_result_that_may_not_be_written_is_kept(
    here: Place, queue: JobQueueAdapter, server: PostgresServer, database: str
) -> None:
    supervisor = here.running[0]
    told = "permission denied for table portico_attempts"
    server.run(f"REVOKE INSERT ON portico.portico_attempts FROM {ROLE}", database)
    failing = await queue.enqueue(make_job(job_type="test.nasty_error", max_retries=0))
    await supervisor.until(
        lambda: any(
            told in event["error"] and event["results_waiting"] == 1
            for event in supervisor.events("store_unreachable")
        )
    )
    server.run(f"GRANT INSERT ON portico.portico_attempts TO {ROLE}", database)
    assert (await ended(queue, failing.id)).status is JobStatus.DEAD_LETTER
    assert here.ledger.count("BEGIN", failing.id) == 1


async def test_a_login_that_is_refused_at_the_start_is_a_mistake_in_the_configuration(
    here: Place,
) -> None:
    here.url = here.url.replace(PASSWORD, "no-Pa55word")
    supervisor = here.supervisor(app=APP)
    assert await supervisor.ended() == EXIT_CONFIGURATION
    assert "the user or the password is wrong" in supervisor.text()
    assert "no-Pa55word" not in supervisor.text()


async def test_a_manager_waits_for_a_login_too_and_a_producer_is_told_at_once(
    queue: JobQueueAdapter, server: PostgresServer, here: Place
) -> None:
    handler = Doing()
    manager_queue = compose.job_queue(here.url)
    async with WorkerManager(manager_queue, [handler]) as manager:
        server.run(f"ALTER ROLE {ROLE} NOLOGIN")
        cut(server)
        with pytest.raises(ConfigurationError, match="does not let this user in"):
            await reconnected(queue)
        pipeline = manager._running
        assert pipeline is not None
        await wait_until(lambda: pipeline.pipeline.outage.on)
        server.run(f"ALTER ROLE {ROLE} LOGIN")
        job = await queue.enqueue(make_job())
        assert (await ended(queue, job.id)).status is JobStatus.COMPLETED
        assert manager.is_running
    await manager_queue.close()
