"""Creating jobs in SQLite transactions of the application's."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, closing
from pathlib import Path

import aiosqlite
import pytest
import sqlalchemy

from portico import compose
from portico.exceptions import ConfigurationError, NotSupportedError, ValidationError
from portico.kits.job import JobService
from portico.ports.job import Job
from portico.ports.job_queue import JobQueueAdapter
from tests.contract.producer_process_rules import ProducerProcessRules
from tests.contract.transaction_rules import TransactionRules
from tests.support.jobs import make_job
from tests.support.producers import DRIVERS, ORDERS, SQLITE, Producer


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "app.db"


@pytest.fixture
async def queue(path: Path) -> AsyncIterator[JobQueueAdapter]:
    """As a supervisor has it; the producer's service is another one."""
    queue = compose.job_queue(f"sqlite:///{path}")
    await queue.initialize()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(ORDERS)
    connection.close()
    yield queue
    await queue.close()


@pytest.fixture
def service(path: Path) -> JobService:
    return compose.job_service(f"sqlite:///{path}")


@pytest.fixture
def orders(path: Path) -> Callable[[], dict[int, str]]:
    def told() -> dict[int, str]:
        connection = sqlite3.connect(path)
        rows = connection.execute("SELECT id, job FROM orders ORDER BY id").fetchall()
        connection.close()
        return dict(rows)

    return told


@pytest.mark.parametrize("driver", SQLITE)
class TestEachDriver(TransactionRules):
    @pytest.fixture
    async def producer(
        self, driver: str, path: Path, queue: JobQueueAdapter, service: JobService
    ) -> AsyncIterator[Producer]:
        async with DRIVERS[driver](f"{SQLITE[driver]}{path}", service) as producer:
            yield producer

    @pytest.fixture
    def limited(
        self, driver: str, path: Path
    ) -> Callable[[], AbstractAsyncContextManager[Producer]]:
        jobs = compose.job_service(
            f"sqlite:///{path}?max_pending=5&max_horizon=30d", job_types={"a.b"}
        )
        return lambda: DRIVERS[driver](f"{SQLITE[driver]}{path}", jobs)


@pytest.mark.parametrize("driver", ["sqlite3", "sqlalchemy.AsyncSession"])
class TestProcesses(ProducerProcessRules):
    @pytest.fixture
    def url(self, path: Path) -> str:
        return f"sqlite:///{path}"

    @pytest.fixture
    def address(self, driver: str, path: Path) -> str:
        return f"{SQLITE[driver]}{path}"


@pytest.fixture
def connection(path: Path, queue: JobQueueAdapter) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(path)
    yield connection
    connection.close()


def test_within_the_statement_of_a_connection_that_is_a_context_manager(
    connection: sqlite3.Connection, service: JobService
) -> None:
    """As the driver's documentation has it: committed at the end, rolled back by an error."""
    with connection:
        kept = service.within_sync(connection).create_job("a.b", {})
    with pytest.raises(ZeroDivisionError), connection:
        service.within_sync(connection).create_job("a.b", {"n": 1 / 0})
    rows = connection.execute("SELECT id FROM portico_jobs").fetchall()
    assert rows == [(kept.id.bytes,)]


def test_a_connection_with_factories_of_its_own_is_as_good(
    connection: sqlite3.Connection, service: JobService
) -> None:
    connection.row_factory = lambda cursor, row: {"one": row[0]}
    connection.text_factory = bytes
    jobs = service.within_sync(connection)
    assert jobs.create_job("a.b", {}).id != jobs.create_job("a.b", {}).id
    assert connection.execute("SELECT count(*) FROM portico_jobs").fetchone() == {"one": 2}


@pytest.mark.parametrize("limit", ["", "?max_pending=9"])
@pytest.mark.parametrize("level", ["", "IMMEDIATE", "EXCLUSIVE"])
def test_a_transaction_begins_at_the_level_of_the_connection_and_reads_nothing_before_it_writes(
    level: str, limit: str, path: Path, queue: JobQueueAdapter
) -> None:
    """One that has read is refused the lock at once, when another one wrote in between."""
    statements: list[str] = []
    connection = sqlite3.connect(path, isolation_level=level)
    connection.set_trace_callback(lambda statement: statements.append(statement.strip()))
    compose.job_service(f"sqlite:///{path}{limit}").within_sync(connection).create_job("a.b", {})
    words = [statement.split()[0] for statement in statements]
    begun = words.index("BEGIN")
    assert statements[begun] == f"BEGIN {level}".strip()
    first = next(word for word in words[begun + 1 :] if word != "SAVEPOINT")
    assert first in {"INSERT", "DELETE"}
    assert connection.in_transaction
    connection.rollback()
    connection.close()


