"""Creating jobs in PostgreSQL transactions of the application's."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from uuid import uuid4

import asyncpg
import psycopg
import pytest
import sqlalchemy
from psycopg.rows import dict_row
from sqlalchemy.ext.asyncio import create_async_engine

from portico import compose
from portico.exceptions import ConfigurationError, ConflictError, ValidationError
from portico.kits.job import JobService
from portico.ports.job_queue import JobQueueAdapter
from tests.contract.producer_process_rules import ProducerProcessRules
from tests.contract.transaction_rules import TransactionRules
from tests.support.producers import DRIVERS, ORDERS, POSTGRES, Producer
from tests.support.servers import PostgresServer, server_folder

pytestmark = pytest.mark.servers

_TABLES = ("jobs", "attempts", "totals", "owners")


@pytest.fixture(scope="module")
def database(postgres: PostgresServer) -> str:
    """A database for all of them; it is emptied before each."""
    name = postgres.database()
    postgres.run(ORDERS.replace("INTEGER PRIMARY KEY", "serial PRIMARY KEY"), name)
    return name


@pytest.fixture
def url(postgres: PostgresServer, database: str) -> str:
    return postgres.url(database)


@pytest.fixture
async def queue(url: str) -> AsyncIterator[JobQueueAdapter]:
    """As a supervisor has it; the producer's service is another one."""
    queue = compose.job_queue(url)
    await queue.initialize()
    with psycopg.connect(url) as connection:
        tables = ", ".join(f"portico.portico_{table}" for table in _TABLES)
        connection.execute(f"TRUNCATE orders, {tables}")
    yield queue
    await queue.close()


@pytest.fixture
def service(url: str) -> JobService:
    return compose.job_service(url)


@pytest.fixture
def orders(url: str) -> Callable[[], dict[int, str]]:
    def told() -> dict[int, str]:
        with psycopg.connect(url) as connection:
            return dict(connection.execute("SELECT id, job FROM orders ORDER BY id").fetchall())

    return told


def address_of(server: PostgresServer, database: str, way: str) -> tuple[str, str]:
    driver, scheme = POSTGRES[way]
    return driver, server.url(database, scheme)


@pytest.mark.parametrize("way", POSTGRES)
class TestEachDriver(TransactionRules):
    @pytest.fixture
    async def producer(
        self, way: str, postgres: PostgresServer, database: str, queue: JobQueueAdapter,
        service: JobService,
    ) -> AsyncIterator[Producer]:  # fmt: skip
        driver, address = address_of(postgres, database, way)
        async with DRIVERS[driver](address, service) as producer:
            await producer.begin()
            yield producer

    @pytest.fixture
    def limited(
        self, way: str, postgres: PostgresServer, database: str, url: str
    ) -> Callable[[], AbstractAsyncContextManager[Producer]]:
        jobs = compose.job_service(f"{url}?max_pending=5&max_horizon=30d", job_types={"a.b"})
        driver, address = address_of(postgres, database, way)
        return lambda: DRIVERS[driver](address, jobs)


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
class TestProcesses(ProducerProcessRules):
    @pytest.fixture
    def address(self, url: str) -> str:
        return url


@pytest.fixture
def connection(url: str, queue: JobQueueAdapter) -> Iterator[psycopg.Connection]:
    with psycopg.connect(url) as connection:
        yield connection
        connection.rollback()


@pytest.fixture
async def awaited(url: str, queue: JobQueueAdapter) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url)
    yield connection
    await connection.close()


async def test_within_the_transaction_block_of_each_driver(
    awaited: asyncpg.Connection, connection: psycopg.Connection, service: JobService,
    queue: JobQueueAdapter,
) -> None:  # fmt: skip
    """As the drivers' documentation has it: committed at the end, rolled back by an error."""
    async with awaited.transaction():
        first = await service.within(awaited).create_job("a.b", {})
        with pytest.raises(ZeroDivisionError):
            async with awaited.transaction():
                await service.within(awaited).create_job("a.b", {})
                raise ZeroDivisionError
    with connection.transaction():
        second = service.within_sync(connection).create_job("a.b", {})
        with pytest.raises(ZeroDivisionError), connection.transaction():
            service.within_sync(connection).create_job("a.b", {})
            raise ZeroDivisionError
    assert (await queue.get_queue_stats("default")).total == 2
    assert await queue.get_job(first.id) == first
    assert await queue.get_job(second.id) == second


