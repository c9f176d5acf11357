"""The core of the rules on a Valkey server, spoken to by a `valkey://` URL."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator

import pytest

from portico import compose
from portico.ports.job import JobStatus
from portico.ports.job_queue import JobQueueAdapter
from portico.ports.leasing import JobFilter
from portico.testing.contract.leasing_rules import LeasingRules
from portico.testing.contract.nine_method_rules import NineMethodRules
from portico.testing.contract.queue_support import LEASE_SECONDS, Clocks
from portico.testing.contract.state_table_rules import StateTableRules
from tests.support.jobs import ended, make_job
from tests.support.redis_queues import own_namespace, redis_queue
from tests.support.servers import ValkeyServer, server_folder
from tests.support.supervisors import Place

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def valkey() -> Iterator[ValkeyServer]:
    folder = server_folder("valkey")
    server = ValkeyServer(folder / "server")
    server.start()
    yield server
    server.kill()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


class _Opened:
    @pytest.fixture
    async def queue(self, valkey: ValkeyServer, clocks: Clocks) -> AsyncIterator[JobQueueAdapter]:
        known = {"clock": clocks.wall, "monotonic": clocks.monotonic}
        queue = redis_queue(valkey, clocks, lease_seconds=LEASE_SECONDS, **known)
        await queue.initialize()
        yield queue
        await queue.close()


class TestNineMethods(_Opened, NineMethodRules):
    pass


class TestLeasing(_Opened, LeasingRules):
    pass


class TestStateTable(_Opened, StateTableRules):
    pass


async def test_a_supervisor_serves_a_queue_on_valkey(here: Place, valkey: ValkeyServer) -> None:
    assert "valkey_version" in valkey.run("INFO", "server")
    here.url = own_namespace(valkey.url())
    assert here.url.startswith("valkey://")
    queue = compose.job_queue(here.url)
    await queue.initialize()
    try:
        fine = await queue.enqueue(make_job(job_type="test.fine"))
        failing = await queue.enqueue(make_job(job_type="test.raise_error", max_retries=0))
        supervisor = here.supervisor("--drain")
        assert await supervisor.ended() == 0
        assert (await ended(queue, fine.id)).status is JobStatus.COMPLETED
        assert (await ended(queue, failing.id)).status is JobStatus.DEAD_LETTER
        assert await queue.purge(JobFilter()) == 2
    finally:
        await queue.close()
