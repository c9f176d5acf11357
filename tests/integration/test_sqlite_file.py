"""What the file behind an SQLite queue may do to it, and what it must not."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import pytest

from portico.adapters.job_queue import DatabaseJobQueueAdapter
from portico.adapters.job_queue._sqlite import choosing, granting, reading, schema
from portico.adapters.job_queue._sqlite import connection as sqlite_connection
from portico.exceptions import (
    ConfigurationError,
    ConflictError,
    DatabaseError,
    QueueConnectionError,
)
from portico.ports.draft import Draft
from portico.ports.job import JobStatus
from portico.ports.leasing import JobFilter, Settlement, Transition
from tests.support.jobs import make_job
from tests.support.modesty import as_nobody
from tests.support.waiting import wait_until


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


@pytest.fixture
async def queue(path: Path) -> AsyncIterator[DatabaseJobQueueAdapter]:
    queue = DatabaseJobQueueAdapter(f"sqlite:///{path}", monotonic=lambda: clock[0])
    await queue.initialize()
    yield queue
    await queue.close()


clock = [1000.0]


@pytest.fixture
def outsider(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection of someone who knows nothing of Portico."""
    connection = sqlite3.connect(path, isolation_level=None, timeout=0)
    yield connection
    connection.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_connection, "BUSY_SECONDS", 0.05)


@pytest.fixture
def exposed() -> Iterator[Path]:
    """A directory that other users can reach."""
    with TemporaryDirectory() as directory:
        Path(directory).chmod(0o777)
        yield Path(directory)
        Path(directory).chmod(0o777)


async def opened(url: str) -> DatabaseJobQueueAdapter:
    queue = DatabaseJobQueueAdapter(url)
    await queue.initialize()
    return queue


async def refused(url: str) -> str:
    """The message with which a file is refused."""
    with pytest.raises(ConfigurationError) as caught:
        await opened(url)
    return str(caught.value)


async def sql(queue: DatabaseJobQueueAdapter, statement: str, *values: object) -> list[Any]:
    """Run a statement as the writer."""
    store: Any = queue._store
    return await store._write(lambda found: found.execute(statement, values).fetchall())


async def test_all_of_its_files_are_for_their_owner_alone(
    queue: DatabaseJobQueueAdapter, path: Path
) -> None:
    await queue.enqueue(make_job())
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert modes == dict.fromkeys(("jobs.db", "jobs.db-wal", "jobs.db-shm", "jobs.db-wake"), 0o600)


async def test_a_file_that_others_may_use_keeps_its_mode_and_lends_it(path: Path) -> None:
    path.touch()
    path.chmod(0o660)
    queue = await opened(f"sqlite:///{path}")
    await queue.enqueue(make_job())
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o660}
    await queue.close()


async def test_jobs_outlive_the_adapter(path: Path) -> None:
    first = await opened(f"sqlite:///{path}")
    job = await first.enqueue(make_job(payload={"n": 1}))
    await first.close()
    second = await opened(f"sqlite:///{path}")
    assert await second.get_job(job.id) == job
    await second.close()
    await second.initialize()
    assert await second.get_job(job.id) == job
    await second.close()


async def test_a_relative_path_means_the_directory_of_the_moment_it_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    queue = DatabaseJobQueueAdapter("sqlite:///with%20space.db")
    monkeypatch.chdir("/")
    await queue.initialize()
    await queue.close()
    assert (tmp_path / "with space.db").exists()


async def test_an_adapter_that_is_not_open_says_so(path: Path) -> None:
    queue = DatabaseJobQueueAdapter(f"sqlite:///{path}")
    for act in (queue.enqueue(make_job()), queue.get_job(uuid4()), queue.renew([])):
        with pytest.raises(QueueConnectionError, match="initialize"):
            await act


@pytest.mark.parametrize(
    ("query", "level"), [("", 2), ("?durability=full", 2), ("?durability=normal", 1)]
)
async def test_durability_is_full_unless_told_otherwise(path: Path, query: str, level: int) -> None:
    place = sqlite_connection.Place("", path, full=query != "?durability=normal")
    queue = await opened(f"sqlite:///{path}{query}")
    [[journal]] = await sql(queue, "PRAGMA journal_mode")
    [[synchronous]] = await sql(queue, "PRAGMA synchronous")
    assert (journal, synchronous, place.full) == ("wal", level, level == 2)
    await queue.close()


