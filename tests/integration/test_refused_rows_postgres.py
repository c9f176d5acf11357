"""Rows that make PostgreSQL refuse what is asked of many: one costs its own job."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import UUID

import asyncpg
import psycopg
import pytest

from portico.adapters.job_queue import DatabaseJobQueueAdapter
from portico.adapters.job_queue._postgres import leasing, schema
from portico.adapters.job_queue._postgres.place import place_of
from portico.exceptions import DatabaseError
from portico.ports.job import JobStatus
from portico.ports.leasing import Answer, Lease
from portico.ports.wanted import EVERYTHING, Wanted
from tests.support.jobs import ended, make_job
from tests.support.servers import PostgresServer
from tests.support.supervisors import Place

pytestmark = [pytest.mark.servers, pytest.mark.security("S28")]

LONG = "(SELECT string_agg(md5(n::text), '') FROM generate_series(1, 1000) n)"
"""What no index takes, for it cannot be compressed either."""


@pytest.fixture
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
    """With all rights on the tables."""
    del queue  # makes the tables
    connection = await asyncpg.connect(url, server_settings={"search_path": "portico"})
    yield connection
    await connection.close()


async def leased(queue: DatabaseJobQueueAdapter, count: int) -> list[Lease]:
    for number in range(count):
        await queue.enqueue(make_job(priority=count - number, max_retries=9))
    return (await queue.exchange((), ("default",), count)).leases


async def test_names_that_no_index_takes_are_refused_to_everybody(
    queue: DatabaseJobQueueAdapter, outsider: asyncpg.Connection[asyncpg.Record]
) -> None:
    await leased(queue, 1)
    for column in ("queue_name", "job_type"):
        with pytest.raises(asyncpg.CheckViolationError):
            await outsider.execute(f"UPDATE portico_jobs SET {column} = repeat('x', 129)")


async def damage(
    outsider: asyncpg.Connection[asyncpg.Record], column: str, job_id: UUID, *, late: bool
) -> None:
    """Give a column more than it may hold; `late`: the CHECK comes when that is done."""
    await outsider.execute("ALTER TABLE portico_jobs DROP CONSTRAINT IF EXISTS portico_jobs_names")
    await outsider.execute(f"UPDATE portico_jobs SET {column} = {LONG} WHERE id = $1", job_id)
    if late:
        await outsider.execute(
            "ALTER TABLE portico_jobs ADD CONSTRAINT portico_jobs_names CHECK"
            " (octet_length(queue_name) <= 128 AND octet_length(job_type) <= 128) NOT VALID"
        )


async def is_buried(
    outsider: asyncpg.Connection[asyncpg.Record], queue: DatabaseJobQueueAdapter, job_id: UUID
) -> None:
    record = await queue.inspect(job_id)
    assert record is not None
    assert (record.job.status, record.error_type) == (JobStatus.DEAD_LETTER, "RowDamaged")
    assert len(record.job.queue_name) <= 128
    [was] = await outsider.fetch("SELECT was FROM portico_damaged")
    assert str(job_id) in was[0]


@pytest.mark.parametrize("late", [True, False], ids=["by a check", "by an index"])
async def test_what_cannot_be_recovered_keeps_no_other_from_it(
    queue: DatabaseJobQueueAdapter, outsider: asyncpg.Connection[asyncpg.Record], late: bool
) -> None:
    damaged, *others = await leased(queue, 3)
    await outsider.execute("UPDATE portico_jobs SET expires_at = 0")
    await damage(outsider, "queue_name", damaged.job_id, late=late)
    recovered = {one.lease.job_id for one in await queue.recover(10)}
    assert recovered == {lease.job_id for lease in others}
    await is_buried(outsider, queue, damaged.job_id)


@pytest.mark.parametrize("wanted", [EVERYTHING, Wanted(frozenset({"other"}))], ids=["all", "some"])
@pytest.mark.parametrize("status", ["pending", "retrying"])
async def test_what_cannot_be_leased_keeps_no_other_from_it(
    queue: DatabaseJobQueueAdapter,
    outsider: asyncpg.Connection[asyncpg.Record],
    wanted: Wanted,
    status: str,
) -> None:
    damaged, *others = [await queue.enqueue(make_job(priority=3 - n)) for n in range(3)]
    await outsider.execute("UPDATE portico_jobs SET status = $1", status)
    await damage(outsider, "job_type", damaged.id, late=True)
    leases = (await queue.exchange((), ("default",), 10, wanted)).leases
    assert [lease.job_id for lease in leases] == [job.id for job in others]
    await is_buried(outsider, queue, damaged.id)


@pytest.mark.parametrize("wanted", [EVERYTHING, Wanted(frozenset({"other"}))], ids=["all", "some"])
async def test_what_a_trigger_lets_nobody_lease_keeps_no_other_from_it(
    queue: DatabaseJobQueueAdapter,
    outsider: asyncpg.Connection[asyncpg.Record],
    wanted: Wanted,
) -> None:
    refused, other = [await queue.enqueue(make_job(priority=3 - n)) for n in range(2)]
    await outsider.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql"
        " AS $$ BEGIN RAISE EXCEPTION 'not this one'; END $$;"
        "CREATE TRIGGER refuse BEFORE UPDATE ON portico_jobs FOR EACH ROW"
        " WHEN (NEW.priority = 3 AND NEW.status = 'running') EXECUTE FUNCTION refuse()"
    )
    leases = (await queue.exchange((), ("default",), 10, wanted)).leases
    assert [lease.job_id for lease in leases] == [other.id]
    await is_buried(outsider, queue, refused.id)


async def test_what_cannot_be_renewed_is_lost_alone(
    queue: DatabaseJobQueueAdapter, outsider: asyncpg.Connection[asyncpg.Record]
) -> None:
    leases = await leased(queue, 5)
    await damage(outsider, "job_type", leases[3].job_id, late=True)
    answers = [renewal.answer for renewal in await queue.renew(leases)]
    assert answers == [Answer.OK, Answer.OK, Answer.OK, Answer.LOST, Answer.OK]


async def test_counts_that_add_up_to_no_number_cost_neither_counts_nor_what_was_recovered(
    queue: DatabaseJobQueueAdapter,
    outsider: asyncpg.Connection[asyncpg.Record],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    [lease] = await leased(queue, 1)
    for name in ("default", "default", "other", "other"):
        most = 2**63 - 1 if name == "default" else -(2**63)
        await outsider.execute("INSERT INTO portico_totals VALUES ($1, $2)", name, most)
    assert (await queue.all_stats())["default"].running_count == 1
    await outsider.execute("UPDATE portico_jobs SET expires_at = 0")
    monkeypatch.setattr(leasing, "_TIDY_EVERY", -1.0)
    assert [one.lease.job_id for one in await queue.recover(10)] == [lease.job_id]


async def test_no_message_quotes_the_row_that_was_refused(
    queue: DatabaseJobQueueAdapter, outsider: asyncpg.Connection[asyncpg.Record]
) -> None:
    job = await queue.enqueue(make_job(payload={"card": "4111-CANARY"}))
    await damage(outsider, "job_type", job.id, late=True)
    with pytest.raises(DatabaseError) as refused:
        await queue.cancel_job(job.id)
    assert "portico_jobs_names" in str(refused.value)
    assert "CANARY" not in str(refused.value)
    assert "Failing row" not in str(refused.value)


def test_the_schema_of_before_gets_its_checks_past_damaged_rows(url: str) -> None:
    place, _ = place_of(url)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA portico")
        for migration in schema.migrations()[:3]:
            connection.execute(schema._applied(migration, place).encode())
        for name in ("'default'", "repeat('x', 500)"):
            connection.execute(
                "INSERT INTO portico.portico_jobs (id, queue_name, job_type, payload, priority,"
                " max_retries, metadata, status, run_at, created_at)"
                f" VALUES (gen_random_uuid(), {name}, 'a.b', '{{}}', 0, 3, '{{}}', 'pending', 1, 1)"
            )
        for migration in schema.migrations()[3:]:
            connection.execute(schema._applied(migration, place).encode())
        found = connection.execute(
            "SELECT status, octet_length(queue_name) FROM portico.portico_jobs ORDER BY seq"
        ).fetchall()
        kept = connection.execute("SELECT count(*) FROM portico.portico_damaged").fetchone()
    assert found == [("pending", 7), ("dead_letter", 128)]
    assert kept == (1,)


async def test_a_buried_name_is_one_that_may_be_written_again(
    queue: DatabaseJobQueueAdapter, outsider: asyncpg.Connection[asyncpg.Record]
) -> None:
    damaged, healthy = await leased(queue, 2)
    await outsider.execute("ALTER TABLE portico_jobs DROP CONSTRAINT portico_jobs_names")
    for column in ("queue_name", "job_type"):
        await outsider.execute(
            f"UPDATE portico_jobs SET {column} = repeat('€', 100) WHERE id = $1", damaged.job_id
        )
    await outsider.execute("SELECT portico_bury(seq) FROM portico_jobs")
    await outsider.execute(
        "ALTER TABLE portico_jobs ADD CONSTRAINT portico_jobs_names CHECK"
        " (octet_length(queue_name) <= 128 AND octet_length(job_type) <= 128)"
    )
    ids = [damaged.job_id, healthy.job_id]
    assert await queue.redrive(ids) == ids


async def test_a_supervisor_serves_beside_a_row_that_its_server_refuses_to_recover(
    here: Place,
    url: str,
    queue: DatabaseJobQueueAdapter,
    outsider: asyncpg.Connection[asyncpg.Record],
) -> None:
    damaged, _ = await leased(queue, 2)
    await outsider.execute("UPDATE portico_jobs SET expires_at = 0")
    await damage(outsider, "queue_name", damaged.job_id, late=False)
    healthy = await queue.enqueue(make_job(job_type="test.fine"))
    here.url = url
    supervisor = here.supervisor("--workers", "1")
    assert (await ended(queue, healthy.id)).status is JobStatus.COMPLETED
    assert supervisor.events("job_dead_lettered", error_type="RowDamaged")
    assert supervisor.process.poll() is None
