"""A server that keeps everybody waiting for longer than a lease takes nothing from the living."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from benchmarks.soak.witness import witness_of
from portico import compose
from portico.ports.job_queue import JobQueueAdapter
from portico.ports.leasing import Answer
from portico.testing.contract.queue_support import leased_job, record

LEASE = 1.0

pytestmark = pytest.mark.servers


@pytest.fixture(params=["postgres", "redis"])
def url(request: pytest.FixtureRequest) -> str:
    server, name = request.getfixturevalue(request.param), f"held_{uuid4().hex[:10]}"
    option = "schema" if request.param == "postgres" else "namespace"
    return f"{server.url()}?{option}={name}"


@pytest.fixture
async def queue(url: str) -> AsyncIterator[JobQueueAdapter]:
    queue = compose.job_queue(url, lease=LEASE)
    await queue.initialize()
    yield queue
    await queue.close()


async def test_recovery_that_had_to_wait_takes_no_lease_that_could_not_be_renewed_meanwhile(
    url: str, queue: JobQueueAdapter
) -> None:
    another, witness, calm = compose.job_queue(url, lease=LEASE), witness_of(url), threading.Event()
    await another.initialize()
    try:
        await another.recover()
        lease = await leased_job(queue, max_retries=0)
        held = asyncio.create_task(asyncio.to_thread(witness.hold, 2.5 * LEASE, calm))
        await asyncio.sleep(1.5 * LEASE)  # the lease runs out while nobody can renew it
        recovery = asyncio.create_task(another.recover())
        await asyncio.sleep(LEASE / 4)
        renewal = asyncio.create_task(queue.renew([lease]))
        assert await held is not None
        assert await recovery == []
        assert [renewed.answer for renewed in await renewal] == [Answer.OK]
        assert (await record(queue, lease.job_id)).expiry_count == 0
    finally:
        await another.close()