async def test_a_newer_schema_is_refused_and_left_alone(path: Path) -> None:
    await (await opened(f"sqlite:///{path}")).close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE portico_schema SET version = 99")
    connection.close()
    message = await refused(f"sqlite:///{path}")
    assert "99" in message
    assert f"up to {len(schema.MIGRATIONS)}" in message


async def test_a_file_at_the_first_version_is_upgraded(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await opened(f"sqlite:///{path}")
    job = await first.enqueue(make_job())
    await first.close()
    added = [*schema.MIGRATIONS, "ALTER TABLE portico_jobs ADD COLUMN colour TEXT"]
    monkeypatch.setattr(schema, "MIGRATIONS", added)
    second = await opened(f"sqlite:///{path}")
    assert await sql(second, "SELECT colour FROM portico_jobs") == [(None,)]
    assert await second.get_job(job.id) == job
    await second.close()


async def test_a_file_of_the_release_without_histories_keeps_its_jobs_and_gets_one(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as earlier:
        earlier.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:1])
        old = await opened(f"sqlite:///{path}")
        job = await old.enqueue(make_job())
        await old.close()
    queue = await opened(f"sqlite:///{path}")
    [lease] = (await queue.exchange((), (job.queue_name,), 1)).leases
    end = Settlement(lease.id, lease.token, Transition.RETRY)
    await queue.exchange([end], (), 0)
    record = await queue.inspect(job.id)
    assert record is not None
    assert [attempt.ended_as for attempt in record.attempts] == ["retry"]
    await queue.close()


async def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    message = await refused(f"sqlite:///{tmp_path}/missing/jobs.db")
    assert f"there is no directory {tmp_path}/missing" in message


async def test_a_directory_is_no_database(tmp_path: Path) -> None:
    assert "is a directory" in await refused(f"sqlite:///{tmp_path}")


async def test_a_file_of_another_kind_is_refused_and_left_alone(path: Path) -> None:
    path.write_text("not a database " * 100)
    assert "not an SQLite database" in await refused(f"sqlite:///{path}")
    assert path.read_text().startswith("not a database")


