"""An application with a database connection of its own, the same for every driver."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from portico.kits.job import JobService
from portico.ports.bulk import Created
from portico.ports.job import Job

ORDERS = "CREATE TABLE orders (id INTEGER PRIMARY KEY, job TEXT)"


class Producer:
    """Writes orders, and creates jobs in the same transactions.

    `connection` is the driver's own, and the transaction on it is open, or begins by itself.
    """

    def __init__(
        self, connection: Any, jobs: JobService, run: Callable[[str], Any], begin: str = ""
    ) -> None:
        self.connection, self._run, self._begin = connection, run, begin
        awaited = inspect.iscoroutinefunction(getattr(run, "__wrapped__", run))
        self.jobs = jobs.within(connection) if awaited else jobs.within_sync(connection)

    async def begin(self) -> None:
        if self._begin:
            await self.run(self._begin)

    async def run(self, statement: str) -> None:
        await _outcome(self._run(statement))

    async def create(self, **arguments: Any) -> Job:
        return await _outcome(
            self.jobs.create_job(**{"job_type": "a.b", "payload": {}} | arguments)
        )

    async def create_many(self, jobs: Iterable[Mapping[str, Any]]) -> list[Created]:
        return await _outcome(self.jobs.create_jobs(jobs, return_exceptions=True))

    async def commit(self) -> None:
        if self._begin:
            await self.run("COMMIT")
        else:
            await _outcome(self.connection.commit())

    async def rollback(self) -> None:
        if self._begin:
            await self.run("ROLLBACK")
        else:
            await _outcome(self.connection.rollback())


async def _outcome(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


Opening = Callable[[str, JobService], AbstractAsyncContextManager[Producer]]
"""Takes the address of a database, in the driver's own words, and the service."""


@asynccontextmanager
async def by_sqlite3(path: str, jobs: JobService) -> AsyncIterator[Producer]:
    import sqlite3

    connection = sqlite3.connect(path)
    yield Producer(connection, jobs, connection.execute)
    connection.close()


@asynccontextmanager
async def by_aiosqlite(path: str, jobs: JobService) -> AsyncIterator[Producer]:
    import aiosqlite

    async with aiosqlite.connect(path) as connection:

        async def run(statement: str) -> None:
            await connection.execute(statement)

        yield Producer(connection, jobs, run)


@asynccontextmanager
async def by_alchemy_connection(url: str, jobs: JobService) -> AsyncIterator[Producer]:
    import sqlalchemy

    engine = sqlalchemy.create_engine(url)
    with engine.connect() as connection:
        yield Producer(connection, jobs, connection.exec_driver_sql)
    engine.dispose()


@asynccontextmanager
async def by_alchemy_session(url: str, jobs: JobService) -> AsyncIterator[Producer]:
    import sqlalchemy
    from sqlalchemy.orm import Session

    engine = sqlalchemy.create_engine(url)
    with Session(engine) as session:
        yield Producer(session, jobs, lambda text: session.execute(sqlalchemy.text(text)))
    engine.dispose()


@asynccontextmanager
async def by_alchemy_scoped_session(url: str, jobs: JobService) -> AsyncIterator[Producer]:
    import sqlalchemy
    from sqlalchemy.orm import scoped_session, sessionmaker

    engine = sqlalchemy.create_engine(url)
    session = scoped_session(sessionmaker(engine))
    yield Producer(session, jobs, lambda text: session.execute(sqlalchemy.text(text)))
    session.remove()
    engine.dispose()


@asynccontextmanager
async def by_alchemy_async_connection(url: str, jobs: JobService) -> AsyncIterator[Producer]:
    from sqlalchemy.ext.asyncio import create_async_engine

    engine = create_async_engine(url)
    async with engine.connect() as connection:

        async def run(statement: str) -> None:
            await connection.exec_driver_sql(statement)

        yield Producer(connection, jobs, run)
    await engine.dispose()


@asynccontextmanager
async def by_alchemy_async_session(url: str, jobs: JobService) -> AsyncIterator[Producer]:
    import sqlalchemy
    from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

    engine = create_async_engine(url)
    async with AsyncSession(engine) as session:

        async def run(statement: str) -> None:
            await session.execute(sqlalchemy.text(statement))

        yield Producer(session, jobs, run)
    await engine.dispose()


@asynccontextmanager
async def by_asyncpg(url: str, jobs: JobService) -> AsyncIterator[Producer]:
    import asyncpg

    connection = await asyncpg.connect(url)
    yield Producer(connection, jobs, connection.execute, begin="BEGIN")
    await connection.close()


@asynccontextmanager
async def by_asyncpg_pool(url: str, jobs: JobService) -> AsyncIterator[Producer]:
    import asyncpg

    pool = asyncpg.create_pool(url, min_size=1, max_size=1)
    async with pool, pool.acquire() as connection:

        async def run(statement: str) -> None:
            await connection.execute(statement)

        yield Producer(connection, jobs, run, begin="BEGIN")


@asynccontextmanager
async def by_psycopg(url: str, jobs: JobService) -> AsyncIterator[Producer]:
    import psycopg

    with psycopg.connect(url) as connection:
        yield Producer(connection, jobs, connection.execute)
        connection.rollback()


@asynccontextmanager
async def by_async_psycopg(url: str, jobs: JobService) -> AsyncIterator[Producer]:
    import psycopg

    async with await psycopg.AsyncConnection.connect(url) as connection:
        yield Producer(connection, jobs, connection.execute)
        await connection.rollback()


DRIVERS: dict[str, Opening] = {
    "sqlite3": by_sqlite3,
    "aiosqlite": by_aiosqlite,
    "asyncpg": by_asyncpg,
    "asyncpg.pool": by_asyncpg_pool,
    "psycopg": by_psycopg,
    "psycopg.AsyncConnection": by_async_psycopg,
    "sqlalchemy.Connection": by_alchemy_connection,
    "sqlalchemy.Session": by_alchemy_session,
    "sqlalchemy.scoped_session": by_alchemy_scoped_session,
    "sqlalchemy.AsyncConnection": by_alchemy_async_connection,
    "sqlalchemy.AsyncSession": by_alchemy_async_session,
}
SQLITE = {
    "sqlite3": "",
    "aiosqlite": "",
    "sqlalchemy.Connection": "sqlite:///",
    "sqlalchemy.Session": "sqlite:///",
    "sqlalchemy.scoped_session": "sqlite:///",
    "sqlalchemy.AsyncConnection": "sqlite+aiosqlite:///",
    "sqlalchemy.AsyncSession": "sqlite+aiosqlite:///",
}
"""What stands before the path, for each that reaches SQLite."""
POSTGRES = {
    "asyncpg": ("asyncpg", "postgresql"),
    "asyncpg.pool": ("asyncpg.pool", "postgresql"),
    "psycopg": ("psycopg", "postgresql"),
    "psycopg.AsyncConnection": ("psycopg.AsyncConnection", "postgresql"),
    "sqlalchemy.Connection": ("sqlalchemy.Connection", "postgresql+psycopg"),
    "sqlalchemy.Session": ("sqlalchemy.Session", "postgresql+psycopg"),
    "sqlalchemy.AsyncConnection": ("sqlalchemy.AsyncConnection", "postgresql+asyncpg"),
    "sqlalchemy.AsyncSession": ("sqlalchemy.AsyncSession", "postgresql+asyncpg"),
    "sqlalchemy.AsyncSession, psycopg": ("sqlalchemy.AsyncSession", "postgresql+psycopg"),
}
"""The driver, and the scheme of its URL, for each way to reach PostgreSQL."""