async def test_two_transactions_that_take_one_id_get_one_job(
    awaited: asyncpg.Connection, connection: psycopg.Connection, service: JobService,
    queue: JobQueueAdapter,
) -> None:  # fmt: skip
    """The second one waits for the first one's end, and goes on."""
    job_id = uuid4()
    first = service.within_sync(connection).create_job("a.b", {"n": 1}, job_id=job_id)
    async with awaited.transaction():
        second = asyncio.ensure_future(
            service.within(awaited).create_job("a.b", {"n": 2}, job_id=job_id)
        )
        assert (await asyncio.wait([second], timeout=0.2))[0] == set()
        await asyncio.to_thread(connection.commit)
        with pytest.raises(ConflictError):
            await second
        await awaited.execute("INSERT INTO orders (job) VALUES ('x')")
    assert await queue.get_job(job_id) == first


async def test_many_transactions_at_once_do_not_wait_for_each_other(
    awaited: asyncpg.Connection, connection: psycopg.Connection, service: JobService,
    queue: JobQueueAdapter,
) -> None:  # fmt: skip
    """No row is shared between them, not even one that counts the jobs of their queue."""
    await queue.enqueue_many([])
    held = service.within_sync(connection).create_job("a.b", {})
    async with asyncio.timeout(5), awaited.transaction():
        await service.within(awaited).create_job("a.b", {})
    connection.rollback()
    assert await queue.get_job(held.id) is None
    assert (await queue.get_queue_stats("default")).total == 1


async def test_without_a_transaction_a_connection_that_commits_by_itself_is_refused(
    url: str, awaited: asyncpg.Connection, service: JobService, queue: JobQueueAdapter
) -> None:
    with pytest.raises(ValidationError, match=r"asyncpg.*Connection.* no transaction open"):
        await service.within(awaited).create_job("a.b", {})
    with psycopg.connect(url, autocommit=True) as connection:
        jobs = service.within_sync(connection)
        with pytest.raises(ValidationError, match=r"psycopg.*Connection.* no transaction open"):
            jobs.create_job("a.b", {})
        with connection.transaction():
            jobs.create_job("a.b", {})
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as alike:
        with pytest.raises(ValidationError, match=r"AsyncConnection.* no transaction open"):
            await service.within(alike).create_job("a.b", {})
    assert (await queue.get_queue_stats("default")).total == 1


async def test_autocommit_of_sqlalchemy_is_refused(
    postgres: PostgresServer, database: str, service: JobService, queue: JobQueueAdapter
) -> None:
    told = r"sqlalchemy.*Connection.* no transaction open"
    options = {"isolation_level": "AUTOCOMMIT"}
    engine = sqlalchemy.create_engine(postgres.url(database, "postgresql+psycopg"), **options)
    with engine.connect() as connection, pytest.raises(ValidationError, match=told):
        service.within_sync(connection).create_job("a.b", {})
    engine.dispose()
    for driver in ("asyncpg", "psycopg"):
        url = postgres.url(database, f"postgresql+{driver}")
        awaited = create_async_engine(url, **options)
        async with awaited.connect() as alike:
            with pytest.raises(ValidationError, match=told):
                await service.within(alike).create_job("a.b", {})
        await awaited.dispose()
    assert await queue.all_stats() == {}


async def test_a_closed_connection_is_refused_by_name(
    url: str, service: JobService, queue: JobQueueAdapter
) -> None:
    bare = await asyncpg.connect(url)
    await bare.close()
    async with asyncpg.create_pool(url, min_size=1, max_size=1) as pool:
        async with pool.acquire() as released:
            pass
        for closed in (bare, released):
            with pytest.raises(ValidationError, match=r"\(asyncpg\..*\) is closed"):
                await service.within(closed).create_job("a.b", {})
    with psycopg.connect(url) as connection:
        pass
    with pytest.raises(ValidationError, match=r"\(psycopg\.Connection\) is closed"):
        service.within_sync(connection).create_job("a.b", {})


def test_a_transaction_that_has_failed_is_refused_with_the_way_out(
    connection: psycopg.Connection, service: JobService
) -> None:
    with pytest.raises(psycopg.Error):
        connection.execute("SELECT 1 / 0")
    with pytest.raises(ValidationError, match="has failed; roll it back"):
        service.within_sync(connection).create_job("a.b", {})
    connection.rollback()
    service.within_sync(connection).create_job("a.b", {})


def test_rows_in_the_callers_own_shape_are_not_asked_for(
    connection: psycopg.Connection, service: JobService
) -> None:
    connection.row_factory = dict_row  # type: ignore[assignment]
    assert service.within_sync(connection).create_job("a.b", {})


def test_another_database_is_refused_both_are_named_and_the_transaction_goes_on(
    postgres: PostgresServer, service: JobService, queue: JobQueueAdapter, database: str
) -> None:
    with psycopg.connect(postgres.url("postgres")) as connection:
        with pytest.raises(
            ValidationError, match=f"database 'postgres', and the queue is in '{database}'"
        ):
            service.within_sync(connection).create_job("a.b", {})
        assert connection.execute("SELECT 1").fetchone() == (1,)