async def test_an_applications_own_database_can_hold_the_queue(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE jobs (name TEXT)")
        connection.execute("PRAGMA user_version = 7")
    connection.close()
    queue = await opened(f"sqlite:///{path}")
    await queue.enqueue(make_job())
    assert await sql(queue, "PRAGMA user_version") == [(7,)]
    await queue.close()


async def test_a_read_only_file_is_refused(exposed: Path) -> None:
    path = exposed / "jobs.db"
    await (await opened(f"sqlite:///{path}")).close()
    path.chmod(0o444)
    with as_nobody():
        assert "read-only" in await refused(f"sqlite:///{path}")


async def test_a_read_only_directory_is_refused(exposed: Path) -> None:
    exposed.chmod(0o555)
    with as_nobody():
        message = await refused(f"sqlite:///{exposed}/jobs.db")
    assert "the file and its directory" in message


async def test_a_directory_that_cannot_be_entered_is_refused(exposed: Path) -> None:
    exposed.chmod(0o000)
    with as_nobody():
        message = await refused(f"sqlite:///{exposed}/jobs.db")
    assert f"may not enter the directory {exposed}" in message


async def test_a_directory_that_is_closed_while_in_use_is_an_outage_that_names_it(
    exposed: Path,
) -> None:
    exposed.chmod(0o777)
    with as_nobody():
        queue = await opened(f"sqlite:///{exposed}/jobs.db")
    exposed.chmod(0o000)
    wanted = f"may not enter the directory {exposed}"
    with as_nobody(), pytest.raises(QueueConnectionError, match=wanted):
        await queue.get_job(uuid4())
    exposed.chmod(0o777)
    with as_nobody():
        assert await queue.get_job(uuid4()) is None
        await queue.close()


async def test_a_lock_of_an_outsider_delays_and_then_fails_without_losing_anything(
    impatient: None, queue: DatabaseJobQueueAdapter, outsider: sqlite3.Connection
) -> None:
    job = await queue.enqueue(make_job())
    outsider.execute("BEGIN IMMEDIATE")
    with pytest.raises(QueueConnectionError, match="locked"):
        await queue.enqueue(make_job())
    with pytest.raises(QueueConnectionError, match="locked"):
        await queue.dequeue("default", timeout=0)
    assert await queue.get_job(job.id) == job
    assert (await queue.exchange((), ("empty",), 1)).leases == []
    outsider.execute("ROLLBACK")
    assert (await queue.get_queue_stats("default")).total == 1
    taken = await queue.dequeue("default", timeout=0)
    assert taken is not None


async def test_a_lock_that_is_let_go_in_time_only_delays(
    queue: DatabaseJobQueueAdapter, outsider: sqlite3.Connection
) -> None:
    outsider.execute("BEGIN IMMEDIATE")
    task = asyncio.create_task(queue.enqueue(make_job()))
    await asyncio.sleep(0.05)
    assert not task.done()
    outsider.execute("ROLLBACK")
    await asyncio.wait_for(task, 4)


async def test_after_an_outage_nobody_recovers_for_a_lease_length(
    impatient: None, queue: DatabaseJobQueueAdapter, outsider: sqlite3.Connection
) -> None:
    await queue.enqueue(make_job())
    await queue.renew([])
    [lease] = (await queue.exchange((), ("default",), 1)).leases
    await queue.recover()
    outsider.execute("BEGIN IMMEDIATE")
    with pytest.raises(QueueConnectionError):
        await queue.renew([lease])
    outsider.execute("ROLLBACK")
    clock[0] += 61
    assert await queue.recover() == []
    clock[0] += 59
    assert await queue.recover() == []
    clock[0] += 2
    assert len(await queue.recover()) == 1


async def test_a_full_disk_is_told_and_nothing_is_changed(
    queue: DatabaseJobQueueAdapter,
) -> None:
    kept = await queue.enqueue(make_job())
    [[pages]] = await sql(queue, "PRAGMA page_count")
    await sql(queue, f"PRAGMA max_page_count = {pages}")
    with pytest.raises(QueueConnectionError, match="disk is full"):
        await queue.enqueue(make_job(payload={"much": "x" * 100_000}))
    assert (await queue.get_queue_stats("default")).total == 1
    await sql(queue, "PRAGMA max_page_count = 1000000")
    await queue.enqueue(make_job(payload={"much": "x" * 100_000}))
    taken = await queue.dequeue("default", timeout=0)
    assert taken is not None
    assert taken.id == kept.id


@pytest.mark.parametrize("how", ["removed", "replaced"])
async def test_a_file_that_is_gone_takes_no_jobs(
    queue: DatabaseJobQueueAdapter, path: Path, how: str
) -> None:
    await queue.enqueue(make_job())
    path.rename(path.with_name("moved.db"))
    if how == "replaced":
        path.touch()
    with pytest.raises(DatabaseError, match=how):
        await queue.enqueue(make_job())
    with pytest.raises(DatabaseError, match=how):
        await queue.get_queue_stats("default")
    path.unlink(missing_ok=True)
    path.with_name("moved.db").rename(path)
    await queue.enqueue(make_job())
    assert (await queue.get_queue_stats("default")).total == 2


@pytest.mark.parametrize("how", ["removed", "replaced"])
async def test_a_file_that_is_gone_is_not_opened_anew_after_an_error_of_the_disk(
    queue: DatabaseJobQueueAdapter, path: Path, how: str
) -> None:
    def fails(connection: sqlite3.Connection) -> None:
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR
        raise error

    store: Any = queue._store
    with pytest.raises(QueueConnectionError):
        await store._write(fails)
    for file in path.parent.iterdir():
        file.rename(file.with_name(f"moved-{file.name}"))
    if how == "replaced":
        path.touch()
    for _ in range(2):
        with pytest.raises(DatabaseError, match=how):
            await queue.enqueue(make_job())
    assert (path.stat().st_size if path.exists() else None) == (0 if how == "replaced" else None)


async def test_a_damaged_payload_is_told_where_it_matters(
    queue: DatabaseJobQueueAdapter,
) -> None:
    job, good = await queue.enqueue(make_job()), await queue.enqueue(make_job())
    await sql(queue, "UPDATE portico_jobs SET payload = x'7b8b' WHERE id = ?", job.id.bytes)
    with pytest.raises(DatabaseError, match=str(job.id)):
        await queue.get_job(job.id)
    listed = (await queue.list_jobs(JobFilter())).jobs
    assert [one.id for one in listed] == [good.id, job.id]
    assert listed[1].payload == {}
    assert "damaged" in listed[1].metadata["portico.unreadable"]
    inspected = await queue.inspect(job.id)
    assert inspected is not None
    assert inspected.job == listed[1]
    taken = await queue.dequeue("default", timeout=0)
    assert taken is not None
    assert taken.id == good.id
    inspected = await queue.inspect(job.id)
    assert inspected is not None
    assert inspected.job.status is JobStatus.DEAD_LETTER
    assert inspected.error_type == "PayloadInvalid"


async def test_a_lease_hands_out_damaged_bytes_as_they_are(
    queue: DatabaseJobQueueAdapter,
) -> None:
    await queue.enqueue(make_job())
    await sql(queue, 'UPDATE portico_jobs SET payload = CAST(\'{"by": "hand"\' AS BLOB)')
    [lease] = (await queue.exchange((), ("default",), 1)).leases
    assert lease.payload == b'{"by": "hand"'


async def test_a_damaged_result_is_told(queue: DatabaseJobQueueAdapter) -> None:
    job = await queue.enqueue(make_job())
    [lease] = (await queue.exchange((), ("default",), 1)).leases
    done = Settlement(lease.id, lease.token, Transition.COMPLETE, b"[")
    await queue.exchange([done], (), 0)
    with pytest.raises(DatabaseError, match=str(job.id)):
        await queue.get_result(job.id)
    inspected = await queue.inspect(job.id)
    assert inspected is not None
    assert inspected.result is not None
    assert "portico.unreadable" in inspected.result


async def test_callers_that_commit_together_keep_their_own_outcomes(
    queue: DatabaseJobQueueAdapter,
) -> None:
    twice = make_job()
    jobs = [*(make_job() for _ in range(300)), twice, twice]
    outcomes = await asyncio.gather(*(queue.enqueue(job) for job in jobs), return_exceptions=True)
    refused_ones = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    assert [type(one) for one in refused_ones] == [ConflictError]
    stored = [outcome.id for outcome in outcomes if not isinstance(outcome, BaseException)]
    assert stored == [job.id for job in jobs[:-1]]
    assert (await queue.get_queue_stats("default")).total == 301


async def test_requests_that_wait_together_do_not_share_a_failure(
    queue: DatabaseJobQueueAdapter,
) -> None:
    job = await queue.enqueue(make_job())
    store: Any = queue._store

    def broken(connection: sqlite3.Connection) -> None:
        connection.execute("UPDATE portico_jobs SET priority = 77")
        connection.execute("UPDATE nowhere SET x = 1")

    outcomes = await asyncio.gather(
        queue.cancel_job(uuid4()),
        store._write(broken),
        queue.request_cancel(job.id),
        queue.insert([Draft.of(make_job())]),
        return_exceptions=True,
    )
    assert isinstance(outcomes[1], DatabaseError)
    assert outcomes[0] is False
    assert outcomes[2] is False
    assert (await queue.get_queue_stats("default")).total == 2
    assert await queue.get_job(job.id) == job


async def test_the_log_of_changes_does_not_grow_for_ever(
    path: Path,
) -> None:
    queue = await opened(f"sqlite:///{path}?durability=normal")
    for _ in range(40):
        await queue.insert([Draft.of(make_job(payload={"x": "y" * 1000})) for _ in range(500)])
    assert path.with_name("jobs.db-wal").stat().st_size < 24 * 2**20
    await queue.close()


def plan(connection: sqlite3.Connection, statement: str) -> str:
    values = {
        "queue": "q", "limit": 10, "now": 0, "nonce": b"", "owner": 1, "beat": 1,
        "priority": 0, "run_at": 0, "seq": 0,
    }  # fmt: skip
    rows = connection.execute(f"EXPLAIN QUERY PLAN {statement}", values).fetchall()
    return "\n".join(row[3] for row in rows)


@pytest.mark.parametrize(
    ("statement", "index"),
    [
        (granting._OF_PENDING.grant, "portico_jobs_pending"),
        (granting._OF_DUE.grant, "portico_jobs_later"),
        (granting._NEXT, "portico_jobs_later"),
        (granting._ANY_PENDING, "portico_jobs_pending"),
        *((one, "portico_jobs_pending") for one in choosing._STATEMENTS.values()),
    ],
)
async def test_leasing_reads_only_the_indexes_of_waiting_jobs(
    queue: DatabaseJobQueueAdapter, outsider: sqlite3.Connection, statement: str, index: str
) -> None:
    found = plan(outsider, statement)
    assert index in found
    assert "SCAN portico_jobs" not in found


async def test_what_was_passed_over_is_not_read_again(
    queue: DatabaseJobQueueAdapter, outsider: sqlite3.Connection
) -> None:
    behind = plan(outsider, choosing._STATEMENTS[False, True])
    for index in ("portico_jobs_pending", "portico_jobs_later"):
        for steps in ("priority=? AND run_at=? AND seq>?", "priority=? AND run_at>?", "priority<?"):
            assert f"{index} (queue_name=? AND {steps}" in behind, behind


async def test_counting_reads_only_indexes(
    queue: DatabaseJobQueueAdapter, outsider: sqlite3.Connection
) -> None:
    for counting in reading._COUNTS:
        if "running" not in counting:  # those are few
            assert "COVERING INDEX" in plan(outsider, counting.format(where="1"))


async def test_closing_waits_for_what_was_asked(path: Path) -> None:
    queue = await opened(f"sqlite:///{path}")
    asked = [asyncio.create_task(queue.enqueue(make_job())) for _ in range(50)]
    await asyncio.sleep(0)
    await queue.close()
    stored = await asyncio.gather(*asked, return_exceptions=True)
    queue = await opened(f"sqlite:///{path}")
    kept = [job for job in stored if not isinstance(job, BaseException)]
    assert (await queue.get_queue_stats("default")).total == len(kept)
    await queue.close()


async def test_a_dequeue_that_is_cancelled_while_the_store_answers_gives_the_job_back(
    queue: DatabaseJobQueueAdapter,
) -> None:
    job = await queue.enqueue(make_job())
    task = asyncio.create_task(queue.dequeue("default", timeout=30))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    async def given_back() -> bool:
        found = await queue.inspect(job.id)
        assert found is not None
        assert found.accounted
        return found.release_count == 1 and found.job.status is JobStatus.PENDING

    assert await wait_until(given_back)


async def test_a_job_that_was_due_before_1970_is_due(tmp_path: Path) -> None:
    queue = DatabaseJobQueueAdapter(f"sqlite:///{tmp_path / 'jobs.db'}")
    await queue.initialize()
    job = await queue.enqueue(make_job(scheduled_at=datetime(1, 1, 1, tzinfo=UTC)))
    leased = await queue.dequeue("default", timeout=0)
    assert leased is not None
    assert leased.id == job.id
    await queue.close()


async def test_nothing_is_kept_of_leases_that_have_ended_in_whatever_way(
    queue: DatabaseJobQueueAdapter, outsider: sqlite3.Connection
) -> None:
    places = queue._store._owner.places  # type: ignore[attr-defined]
    for transition in [t for t in Transition if t is not Transition.COMPLETE]:
        await queue.insert([Draft.of(make_job()) for _ in range(2)])
        leases = (await queue.exchange([], ["default"], 2)).leases
        first, second = [Settlement(x.id, x.token, Transition.COMPLETE) for x in leases]
        assert len(places) == 2
        await queue.exchange([first, second._replace(transition=transition)], ["default"], 0)
        assert not places, transition
        outsider.execute("DELETE FROM portico_jobs")
    await queue.insert([Draft.of(make_job())])
    (lost,) = (await queue.exchange([], ["default"], 1)).leases
    outsider.execute("UPDATE portico_jobs SET status = 'failed'")
    assert len(places) == 1
    await queue.renew([lost])
    assert not places


async def test_a_job_that_somebody_moved_to_another_queue_by_hand_is_counted_there(
    queue: DatabaseJobQueueAdapter, outsider: sqlite3.Connection
) -> None:
    await queue.insert([Draft.of(make_job()) for _ in range(2)])
    outsider.execute("UPDATE portico_jobs SET queue_name = 'elsewhere' WHERE seq = 1")
    stats = await queue.all_stats()
    assert stats["elsewhere"].pending_count == 1
    assert stats["default"].pending_count == 1
    assert all(one.completed_count >= 0 for one in stats.values())
