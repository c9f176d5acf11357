"""A Redis server that was well at the start, and lets its supervisors in no more."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from portico.ports.job_queue import JobQueueAdapter
from portico.supervisor.supervisor import EXIT_CONFIGURATION
from tests.faults.server_faults import (
    APP,
    Refusal,
    gate,
    lives_through,
    open_gate,
    ran_once,
    server_of_its_own,
)
from tests.support.jobs import make_job
from tests.support.servers import RedisServer
from tests.support.supervisors import Place, place

pytestmark = [pytest.mark.servers, pytest.mark.timeout(240)]

PASSWORD = "old-Pa55word"


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with server_of_its_own("redis") as own:
        assert isinstance(own, RedisServer)
        own.run("ACL", "SETUSER", "clerk", "on", f">{PASSWORD}", "~*", "&*", "+@all")
        yield own


@pytest.fixture
def here(tmp_path: Path, server: RedisServer) -> Iterator[Place]:
    with place(tmp_path) as found:
        found.url = f"redis://clerk:{PASSWORD}@{server.host}:{server.port}/0"
        yield found


def refusals(admin: Any) -> Iterator[Refusal]:
    def by(name: str, do: str, undo: str, told: str) -> Refusal:
        act = admin.execute_command
        return Refusal(name, lambda: act(*do.split()), lambda: act(*undo.split()), told)

    clerk, wrong = "ACL SETUSER clerk", "refuses the user or the password"
    rights = "this user may not do what a queue needs"
    yield by("off", f"{clerk} off", f"{clerk} on", wrong)
    yield by("password", f"{clerk} resetpass >new", f"{clerk} resetpass >{PASSWORD}", wrong)
    yield by("commands", f"{clerk} -evalsha", f"{clerk} +@all", rights)
    yield by("keys", f"{clerk} resetkeys", f"{clerk} allkeys", rights)
    yield by(
        "clients",
        "CONFIG SET maxclients 1",
        "CONFIG SET maxclients 1000",
        "it takes no more clients",
    )
    yield by("replica", "REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE", "it is a replica")


@pytest.mark.fault("D21")
async def test_whatever_the_server_refuses_in_use_is_waited_for_and_costs_no_job(
    here: Place, queue: JobQueueAdapter, server: RedisServer
) -> None:
    payload = {"path": str(gate(here))}
    job = await queue.enqueue(make_job(job_type="test.block_until_there", payload=payload))
    supervisor = here.supervisor(app=APP)
    await supervisor.until(lambda: here.ledger.count("BEGIN", job.id))
    with redis.Redis(host=server.host, port=server.port) as admin:
        await lives_through(supervisor, list(refusals(admin)), lambda: cut(admin))
    assert PASSWORD not in supervisor.text()
    open_gate(here)
    await queue.close()
    await queue.initialize()
    await ran_once(here, queue, job.id)


def cut(admin: Any) -> None:
    """End all connections but this one."""
    for kind in ("normal", "pubsub"):
        admin.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")


async def test_a_login_that_is_refused_at_the_start_is_a_mistake_in_the_configuration(
    here: Place,
) -> None:
    here.url = here.url.replace(PASSWORD, "no-Pa55word")
    supervisor = here.supervisor(app=APP)
    assert await supervisor.ended() == EXIT_CONFIGURATION
    assert "refuses the user or the password" in supervisor.text()
    assert "no-Pa55word" not in supervisor.text()
