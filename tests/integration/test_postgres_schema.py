"""The schema's versions keep what is there; its tables are set up for rows that change often."""

from __future__ import annotations

from uuid import uuid4

import psycopg
import pytest

from portico.adapters.job_queue import DatabaseJobQueueAdapter
from portico.adapters.job_queue._postgres import schema
from portico.adapters.job_queue._postgres.place import place_of
from portico.ports.job import JobStatus
from tests.support.servers import PostgresServer

pytestmark = pytest.mark.servers


@pytest.fixture
def url(postgres: PostgresServer) -> str:
    """A database of the test's own."""
    return postgres.url(postgres.database())


def migrated(url: str, version: int) -> None:
    """Make the schema as a release that knew these versions only had made it."""
    place, _ = place_of(url)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {place.quoted_schema}")
        for migration in schema.migrations()[:version]:
            connection.execute(schema._applied(migration, place).encode())


@pytest.mark.fault("D33")
@pytest.mark.parametrize("version", range(1, len(schema.migrations())))
async def test_an_older_schema_is_brought_to_the_newest_and_keeps_its_jobs(
    url: str, version: int
) -> None:
    migrated(url, version)
    waiting, completed = uuid4(), uuid4()
    with psycopg.connect(url, autocommit=True) as connection:
        for job_id, status, result in (
            (waiting, "pending", None),
            (completed, "completed", b'{"kept": true}'),
        ):
            connection.execute(
                "INSERT INTO portico.portico_jobs (id, queue_name, job_type, payload, priority,"
                " max_retries, metadata, status, run_at, created_at, result, ended_by_attempt,"
                " attempt) VALUES (%s, 'default', 'a.b', '{\"n\": 1}', 0, 3, '{}', %s, 1, 1, %s,"
                " %s, %s)",
                (job_id, status, result, result is not None, int(result is not None)),
            )
        connection.execute("INSERT INTO portico.portico_totals VALUES ('default', 2)")

    queue = DatabaseJobQueueAdapter(url)
    await queue.initialize()
    try:
        job = await queue.dequeue("default", timeout=5)
        assert job is not None
        assert (job.id, job.payload) == (waiting, {"n": 1})
        await queue.acknowledge(waiting)
        assert await queue.get_result(completed) == {"kept": True}
        assert (await queue.get_queue_stats("default")).completed_count == 2
        record = await queue.inspect(waiting)
        assert record is not None
        assert record.accounted
        assert record.job.status is JobStatus.COMPLETED
    finally:
        await queue.close()
    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT version FROM portico.portico_schema").fetchall()
    assert found == [(len(schema.migrations()),)]


def test_pages_of_jobs_leave_room_and_are_cleaned_up_often(url: str) -> None:
    """A row is written three times at least: settings that fit a table of the usual kind do not."""
    migrated(url, len(schema.migrations()))
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT relname, reloptions FROM pg_class WHERE relname LIKE 'portico%'"
            " AND reloptions IS NOT NULL"
        ).fetchall()
    settings = {name: dict(one.split("=") for one in options) for name, options in rows}
    jobs = settings["portico_jobs"]
    assert int(jobs["fillfactor"]) < 100
    assert float(jobs["autovacuum_vacuum_scale_factor"]) <= 0.02
    assert float(jobs["autovacuum_analyze_scale_factor"]) <= 0.05
    assert int(jobs["autovacuum_vacuum_cost_delay"]) <= 1
    assert int(settings["portico_owners"]["fillfactor"]) <= 50
    assert float(settings["portico_totals"]["autovacuum_vacuum_scale_factor"]) <= 0.1
