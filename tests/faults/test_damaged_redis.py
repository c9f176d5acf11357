"""A supervisor on a Redis namespace that somebody else writes to, and what commands say of it."""

from __future__ import annotations

import json
import subprocess
import sys
from uuid import UUID

import pytest
import redis as driver

from portico.ports.job import JobStatus
from portico.ports.job_queue import JobQueueAdapter
from tests.faults.server_faults import APP
from tests.integration.test_damaged_keys_redis import KINDS, OF_A_JOB, OF_ALL, garbage
from tests.support.jobs import ended, make_job
from tests.support.redis_queues import own_namespace
from tests.support.servers import RedisServer
from tests.support.supervisors import ROOT, Place
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.servers, pytest.mark.security("S28")]


@pytest.fixture
def namespace(here: Place, redis: RedisServer) -> str:
    """The prefix of the keys of the queue that is tried."""
    here.url = own_namespace(redis.url())
    return f"portico:{{{here.url.rpartition('=')[2]}}}:"


@pytest.fixture
def client(redis: RedisServer) -> driver.Redis:
    return driver.Redis(port=redis.port)


def command(here: Place, *verb: str) -> subprocess.CompletedProcess[str]:
    told = subprocess.run(
        [sys.executable, "-m", "portico.cli", "--queue-url", here.url, *verb],
        capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    assert "Traceback" not in told.stderr, told.stderr
    return told


async def is_dead(queue: JobQueueAdapter, job_id: UUID) -> bool:
    found = await queue.inspect(job_id)
    return found is not None and found.job.status is JobStatus.DEAD_LETTER


async def sound_jobs_complete(queue: JobQueueAdapter, count: int = 20) -> None:
    jobs = [await queue.enqueue(make_job(job_type="test.fine")) for _ in range(count)]
    for job in jobs:
        assert (await ended(queue, job.id)).status is JobStatus.COMPLETED


@pytest.mark.fault("D21")
async def test_a_supervisor_outlives_whatever_is_written_into_its_namespace(
    here: Place, namespace: str, queue: JobQueueAdapter, client: driver.Redis
) -> None:
    supervisor = here.supervisor("--lease", "3s", app=APP)
    await supervisor.started()
    garbage(client, namespace, [])
    await sound_jobs_complete(queue)
    for name, make in zip(OF_ALL, [*KINDS.values()] * 3, strict=False):
        if name != "all":  # which a list shows, and nothing else needs
            client.delete(namespace + name)
            make(client, namespace + name)
            await sound_jobs_complete(queue, 2)
    await supervisor.event("store_key_damaged")
    assert supervisor.process.poll() is None
    assert not [event for event in supervisor.events() if event.get("level") == "critical"]


async def test_jobs_whose_keys_are_lost_take_no_other_with_them_and_the_command_shows_them(
    here: Place, namespace: str, queue: JobQueueAdapter, client: driver.Redis
) -> None:
    cases = [(name, kind) for name in OF_A_JOB for kind in KINDS]
    victims = [
        (await queue.enqueue(make_job(job_type="test.raise_error", priority=9, max_retries=0))).id
        for _ in cases
    ]
    jobs = [await queue.enqueue(make_job(job_type="test.fine")) for _ in range(20)]
    for (name, kind), victim in zip(cases, victims, strict=True):
        client.delete(f"{namespace}{name}:{victim.hex}")
        KINDS[kind](client, f"{namespace}{name}:{victim.hex}")
    for verb in (["status"], ["jobs", "list"], ["jobs", "list", "--json"]):
        command(here, *verb)
    lost = victims[0]
    assert "its row is lost" in command(here, "jobs", "show", str(lost)).stdout
    supervisor = here.supervisor("--lease", "3s", app=APP)
    for job in jobs:
        assert (await ended(queue, job.id)).status is JobStatus.COMPLETED
    for victim in victims:
        await wait_until(lambda victim=victim: is_dead(queue, victim))  # type: ignore[misc]
    listed = json.loads(command(here, "dead", "list", "--json").stdout)
    assert {UUID(one["id"]) for one in listed["jobs"]} == set(victims)
    told = command(here, "dead", "show", str(lost))
    assert "RowDamaged" in told.stdout
    await wait_until(lambda: len(supervisor.events("job_dead_lettered")) >= len(victims))
    assert supervisor.process.poll() is None
