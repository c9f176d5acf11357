"""Three hosts with addresses of their own share one store; one is cut off, one is killed."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from portico import compose
from portico.exceptions import QueueConnectionError
from portico.ports.draft import Draft
from portico.ports.job import Job, QueueStats
from portico.ports.job_queue import JobQueueAdapter
from tests.support.hosts import Network, network
from tests.support.servers import PostgresServer, RedisServer, server_folder
from tests.support.supervisors import COMMAND, Place, SupervisorProcess, place
from tests.support.waiting import wait_until

JOBS = 20_000
LEASE = 4
APP = "tests.support.host_app:app"

pytestmark = [pytest.mark.servers, pytest.mark.slow]


@pytest.fixture
def net() -> Iterator[Network]:
    with network() as net:
        yield net


@pytest.fixture(params=["postgres", "redis"])
def url(request: pytest.FixtureRequest, net: Network) -> Iterator[str]:
    """A store on a host of its own."""
    folder, host = server_folder(request.param), net.host("store")
    server: PostgresServer | RedisServer
    if request.param == "postgres":
        server = PostgresServer(folder / "server", on=host)
        options = "?sslmode=disable&command_timeout=2&connect_timeout=2"
    else:
        server = RedisServer(folder / "server", on=host)
        options = "?timeout=2&connect_timeout=2"
    server.start()
    yield server.url() + options
    server.kill()


@pytest.fixture
def here(tmp_path: Path, url: str) -> Iterator[Place]:
    with place(tmp_path) as here:
        here.url = url
        yield here


async def filled(queue: JobQueueAdapter) -> None:
    template = Draft.of(Job(uuid4(), "default", "host.brief", {}, max_retries=3))
    for _ in range(0, JOBS, 1000):
        await queue.insert([template._replace(id=uuid4()) for _ in range(1000)])


async def stats(queue: JobQueueAdapter) -> QueueStats:
    return await queue.get_queue_stats("default")


async def done(queue: JobQueueAdapter, count: int) -> None:
    """Wait until so many jobs are completed."""

    async def enough() -> bool:
        return (await stats(queue)).completed_count >= count

    await wait_until(enough, 90)


def executions(here: Place) -> dict[UUID, list[str]]:
    """On which hosts each job was executed, in order."""
    found: dict[UUID, list[str]] = {}
    for line in here.ledger.of("RAN"):
        found.setdefault(UUID(line[1]), []).append(line[-1])
    return found


@pytest.mark.fault("D29")
async def test_a_host_that_is_cut_off_and_one_that_is_killed_lose_nothing(
    here: Place, net: Network
) -> None:
    queue = compose.job_queue(here.url, lease=LEASE)
    await queue.initialize()
    await filled(queue)
    hosts = {name: net.host(name) for name in ("cut", "killed", "steady")}
    running: dict[str, SupervisorProcess] = {
        name: here.supervisor(
            "--lease", str(LEASE), "--concurrency", "8",
            app=APP, command=(*host.wrap, *COMMAND), HOST=name,
        )
        for name, host in hosts.items()
    }  # fmt: skip
    try:
        await done(queue, JOBS // 10)
        hosts["cut"].cut()
        await running["cut"].event("store_unreachable", 30)
        await done(queue, JOBS // 4)
        running["killed"].signal(signal.SIGKILL)
        await running["killed"].ended()
        await running["steady"].event("job_recovered", 30)
        await done(queue, JOBS // 2)
        hosts["cut"].join()
        await running["cut"].event("store_back", 30)
        await done(queue, JOBS)
        await nothing_is_lost_and_all_is_explained(queue, here, running)
    finally:
        with suppress(QueueConnectionError):
            await queue.close()


async def nothing_is_lost_and_all_is_explained(
    queue: JobQueueAdapter, here: Place, running: dict[str, SupervisorProcess]
) -> None:
    found, ran = await stats(queue), executions(here)
    assert found == QueueStats("default", 0, 0, JOBS, 0, 0)
    assert len(ran) == JOBS
    troubled = (f":{running['cut'].pid}", f":{running['killed'].pid}")
    causes: Counter[str] = Counter()
    for job_id in (job_id for job_id, where in ran.items() if len(where) > 1):
        record = await queue.inspect(job_id)
        assert record is not None
        assert record.accounted
        ended = [attempt for attempt in record.attempts if attempt.ended_as != "complete"]
        assert len(ran[job_id]) <= len(ended) + 1, (ran[job_id], record)
        for attempt in ended:
            causes[attempt.ended_as] += 1
            assert any(name in (attempt.owner or "") for name in troubled), attempt
    assert set(causes) <= {"expire"}
    print(f"{JOBS} jobs, {sum(map(len, ran.values()))} executions, again because: {dict(causes)}")
    print({name: sum(name in where for where in ran.values()) for name in running})
