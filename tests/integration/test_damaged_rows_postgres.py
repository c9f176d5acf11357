"""Every column of PostgreSQL's tables, set to what it never holds: one damaged row costs its own
job."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from importlib.resources import files
from typing import NamedTuple

import asyncpg
import pytest

from portico.adapters.job_queue import DatabaseJobQueueAdapter
from portico.ports.job import Job, JobStatus
from portico.ports.leasing import Answer, JobFilter, Lease, Settlement, Transition
from tests.support.damage import FAILURE, told, with_history
from tests.support.jobs import make_job
from tests.support.servers import PostgresServer

pytestmark = pytest.mark.servers

ODD = {
    "bigint": ["NULL", "9223372036854775807", "-9223372036854775808", "-1", "0"],
    "integer": ["NULL", "2147483647", "-2147483648", "-1", "99"],
    "text": ["NULL", "''", "'no such word'", "'running'", "repeat('x', 9000)"],
    "bytea": [
        "NULL", "''", r"'\x00ff'", "'{'", "'[]'", "convert_to(repeat('[', 50000), 'UTF8')",
        "convert_to(repeat('a', 100), 'UTF8')",
    ],
    "uuid": ["NULL", "'00000000-0000-0000-0000-000000000000'"],
    "boolean": ["NULL", "true"],
    "double precision": ["NULL", "'NaN'", "'Infinity'", "'-Infinity'", "-1"],
}  # fmt: skip
"""As SQL. The schema forbids some of them."""
KEYS = {"seq"}
"""Another number there is another place in line, and nothing odd."""
ENDED = (JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.DEAD_LETTER)


def columns() -> Iterator[tuple[str, str, str]]:
    folder = files("portico.adapters.job_queue._postgres") / "migrations"
    tables = (folder / "0001_jobs.sql").read_text()
    for table in ("portico_jobs", "portico_attempts"):
        body = tables.partition(f".{table} (")[2].partition("\n)")[0]
        for name, kind in re.findall(rf"^    (\w+) ({'|'.join(ODD)})\b", body, re.MULTILINE):
            if name not in KEYS:
                yield table, name, kind


@pytest.fixture(scope="module")
def url(postgres: PostgresServer) -> str:
    return postgres.url(postgres.database())


@pytest.fixture
async def queue(url: str) -> AsyncIterator[DatabaseJobQueueAdapter]:
    opened = DatabaseJobQueueAdapter(f"{url}?pool_size=2")
    await opened.initialize()
    yield opened
    await opened.close()


@pytest.fixture
async def outsider(
    url: str, queue: DatabaseJobQueueAdapter
) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    del queue  # makes the tables
    connection = await asyncpg.connect(url, server_settings={"search_path": "portico"})
    await connection.execute(
        "ALTER TABLE portico_jobs DROP CONSTRAINT IF EXISTS portico_jobs_names"
    )
    yield connection
    for table in ("attempts", "jobs", "totals"):
        await connection.execute(f"DELETE FROM portico_{table}")
    await connection.close()


class Scene(NamedTuple):
    """One job that is to be damaged, and its neighbours: one in each way of living."""

    damaged: Job
    lease: list[Lease]
    held: Lease
    stale: Lease
    dead: Job
    waiting: Job


async def leased(queue: DatabaseJobQueueAdapter) -> Lease:
    job = await queue.enqueue(make_job(max_retries=9, priority=9))
    [lease] = (await queue.exchange((), ("default",), 1)).leases
    assert lease.job_id == job.id
    return lease


async def scene(queue: DatabaseJobQueueAdapter, status: str) -> Scene:
    fallen = await leased(queue)
    end = Settlement(fallen.id, fallen.token, Transition.QUARANTINE, failure=FAILURE)
    await queue.exchange([end], (), 0)
    held, stale = await leased(queue), await leased(queue)
    damaged, lease = await with_history(queue, status)
    dead = await queue.get_job(fallen.job_id)
    assert dead is not None
    return Scene(damaged, lease, held, stale, dead, await queue.enqueue(make_job(priority=-1)))


async def shown(queue: DatabaseJobQueueAdapter, there: Scene) -> None:
    """Listings and counts show the neighbours, and the damaged job too."""
    jobs = (await queue.list_jobs(JobFilter(), 9)).jobs
    assert len(jobs) == 5
    assert there.waiting.id in {job.id for job in jobs}
    assert (await queue.all_stats())["default"].pending_count >= 1
    await queue.get_queue_stats("default")
    await told(lambda: queue.inspect(there.damaged.id))
    await told(lambda: queue.get_job(there.damaged.id))
    await told(lambda: queue.get_result(there.damaged.id))


async def run(queue: DatabaseJobQueueAdapter, there: Scene, first: Transition | None) -> None:
    """The waiting ones are leased, and settled in one batch with the damaged attempt."""
    leases = (await queue.exchange((), ("default",), 5)).leases
    [mine] = [lease for lease in leases if lease.job_id == there.waiting.id]
    healthy = [Settlement(one.id, one.token, Transition.COMPLETE) for one in (mine, there.held)]
    others = [
        Settlement(one.id, one.token, first, failure=FAILURE)
        for one in [*there.lease, *(one for one in leases if one is not mine)]
        if first is not None
    ]
    receipts = (await queue.exchange([*others, *healthy], (), 0)).receipts
    assert [receipt.answer for receipt in receipts[-2:]] == [Answer.OK, Answer.OK]


@pytest.mark.parametrize(
    ("status", "end"),
    [("retrying", Transition.COMPLETE), ("running", Transition.CRASH), ("running", None)],
)
@pytest.mark.parametrize(("table", "column", "kind"), list(columns()), ids=lambda name: name)
async def test_an_odd_value_in_any_column_stops_nothing_but_its_own_job(
    table: str,
    column: str,
    kind: str,
    status: str,
    end: Transition | None,
    queue: DatabaseJobQueueAdapter,
    outsider: asyncpg.Connection[asyncpg.Record],
) -> None:
    key = "id" if table == "portico_jobs" else "job_id"
    for value in ODD[kind]:
        there = await scene(queue, status)
        row = await outsider.fetchval(
            "UPDATE portico_jobs SET cancel_requested = status = 'running' "
            "WHERE id = $1 RETURNING seq",
            there.damaged.id,
        )
        with suppress(asyncpg.IntegrityConstraintViolationError):
            await outsider.execute(
                f"UPDATE {table} SET {column} = {value} WHERE {key} = $1", there.damaged.id
            )
        await shown(queue, there)
        assert await queue.request_cancel(there.held.job_id)
        assert there.held.key in await queue.cancel_requests(), value
        renewals = await queue.renew([*there.lease, there.held])
        assert renewals[-1].answer is Answer.OK, value
        await run(queue, there, end)
        await outsider.execute(
            "UPDATE portico_jobs SET expires_at = 0 WHERE id = $1 OR seq = $2",
            there.stale.job_id,
            row,
        )
        assert there.stale.id in {one.lease.id for one in await queue.recover(10)}, value
        await shown_again(queue, outsider, there, row)


async def shown_again(
    queue: DatabaseJobQueueAdapter,
    outsider: asyncpg.Connection[asyncpg.Record],
    there: Scene,
    row: int,
) -> None:
    """What is over is redriven and purged beside the damaged row, which is over now too."""
    assert len((await queue.list_jobs(JobFilter(), 9)).jobs) == 5
    found = await outsider.fetchval(
        "UPDATE portico_jobs SET status = 'dead_letter' WHERE seq = $1 RETURNING id", row
    )
    assert there.dead.id in await queue.redrive([found, there.dead.id])
    await outsider.execute("UPDATE portico_jobs SET status = 'dead_letter' WHERE seq = $1", row)
    assert await queue.purge(JobFilter(statuses=ENDED), 9) == 3
    await queue.all_stats()
    for name in ("attempts", "jobs", "totals"):
        await outsider.execute(f"DELETE FROM portico_{name}")