async def test_a_database_of_the_same_name_on_another_server_is_refused(
    postgres: PostgresServer, queue: JobQueueAdapter, database: str, url: str
) -> None:
    """Once the service is open: from its URL alone it cannot tell what leads where."""
    folder = server_folder("postgres")
    other = PostgresServer(folder / "server")
    other.start()
    try:
        other.run(f"CREATE DATABASE {database}")
        async with compose.job_service(url) as service:
            connection = await asyncpg.connect(other.url(database))
            async with connection.transaction():
                with pytest.raises(ValidationError, match=f"'{database}' of another server"):
                    await service.within(connection).create_job("a.b", {})
            await connection.close()
    finally:
        other.stop("immediate")
        shutil.rmtree(folder, ignore_errors=True)


async def test_a_database_without_the_tables_is_refused_and_the_transaction_goes_on(
    postgres: PostgresServer,
) -> None:
    url = postgres.url(postgres.database())
    connection = await asyncpg.connect(url)
    async with connection.transaction():
        with pytest.raises(ConfigurationError, match=r"'portico' is not there.*migrate up"):
            await compose.job_service(url).within(connection).create_job("a.b", {})
        assert await connection.fetchval("SELECT 1") == 1
    await connection.close()


@pytest.fixture
def role(postgres: PostgresServer, database: str, queue: JobQueueAdapter) -> Iterator[str]:
    name = f"role_{uuid4().hex[:8]}"
    postgres.run(f"CREATE ROLE {name} LOGIN PASSWORD 'secret-word'")
    yield name
    postgres.run(f"DROP OWNED BY {name}; DROP ROLE {name}", database)


@pytest.mark.parametrize(
    "granted",
    [
        "",
        "GRANT USAGE ON SCHEMA portico TO {role}",
        "GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA portico TO {role}",
        "GRANT USAGE ON SCHEMA portico TO {role};"
        " GRANT SELECT ON ALL TABLES IN SCHEMA portico TO {role}",
    ],
)
async def test_a_role_without_the_rights_is_refused_and_its_transaction_goes_on(
    granted: str, role: str, postgres: PostgresServer, database: str, service: JobService
) -> None:
    postgres.run(granted.format(role=role), database)
    connection = await asyncpg.connect(
        postgres.url(database).replace("portico:portico", f"{role}:secret-word")
    )
    async with connection.transaction():
        with pytest.raises(ConfigurationError, match="not for this role to use") as caught:
            await service.within(connection).create_job("a.b", {})
        assert await connection.fetchval("SELECT 1") == 1
    await connection.close()
    assert "secret-word" not in str(caught.value)


async def test_a_role_with_the_rights_that_are_named_is_enough(
    role: str, postgres: PostgresServer, database: str, service: JobService, queue: JobQueueAdapter
) -> None:
    postgres.run(
        f"GRANT USAGE ON SCHEMA portico TO {role};"
        f" GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA portico TO {role}",
        database,
    )
    url = postgres.url(database).replace("portico:portico", f"{role}:secret-word")
    with psycopg.connect(url) as connection:
        job = service.within_sync(connection).create_job("a.b", {})
    assert await queue.get_job(job.id) == job


async def test_a_queue_in_another_schema_is_found_whatever_the_search_path(
    postgres: PostgresServer, database: str, connection: psycopg.Connection
) -> None:
    url = f"{postgres.url(database)}?schema=My_jobs"
    async with compose.job_service(url) as service:
        connection.execute("SET LOCAL search_path = ''")
        job = service.within_sync(connection).create_job("a.b", {})
        connection.commit()
        assert await service.get_job(job.id) == job


def test_a_connection_to_another_kind_of_database_is_refused(
    tmp_path: Path, service: JobService
) -> None:
    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path}/app.db")
    with (
        engine.connect() as connection,
        pytest.raises(ValidationError, match="a sqlite database, and the queue is in postgresql"),
    ):
        service.within_sync(connection).create_job("a.b", {})
    engine.dispose()


async def test_a_connection_that_its_pool_gives_out_again_is_not_asked_again_where_it_leads(
    url: str, service: JobService, queue: JobQueueAdapter
) -> None:
    asked: list[str] = []
    async with asyncpg.create_pool(url, min_size=1, max_size=1) as pool:
        for _ in range(3):
            async with pool.acquire() as connection, connection.transaction():
                with connection.query_logger(lambda record: asked.append(record.query)):
                    await service.within(connection).create_job("a.b", {})
    assert len([text for text in asked if "portico_jobs (id" in text]) == 3
    assert len([text for text in asked if "current_database" in text]) == 1
