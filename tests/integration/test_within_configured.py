"""Connections as applications configure them: what theirs decode or write changes no answer."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, nullcontext
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import psycopg
import pytest
import sqlalchemy
from psycopg.adapt import Loader
from psycopg.rows import dict_row

from portico import compose
from portico.exceptions import ConflictError, ValidationError
from portico.kits.job import JobService
from portico.ports.job import Job
from tests.support.servers import PostgresServer, server_folder

_PAYLOAD = {"t": "% %s $1 :p ? \\ ' \" {}"}


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """One that prepares transactions."""
    server = PostgresServer(server_folder("postgres") / "server", {"max_prepared_transactions": 2})
    server.start()
    yield server
    server.stop("immediate")


@pytest.fixture(scope="module")
def url(server: PostgresServer) -> str:
    return server.url()


@pytest.fixture
async def jobs(url: str) -> AsyncIterator[JobService]:
    async with compose.job_service(f"{url}?max_pending=1000") as jobs:
        yield jobs


class _Record(asyncpg.Record):
    """As an application may have it."""


def _codec(name: str, encoder: Callable[[Any], Any], decoder: Callable[[str], Any]) -> Any:
    async def configured(connection: asyncpg.Connection) -> None:
        await connection.set_type_codec(name, encoder=encoder, decoder=decoder, schema="pg_catalog")

    return configured


async def _plain(connection: asyncpg.Connection) -> None:
    del connection


@pytest.mark.servers
@pytest.mark.parametrize(
    ("configured", "options"),
    [
        pytest.param(_codec("uuid", str, str), {}, id="uuid as text"),
        pytest.param(_codec("uuid", str, lambda text: {"id": text}), {}, id="uuid as a mapping"),
        pytest.param(_codec("int8", str, str), {}, id="int8 as text"),
        pytest.param(_codec("int4", str, str), {}, id="int4 as text"),
        pytest.param(_codec("bool", str, repr), {}, id="bool as text"),
        pytest.param(_codec("text", str.lower, str.upper), {}, id="text in capitals"),
        pytest.param(_codec("text", str, str.encode), {}, id="text as bytes"),
        pytest.param(_codec("name", str, str.title), {}, id="names with a capital"),
        pytest.param(_plain, {"record_class": _Record}, id="a record class"),
        pytest.param(_plain, {"statement_cache_size": 0}, id="no statement cache"),
    ],
)
async def test_what_asyncpg_decodes_for_the_application_changes_no_answer(
    url: str,
    jobs: JobService,
    configured: Callable[[Any], Awaitable[None]],
    options: dict[str, Any],
) -> None:
    connection = await asyncpg.connect(url, **options)
    await configured(connection)
    async with connection.transaction():
        within = jobs.within(connection)
        first = await within.create_job("a.b", _PAYLOAD, priority=-3, created_by=uuid4())
        with pytest.raises(ConflictError):
            await within.create_job("a.b", {}, job_id=first.id)
        many = await within.create_jobs([{"job_type": "a.b", "payload": {}}] * 2)
    await connection.close()
    assert await jobs.get_job(first.id) == first
    assert [await jobs.get_job(one.job.id) for one in many if one.job] == [one.job for one in many]


@pytest.mark.servers
async def test_what_asyncpg_encodes_for_the_application_leaves_its_search_path(url: str) -> None:
    connection = await asyncpg.connect(url, server_settings={"search_path": "public, pg_temp"})
    await _codec("text", "<{}>".format, str)(connection)
    async with compose.job_service(url) as jobs, connection.transaction():
        job = await jobs.within(connection).create_job("a.b", _PAYLOAD)
        assert await connection.fetchval("SHOW search_path") == "public, pg_temp"
    await connection.close()
    async with compose.job_service(url) as jobs:
        assert await jobs.get_job(job.id) == job


class _Text(Loader):
    def load(self, data: Any) -> str:
        return bytes(data).decode().upper()


class _Logging(psycopg.Cursor[Any]):
    """As an application may have it."""


def _loader(name: str) -> Callable[[psycopg.Connection], None]:
    return lambda connection: connection.adapters.register_loader(name, _Text)


def _serializable(connection: psycopg.Connection) -> None:
    connection.isolation_level = psycopg.IsolationLevel.SERIALIZABLE


def _in_two_phases(connection: psycopg.Connection) -> None:
    connection.tpc_begin(f"two-{uuid4()}")


def _nothing(connection: psycopg.Connection) -> None:
    del connection


@pytest.mark.servers
@pytest.mark.parametrize(
    ("configured", "options"),
    [
        pytest.param(_loader("uuid"), {}, id="uuid as text"),
        pytest.param(_loader("text"), {}, id="text in capitals"),
        pytest.param(_loader("int8"), {}, id="int8 as text"),
        pytest.param(_nothing, {"cursor_factory": psycopg.RawCursor}, id="raw cursors"),
        pytest.param(_nothing, {"cursor_factory": psycopg.ClientCursor}, id="client cursors"),
        pytest.param(_nothing, {"cursor_factory": _Logging}, id="cursors of its own"),
        pytest.param(_nothing, {"row_factory": dict_row}, id="rows as mappings"),
        pytest.param(_nothing, {"client_encoding": "SQL_ASCII"}, id="text as bytes"),
        pytest.param(_serializable, {}, id="serializable"),
        pytest.param(_in_two_phases, {}, id="two phases"),
    ],
)
async def test_what_psycopg_does_for_the_application_changes_no_answer(
    url: str, jobs: JobService, configured: Callable[[Any], None], options: dict[str, Any]
) -> None:
    connection = psycopg.connect(url, **options)
    configured(connection)
    within = jobs.within_sync(connection)
    first = within.create_job("a.b", _PAYLOAD, priority=-3, created_by=uuid4())
    with pytest.raises(ConflictError):
        within.create_job("a.b", {}, job_id=first.id)
    if configured is _in_two_phases:
        connection.tpc_prepare()
        connection.tpc_commit()
    connection.commit()
    connection.close()
    assert await jobs.get_job(first.id) == first


@pytest.mark.servers
@pytest.mark.parametrize("two_phases", [True, False])
async def test_sqlalchemys_transactions_of_every_kind(
    server: PostgresServer, jobs: JobService, two_phases: bool
) -> None:
    engine = sqlalchemy.create_engine(server.url(scheme="postgresql+psycopg"))
    with engine.connect() as connection:
        outer = connection.begin_twophase() if two_phases else connection.begin()
        with nullcontext() if two_phases else connection.begin_nested():
            job = jobs.within_sync(connection).create_job("a.b", _PAYLOAD)
        if two_phases:
            outer.prepare()  # type: ignore[union-attr]
        outer.commit()
    engine.dispose()
    assert await jobs.get_job(job.id) == job


@contextmanager
def _pipeline(url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(url) as connection, connection.pipeline():
        yield connection


@contextmanager
def _read_only(url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(url) as connection:
        connection.read_only = True
        yield connection


@contextmanager
def _read_only_by_the_server(url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(url, options="-c default_transaction_read_only=on") as connection:
        yield connection


@pytest.mark.servers
@pytest.mark.parametrize(
    ("unusable", "told"),
    [
        (_pipeline, "is in pipeline mode.*before or after the `with"),
        (_read_only, "may only read"),
        (_read_only_by_the_server, "may only read"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name_and_the_transaction_goes_on(
    url: str, jobs: JobService, unusable: Any, told: str
) -> None:
    with unusable(url) as connection:
        with pytest.raises(ValidationError, match=told):
            jobs.within_sync(connection).create_job("a.b", {})
        assert connection.execute("SELECT 1").fetchone() == (1,)


@asynccontextmanager
async def _that_has_failed(connection: asyncpg.Connection) -> AsyncIterator[None]:
    transaction = connection.transaction()
    await transaction.start()
    with pytest.raises(asyncpg.DivisionByZeroError):
        await connection.execute("SELECT 1 / 0")
    yield
    await transaction.rollback()


@asynccontextmanager
async def _whose_codec_changes_bytes(connection: asyncpg.Connection) -> AsyncIterator[None]:
    await _codec("bytea", lambda _: r"\x00", str)(connection)
    async with connection.transaction():
        yield


@asynccontextmanager
async def _that_may_only_read(connection: asyncpg.Connection) -> AsyncIterator[None]:
    async with connection.transaction(readonly=True):
        yield


@pytest.mark.servers
@pytest.mark.parametrize(
    ("unusable", "told"),
    [
        (_that_has_failed, "has failed; roll it back"),
        (_whose_codec_changes_bytes, "codecs that change text or bytes"),
        (_that_may_only_read, "may only read"),
    ],
)
async def test_what_cannot_be_used_of_asyncpg_is_refused_by_name(
    url: str,
    jobs: JobService,
    unusable: Callable[[asyncpg.Connection], AbstractAsyncContextManager[None]],
    told: str,
) -> None:
    connection = await asyncpg.connect(url)
    async with unusable(connection):
        with pytest.raises(ValidationError, match=told):
            await jobs.within(connection).create_job("a.b", {})
    async with connection.transaction():
        assert await connection.fetchval("SELECT 1") == 1
    await connection.close()


async def test_what_sqlite_converts_for_the_application_changes_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("BLOB", "INTEGER", "TEXT"):
        monkeypatch.setitem(sqlite3.converters, name, lambda value: {"converted": value})
    created: list[Job] = []
    async with compose.job_service(f"sqlite:///{tmp_path}/jobs.db?max_pending=9") as jobs:
        for text_factory in (str, bytes, lambda value: value.decode().upper()):
            connection = sqlite3.connect(
                tmp_path / "jobs.db", detect_types=sqlite3.PARSE_DECLTYPES | sqlite3.PARSE_COLNAMES
            )
            connection.text_factory = text_factory
            created.append(jobs.within_sync(connection).create_job("a.b", _PAYLOAD))
            connection.commit()
            connection.close()
        assert [await jobs.get_job(job.id) for job in created] == created