def test_in_autocommit_mode_a_transaction_must_be_open(
    path: Path, queue: JobQueueAdapter, service: JobService
) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    jobs = service.within_sync(connection)
    with pytest.raises(ValidationError, match=r"sqlite3\.Connection.* no transaction open"):
        jobs.create_job("a.b", {})
    connection.execute("BEGIN")
    jobs.create_job("a.b", {})
    connection.execute("ROLLBACK")
    assert connection.execute("SELECT count(*) FROM portico_jobs").fetchone() == (0,)
    connection.close()


async def test_autocommit_of_sqlalchemy_is_refused(
    path: Path, queue: JobQueueAdapter, service: JobService
) -> None:
    engine = sqlalchemy.create_engine(f"sqlite:///{path}", isolation_level="AUTOCOMMIT")
    with (
        engine.connect() as connection,
        pytest.raises(ValidationError, match="no transaction open"),
    ):
        service.within_sync(connection).create_job("a.b", {})
    engine.dispose()
    assert await queue.all_stats() == {}


async def test_a_closed_connection_is_refused_by_name(
    path: Path, queue: JobQueueAdapter, service: JobService
) -> None:
    plain = sqlite3.connect(path)
    plain.close()
    engine = sqlalchemy.create_engine(f"sqlite:///{path}")
    with engine.connect() as alchemy:
        pass
    for connection in (plain, alchemy):
        with pytest.raises(ValidationError, match=r"\(s\w+\..*Connection\) is closed"):
            service.within_sync(connection).create_job("a.b", {})
    engine.dispose()
    async with aiosqlite.connect(path) as awaited:
        pass
    with pytest.raises(ValidationError, match=r"\(aiosqlite.*Connection\) is closed"):
        await service.within(awaited).create_job("a.b", {})


def test_another_file_is_refused_and_both_are_named(
    tmp_path: Path, path: Path, queue: JobQueueAdapter, service: JobService
) -> None:
    for name, told in ((tmp_path / "other.db", "other.db"), (":memory:", "no file")):
        connection = sqlite3.connect(name)
        connection.execute("CREATE TABLE t (x)")
        with pytest.raises(ValidationError, match=f"{told}, and the queue is in .*app.db"):
            service.within_sync(connection).create_job("a.b", {})
        connection.close()


def test_the_same_file_by_another_name_is_the_same(
    tmp_path: Path, path: Path, queue: JobQueueAdapter, service: JobService
) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    connection = sqlite3.connect(tmp_path / "link" / path.name)
    assert service.within_sync(connection).create_job("a.b", {})
    connection.close()


def test_a_database_without_the_tables_is_refused_with_the_way_out(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "new.db")
    connection.execute("CREATE TABLE t (x)")
    service = compose.job_service(f"sqlite:///{tmp_path}/new.db")
    with pytest.raises(ConfigurationError, match=r"no tables for jobs yet.* initialize\(\)"):
        service.within_sync(connection).create_job("a.b", {})
    connection.close()


def test_tables_of_another_release_are_refused_and_both_versions_named(
    connection: sqlite3.Connection, service: JobService
) -> None:
    with connection:
        connection.execute("UPDATE portico_schema SET version = 99")
    with pytest.raises(ConfigurationError, match=r"schema version 99, .*needs version \d"):
        service.within_sync(connection).create_job("a.b", {})


async def test_plain_and_awaited_connections_have_a_method_each(
    path: Path, connection: sqlite3.Connection, service: JobService
) -> None:
    with pytest.raises(ValidationError, match="use within_sync for it"):
        service.within(connection)
    async with aiosqlite.connect(path) as awaited:
        with pytest.raises(ValidationError, match="use within for it"):
            service.within_sync(awaited)


