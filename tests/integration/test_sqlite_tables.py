"""The tables of an SQLite file refuse what does not belong there, and an older file becomes one of
theirs with all that is in it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from portico.adapters.job_queue import DatabaseJobQueueAdapter
from portico.adapters.job_queue._sqlite import schema
from portico.ports.job import Job, JobStatus
from portico.ports.leasing import Settlement, Transition
from tests.support.jobs import make_job

ODD = {
    "id": (b"short", "x" * 16, None),
    "job_type": (b"noop", "x" * 129, None),
    "queue_name": (b"default", "x" * 32_000, None),
    "status": (b"running", None),
    "priority": ("text", 2**31, 0.5),
    "attempt": ("text", 0.5, None),
    "max_retries": (-1, 2**31),
    "retry_count": (-1, 2**31, b"1"),
    "crash_count": (2**62,),
    "created_at": (2**62, "now"),
    "scheduled_at": (-(2**62),),
    "created_by": (b"short", "ann"),
    "payload": (1, None),
    "error_message": ("x" * 70_000, b"text"),
    "owner_beat": ("text",),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


@pytest.fixture
def outsider(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


async def opened(path: Path) -> DatabaseJobQueueAdapter:
    queue = DatabaseJobQueueAdapter(f"sqlite:///{path}?durability=normal")
    await queue.initialize()
    return queue


async def test_nobody_can_write_what_portico_does_not(
    path: Path, outsider: sqlite3.Connection
) -> None:
    queue = await opened(path)
    job = await queue.enqueue(make_job())
    for column, values in ODD.items():
        for value in values:
            with pytest.raises(sqlite3.IntegrityError):
                outsider.execute(f"UPDATE portico_jobs SET {column} = ?", (value,))
    for table, column in (("portico_queues", "total"), ("portico_owners", "beat")):
        outsider.execute(
            "INSERT OR IGNORE INTO portico_owners VALUES (9, '', '', '', 1, '', 1, 0, 1)"
        )
        with pytest.raises(sqlite3.IntegrityError):
            outsider.execute(f"UPDATE {table} SET {column} = 'text'")
    taken = await queue.dequeue("default", 0)
    assert taken is not None
    assert taken.id == job.id
    await queue.close()


@pytest.mark.parametrize("total", [2**63 - 1, -(2**63)])
async def test_a_count_at_the_end_of_all_numbers_stops_no_producer(
    path: Path, outsider: sqlite3.Connection, total: int
) -> None:
    queue = await opened(path)
    await queue.enqueue(make_job())
    outsider.execute("UPDATE portico_queues SET total = ?", (total,))
    await queue.enqueue(make_job())
    assert (await queue.get_queue_stats("default")).pending_count == 2
    await queue.close()


@pytest.fixture
async def older(
    path: Path, outsider: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> list[Job]:
    """Three jobs of a file of the release before: one sound, one damaged, one that has ended and
    was damaged then."""
    with monkeypatch.context() as earlier:
        earlier.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:2])
        queue = await opened(path)
        jobs = [await queue.enqueue(make_job(priority=3 - number)) for number in range(3)]
        leases = (await queue.exchange((), ("default",), 2)).leases
        end = [Settlement(one.id, one.token, Transition.COMPLETE, b'{"n":1}') for one in leases[:1]]
        end += [Settlement(one.id, one.token, Transition.RELEASE) for one in leases[1:]]
        await queue.exchange(end, (), 0)
        await queue.close()
    completed, damaged, sound = jobs
    outsider.execute("UPDATE portico_jobs SET priority = 'x' WHERE id = ?", (completed.id.bytes,))
    outsider.execute("UPDATE portico_jobs SET job_type = x'6e6f' WHERE id = ?", (damaged.id.bytes,))
    outsider.execute("UPDATE portico_queues SET total = 'many'")
    assert sound.priority == 1
    return jobs


async def test_an_older_file_keeps_every_job_and_buries_the_damaged_ones(
    path: Path, outsider: sqlite3.Connection, older: list[Job]
) -> None:
    completed, damaged, sound = older
    queue = await opened(path)
    buried = await queue.inspect(damaged.id)
    assert buried is not None
    assert (buried.job.status, buried.error_type) == (JobStatus.DEAD_LETTER, "RowDamaged")
    assert await queue.get_result(completed.id) == {"n": 1}
    taken = await queue.dequeue("default", 0)
    assert taken is not None
    assert taken.id == sound.id
    stats = await queue.get_queue_stats("default")
    assert (stats.total, stats.completed_count, stats.dead_letter_count) == (3, 1, 1)
    kept = dict(outsider.execute("SELECT table_name || row_number, was FROM portico_damaged"
                                 " WHERE row_number IS NOT NULL"))  # fmt: skip
    assert "job_type = X'6E6F'" in kept["portico_jobs2"]
    assert "priority = 'x'" in kept["portico_jobs1"]
    assert len(kept) == 2
    await queue.close()


async def test_what_the_application_has_made_on_a_table_stays(
    path: Path, outsider: sqlite3.Connection, older: list[Job]
) -> None:
    for statement in (
        "CREATE VIEW waiting AS SELECT id FROM portico_jobs WHERE status = 'pending'",
        "CREATE INDEX by_kind ON portico_jobs (job_type)",
        "CREATE TABLE ended (id BLOB)",
        "CREATE TRIGGER told AFTER UPDATE OF status ON portico_jobs BEGIN"
        " INSERT INTO ended VALUES (new.id); END",
    ):
        outsider.execute(statement)
    queue = await opened(path)
    await queue.dequeue("default", 0)
    assert outsider.execute("SELECT id FROM ended").fetchall() == [(older[2].id.bytes,)]
    assert outsider.execute("SELECT count(*) FROM waiting").fetchone() == (0,)
    assert outsider.execute("SELECT 1 FROM sqlite_master WHERE name = 'by_kind'").fetchone()
    await queue.close()


async def test_the_numbers_of_owners_go_on(
    path: Path, outsider: sqlite3.Connection, older: list[Job]
) -> None:
    """A number that came again would own the leases of who had it before."""
    outsider.execute("UPDATE sqlite_sequence SET seq = 41 WHERE name = 'portico_owners'")
    outsider.execute("DELETE FROM portico_owners")
    queue = await opened(path)
    await queue.dequeue("default", 0)
    assert outsider.execute("SELECT id FROM portico_owners").fetchall() == [(42,)]
    await queue.close()


async def test_a_library_that_knows_no_strict_tables_can_read_what_is_made_for_it(
    path: Path, outsider: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    from portico.adapters.job_queue._sqlite import sound_tables

    made = sound_tables.script(schema._FIRST, strict=False)
    monkeypatch.setattr(schema, "MIGRATIONS", [*schema.MIGRATIONS[:2], made])
    queue = await opened(path)
    await queue.enqueue(make_job())
    [(table,)] = outsider.execute("SELECT sql FROM sqlite_master WHERE name = 'portico_jobs'")
    assert not table.rstrip().endswith("STRICT")
    for column in ("job_type", "priority", "created_at", "id"):
        with pytest.raises(sqlite3.IntegrityError):
            outsider.execute(f"UPDATE portico_jobs SET {column} = x'00'")
    await queue.close()
