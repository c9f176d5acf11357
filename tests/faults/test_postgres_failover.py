"""A URL with two PostgreSQL hosts: the one that takes writes is found, whichever that is."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from portico.ports.job_queue import JobQueueAdapter
from tests.faults.server_faults import APP, gated, open_gate, ran_once, reconnected
from tests.support.jobs import make_job
from tests.support.server_sets import standby
from tests.support.servers import PostgresServer, server_folder
from tests.support.supervisors import Place, place
from tests.support.waiting import wait_until

pytestmark = pytest.mark.servers

SYNCHRONOUS = {"synchronous_standby_names": "*", "synchronous_commit": "remote_apply"}
"""What the primary has told to be written, its standby has."""


class Pair(NamedTuple):
    primary: PostgresServer
    standby: PostgresServer


@pytest.fixture
def pair() -> Iterator[Pair]:
    folder = server_folder("failover")
    primary = PostgresServer(folder / "primary", SYNCHRONOUS)
    primary.start()
    second = standby(folder / "standby", primary)
    yield Pair(primary, second)
    for server in (second, primary):
        server.kill()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["the primary first", "the standby first"])
def here(request: pytest.FixtureRequest, tmp_path: Path, pair: Pair) -> Iterator[Place]:
    order = pair if request.param == "the primary first" else reversed(pair)
    hosts = ",".join(f"{server.host}:{server.port}" for server in order)
    impatient = "connect_timeout=2&command_timeout=2"
    with place(tmp_path) as found:
        found.url = f"postgresql://portico:portico@{hosts}/{pair.primary.database()}?{impatient}"
        yield found


@pytest.mark.fault("D16")
async def test_when_the_primary_dies_work_goes_on_at_the_standby_that_takes_its_place(
    here: Place, queue: JobQueueAdapter, pair: Pair
) -> None:
    job = await queue.enqueue(gated(here))
    supervisor = here.supervisor("--lease", "20s", app=APP)
    await supervisor.until(lambda: here.ledger.count("BEGIN", job.id))
    pair.primary.kill()
    open_gate(here)
    told = await supervisor.event("store_unreachable")
    assert "portico:portico" not in told["error"]
    await supervisor.until(lambda: here.ledger.count("END", job.id))
    assert not supervisor.events("store_back"), "a standby takes no writes"
    pair.standby.run("SELECT pg_promote()")
    await supervisor.event("store_back")
    await reconnected(queue)
    await ran_once(here, queue, job.id)
    await wait_until(lambda: is_listened_to(pair.standby))
    later = await queue.enqueue(make_job(job_type="test.fine"))
    await ran_once(here, queue, later.id)
    assert not supervisor.events("job_recovered") + supervisor.events("lease_lost")
    assert supervisor.process.poll() is None


def is_listened_to(server: PostgresServer) -> bool:
    """Whether somebody has said LISTEN there, or has asked since whether the session lives."""
    asked = "SELECT count(*) > 0 FROM pg_stat_activity WHERE query ~ '^(LISTEN |SELECT 1$)'"
    return server.run(asked) == "t"