@pytest.mark.parametrize("what", [None, 7, "sqlite:///jobs.db", sqlalchemy.Engine])
def test_what_is_no_connection_is_refused_by_its_type(what: object, service: JobService) -> None:
    for within in (service.within, service.within_sync):
        with pytest.raises(
            ValidationError, match=f"{type(what).__name__}.* kind that is not known"
        ):
            within(what)


def test_a_connection_to_another_kind_of_database_is_refused(service: JobService) -> None:
    class Connection:
        pass

    Connection.__module__ = "asyncpg.connection"
    with pytest.raises(ValidationError, match="a postgresql database, and the queue is in sqlite"):
        service.within(Connection())


@pytest.mark.parametrize(
    ("url", "name"),
    [("memory://", "MemoryJobQueueAdapter"), ("redis://localhost", "RedisJobQueueAdapter")],
)
async def test_a_queue_that_is_in_no_database_says_which_queues_can(
    url: str, name: str, connection: sqlite3.Connection
) -> None:
    service = compose.job_service(url)
    for within in (service.within, service.within_sync):
        with pytest.raises(NotSupportedError, match=r"sqlite:// or postgresql://") as caught:
            within(connection)
        assert name in str(caught.value)
        assert "sqlite3.Connection" in str(caught.value)


async def test_a_failure_amid_many_leaves_none_of_them(
    connection: sqlite3.Connection, service: JobService, queue: JobQueueAdapter
) -> None:
    """The caller goes on after the error, and commits what else it did."""
    connection.execute("CREATE TEMP TRIGGER t BEFORE INSERT ON main.portico_jobs"
                       " WHEN new.priority = 9 BEGIN SELECT raise(FAIL, 'no'); END")  # fmt: skip
    many = [{"job_type": "a.b", "payload": {}, "priority": 9 * (n == 500)} for n in range(600)]
    connection.execute("INSERT INTO orders (id) VALUES (1)")
    with pytest.raises(sqlite3.IntegrityError, match="no"):
        service.within_sync(connection).create_jobs(many)
    connection.commit()
    assert await queue.all_stats() == {}
    assert connection.execute("SELECT id FROM orders").fetchall() == [(1,)]


async def test_a_failure_that_ends_the_transaction_is_told_as_it_was(
    connection: sqlite3.Connection, service: JobService, queue: JobQueueAdapter
) -> None:
    """SQLite does so where the disk is full; nothing is left to roll back to then."""
    connection.execute("CREATE TEMP TRIGGER t BEFORE INSERT ON main.portico_jobs"
                       " BEGIN SELECT raise(ROLLBACK, 'over'); END")  # fmt: skip
    connection.execute("INSERT INTO orders (id) VALUES (1)")
    with pytest.raises(sqlite3.IntegrityError, match="over"):
        service.within_sync(connection).create_job("a.b", {})
    assert not connection.in_transaction
    assert await queue.all_stats() == {}


async def test_a_transaction_that_read_before_another_one_wrote_fails_as_its_driver_says(
    connection: sqlite3.Connection, service: JobService, queue: JobQueueAdapter
) -> None:
    connection.execute("BEGIN")
    connection.execute("SELECT count(*) FROM orders").fetchone()
    await queue.enqueue(make_job())
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        service.within_sync(connection).create_job("a.b", {})
    connection.rollback()
    service.within_sync(connection).create_job("a.b", {})
    connection.commit()
    assert (await queue.get_queue_stats("default")).total == 2


def test_no_driver_is_imported_to_find_out_of_what_kind_a_connection_is(
    path: Path, queue: JobQueueAdapter
) -> None:
    code = f"""
import sqlite3, sys
from contextlib import closing
from portico.compose import job_service
jobs = job_service("sqlite:///{path}")
with closing(sqlite3.connect("{path}")) as connection, connection:
    jobs.within_sync(connection).create_job("a.b", {{}})
for what in (7, "x"):
    try:
        jobs.within(what)
    except ValueError:
        pass
print(*{{"aiosqlite", "asyncpg", "psycopg", "sqlalchemy"}} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


async def test_a_plain_connection_serves_in_a_thread_of_an_asyncio_application(
    path: Path, service: JobService, queue: JobQueueAdapter
) -> None:
    def take() -> Job:
        with closing(sqlite3.connect(path)) as connection, connection:
            return service.within_sync(connection).create_job("a.b", {})

    job = await asyncio.to_thread(take)
    assert await queue.get_job(job.id) == job
