"""Another role of the same PostgreSQL database, without any right on the schema of the queue, that
may create functions and operators in `public`: they never run with the rights of Portico's role."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta

import asyncpg
import psycopg
import pytest

from portico import compose
from portico.adapters.job_queue import DatabaseJobQueueAdapter
from portico.ports.job import JobStatus
from portico.ports.leasing import Answer, Failure, JobFilter, Lease, Settlement, Transition
from portico.ports.wanted import Wanted
from tests.support.jobs import make_job
from tests.support.servers import PostgresServer
from tests.support.traps import lay_traps

pytestmark = [pytest.mark.servers, pytest.mark.security("S9")]

FAILURE = Failure("ValueError", "it broke", "Traceback")
ENDED = (JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.DEAD_LETTER)
TABLES = ", ".join(f"portico.portico_{name}" for name in ("jobs", "attempts", "totals", "owners"))


@pytest.fixture(scope="module")
def url(postgres: PostgresServer) -> str:
    """A database in whose `public` anybody's functions wait for callers."""
    name = postgres.database()
    with psycopg.connect(postgres.url(name), autocommit=True) as admin:
        lay_traps(admin)
    return postgres.url(name)


@pytest.fixture
def nothing_sprung(postgres: PostgresServer) -> Iterator[None]:
    """The server met no error: what is asked in the background keeps its errors to itself."""
    before = postgres.log.stat().st_size
    yield
    said = postgres.log.read_bytes()[before:].decode(errors="replace")
    assert "ERROR" not in said, said


@pytest.fixture(params=["no", "yes"], ids=["direct", "pooled"])
async def queue(
    request: pytest.FixtureRequest, url: str, nothing_sprung: None
) -> AsyncIterator[DatabaseJobQueueAdapter]:
    """Behind a pooler no session keeps settings of ours."""
    opened = DatabaseJobQueueAdapter(f"{url}?pgbouncer={request.param}&max_pending=50")
    await opened.initialize()
    yield opened
    await opened.close()
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(f"TRUNCATE {TABLES}")


async def settled(queue: DatabaseJobQueueAdapter, leases: list[Lease]) -> None:
    """One of them completed, and the others each ended in another way."""
    ends = [
        Settlement(lease.id, lease.token, kind, failure=FAILURE)
        for lease, kind in zip(leases, Transition, strict=False)
    ]
    for some in (ends[:1], ends[1:]):
        answers = (await queue.exchange(some, ("default",), 0)).receipts
        assert {receipt.answer for receipt in answers} == {Answer.OK}
    again = (await queue.exchange(ends, ("default",), 0)).receipts
    assert {receipt.answer for receipt in again} <= {Answer.ALREADY, Answer.LOST}


async def test_what_runs_jobs_steps_past_the_traps_of_another_role(
    queue: DatabaseJobQueueAdapter, url: str
) -> None:
    later = datetime.now(UTC) + timedelta(hours=1)
    for number in range(len(Transition)):
        await queue.enqueue(make_job(priority=number))
    await queue.enqueue(make_job(scheduled_at=later))
    await settled(queue, (await queue.exchange((), ("default",), 99)).leases)
    await queue.enqueue(make_job(job_type="other.type"))
    wanted = Wanted(frozenset({"other.type"}), only=True)
    [lease] = (await queue.exchange((), ("default",), 5, wanted)).leases
    await queue.exchange((), ("default",), 50)  # what waited for its time is due
    assert (await queue.renew([lease]))[0].answer is Answer.OK
    assert await queue.request_cancel(lease.job_id)
    assert await queue.cancel_requests() == [lease.key]
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute("UPDATE portico.portico_jobs SET expires_at = 0 WHERE status = 'running'")
    assert lease.job_id in {one.lease.job_id for one in await queue.recover(50)}


async def test_what_people_ask_steps_past_the_traps_of_another_role(
    queue: DatabaseJobQueueAdapter,
) -> None:
    jobs = [await queue.enqueue(make_job(metadata={"tenant": "7"})) for _ in range(3)]
    [lease] = (await queue.exchange((), ("default",), 1)).leases
    assert await queue.cancel_job(jobs[1].id)
    end = Settlement(lease.id, lease.token, Transition.QUARANTINE, failure=FAILURE)
    await queue.exchange([end], (), 0)
    assert await queue.redrive([lease.job_id]) == [lease.job_id]
    now = datetime.now(UTC)
    for asked in (
        JobFilter(),
        JobFilter(queue_name="default", job_type=jobs[0].job_type, statuses=tuple(JobStatus)),
        JobFilter(metadata={"tenant": "7"}, statuses=(JobStatus.FAILED,)),
        JobFilter(created_after=now - timedelta(days=1), created_before=now, documents=False),
        JobFilter(created_by="somebody", id_prefix=jobs[0].id.hex[:8]),
    ):
        await queue.list_jobs(asked, 2)
    assert await queue.inspect(lease.job_id) is not None
    assert await queue.get_job(lease.job_id) is not None
    await queue.all_stats()
    await queue.get_queue_stats("default")
    await queue.outlook()
    assert await queue.served()
    assert await queue.purge(JobFilter(statuses=ENDED, older_than=0.0)) == 1


WORST = "SET search_path = public, pg_catalog"
"""The application's own choice, and its own harm; ours must not add to it."""


@pytest.mark.parametrize("path", [None, WORST], ids=["usual path", "worst path"])
async def test_jobs_created_within_a_callers_transaction_step_past_them_as_well(
    url: str, queue: DatabaseJobQueueAdapter, path: str | None
) -> None:
    service = compose.job_service(f"{url}?max_pending=50")
    with psycopg.connect(url) as connection:
        if path:
            connection.execute(path)
        service.within_sync(connection).create_job("a.b", {"n": 1}, created_by="ann")
        connection.commit()
    awaited = await asyncpg.connect(url)
    try:
        if path:
            await awaited.execute(path)
        async with awaited.transaction():
            await service.within(awaited).create_job("a.b", {"n": 2}, delay=60)
    finally:
        await awaited.close()
    assert (await queue.get_queue_stats("default")).total == 2
