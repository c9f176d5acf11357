"""Commands that read make nothing, and need no right to write."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import pytest

from portico import compose
from portico.adapters.job_queue import DatabaseJobQueueAdapter
from portico.cli.command import run
from portico.exceptions import ConfigurationError, QueueConnectionError
from portico.ports.job import JobStatus
from tests.support.jobs import make_job
from tests.support.modesty import as_nobody
from tests.support.servers import PostgresServer

READING = [
    ["status"], ["jobs", "list"], ["jobs", "show", "ID"], ["jobs", "result", "ID"],
    ["dead", "list"], ["migrate", "status"],
]  # fmt: skip
CHANGING = [["jobs", "cancel", "ID"], ["dead", "requeue", "ID"], ["dead", "purge", "--yes"]]
"""They change what is there, and make nothing either."""
NOBODY = "0199b5a0-0000-7000-8000-000000000000"


class Told(NamedTuple):
    code: int
    out: str
    error: str


class Terminal:
    """Runs the command in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, url: str, arguments: list[str], job_id: object = NOBODY) -> Told:
        self._capsys.readouterr()
        code = run(["-u", url, *(str(job_id) if one == "ID" else one for one in arguments)])
        out, error = self._capsys.readouterr()
        return Told(code, out, error)


@pytest.fixture
def portico(capsys: pytest.CaptureFixture[str]) -> Terminal:
    for verb in ("enqueue", "migrate", "status"):
        import_module(f"portico.cli.{verb}")  # nobody may not be allowed to read Python's own
    return Terminal(capsys)


def a_finished_job(url: str) -> object:
    """The id of a job that ended COMPLETED, in a queue that is closed again."""

    async def made() -> object:
        queue = DatabaseJobQueueAdapter(url)
        await queue.initialize()
        job = await queue.enqueue(make_job())
        await queue.dequeue("default", 0)
        await queue.acknowledge(job.id)
        await queue.close()
        return job.id

    return asyncio.run(made())


# SQLite


@pytest.mark.parametrize("arguments", [*READING, *CHANGING], ids=" ".join)
def test_no_table_is_made_in_a_database_that_has_none(
    portico: Terminal, tmp_path: Path, arguments: list[str]
) -> None:
    path = tmp_path / "shop.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE orders (id INTEGER)")
    before = path.read_bytes()
    told = portico(f"sqlite:///{path}", arguments)
    assert told.code == 1
    assert "no tables" in told.error or "pending" in told.out
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_queue_is_read_without_a_file_more(portico: Terminal, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'jobs.db'}"
    job_id = a_finished_job(url)
    (tmp_path / "jobs.db-wake").unlink()
    for arguments in READING:
        told = portico(url, arguments, job_id)
        assert (told.code, told.error) == (0, ""), arguments
    assert [path.name for path in tmp_path.iterdir()] == ["jobs.db"]


@pytest.fixture
def exposed() -> Iterator[Path]:
    """A folder that others than root get to."""
    folder = Path(tempfile.mkdtemp())
    yield folder
    folder.chmod(0o700)
    shutil.rmtree(folder)


async def test_who_may_only_read_the_file_reads_the_queue(exposed: Path) -> None:
    url = f"sqlite:///{exposed / 'jobs.db'}"
    owner = DatabaseJobQueueAdapter(url)
    await owner.initialize()
    job = await owner.enqueue(make_job())
    for path in exposed.iterdir():
        path.chmod(0o444)
    exposed.chmod(0o555)
    with as_nobody():
        reader = compose.job_queue(url, create=False)
        await reader.initialize()
        assert await reader.get_job(job.id) == job
        with pytest.raises(QueueConnectionError, match="the file is read-only"):
            await reader.cancel_job(job.id)
        await reader.close()
    exposed.chmod(0o755)
    await owner.close()


async def test_who_makes_nothing_may_still_change_what_is_there(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'jobs.db'}"
    owner = DatabaseJobQueueAdapter(url)
    await owner.initialize()
    job = await owner.enqueue(make_job())
    other = compose.job_queue(url, create=False)
    await other.initialize()
    await other.initialize()
    assert await other.cancel_job(job.id)
    assert (await other.enqueue(make_job())).status is JobStatus.PENDING
    await other.close()
    await other.close()
    cancelled = await owner.get_job(job.id)
    assert cancelled is not None
    assert cancelled.status is JobStatus.FAILED
    await owner.close()


def test_a_directory_that_may_not_be_entered_is_named_with_who_may_not(
    portico: Terminal, exposed: Path
) -> None:
    exposed.chmod(0o000)
    with as_nobody():
        for arguments in (["status"], ["enqueue", "a.b", "{}"], ["migrate", "status"]):
            told = portico(f"sqlite:///{exposed}/deeper/jobs.db", arguments)
            assert told.code == 1
            wanted = f"this user (uid {os.geteuid()}) may not enter the directory {exposed}"
            assert wanted in told.error


def test_a_directory_that_may_not_be_written_is_named_with_who_may_not(
    portico: Terminal, exposed: Path
) -> None:
    url = f"sqlite:///{exposed / 'jobs.db'}"
    a_finished_job(url)
    for path in exposed.iterdir():
        path.chmod(0o666)
    exposed.chmod(0o555)
    with as_nobody():
        told = [portico(url, arguments) for arguments in (["enqueue", "a.b", "{}"], ["status"])]
        wanted = f"this user (uid {os.geteuid()}) may not write in the directory {exposed}"
    assert [one.code for one in told] == [1, 1]
    assert all(wanted in one.error for one in told)


# PostgreSQL

servers = pytest.mark.servers


@pytest.fixture
def url(postgres: PostgresServer) -> str:
    return postgres.url(postgres.database())


@servers
@pytest.mark.parametrize("arguments", [*READING, *CHANGING], ids=" ".join)
def test_no_schema_is_made_by_a_name_that_was_mistyped(
    portico: Terminal, postgres: PostgresServer, url: str, arguments: list[str]
) -> None:
    told = portico(f"{url}?schema=mistyped", arguments)
    assert told.code == 1
    missing = "there are no tables of Portico's in the schema 'mistyped'"
    assert missing in told.error or "pending" in told.out
    there = "SELECT count(*) FROM pg_namespace WHERE nspname = 'mistyped'"
    assert postgres.run(there, url.rpartition("/")[2]) == "0"


@servers
def test_a_role_that_may_only_read_runs_all_commands_that_read(
    portico: Terminal, postgres: PostgresServer, url: str
) -> None:
    job_id, database = a_finished_job(url), url.rpartition("/")[2]
    role = f"auditor_{database}"
    for statement in (
        f"CREATE ROLE {role} LOGIN PASSWORD 'auditor'",
        f"ALTER ROLE {role} SET default_transaction_read_only = on",
        f"GRANT USAGE ON SCHEMA portico TO {role}",
        f"GRANT SELECT ON ALL TABLES IN SCHEMA portico TO {role}",
    ):
        postgres.run(statement, database)
    theirs = url.replace("portico:portico@", f"{role}:auditor@")
    for arguments in READING:
        told = portico(theirs, arguments, job_id)
        assert (told.code, told.error) == (0, ""), arguments
    told = portico(theirs, ["jobs", "cancel", "ID"], job_id)
    assert told.code == 1
    assert "read-only" in told.error


@servers
@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
async def test_a_database_that_cannot_hold_every_text_is_refused_at_the_start(
    postgres: PostgresServer, encoding: str
) -> None:
    name = f"{postgres.database()}_{encoding.lower()}"
    postgres.run(f"CREATE DATABASE {name} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0")
    wanted = rf"the encoding {encoding}, and texts of jobs need UTF8; make one: CREATE DATABASE"
    with pytest.raises(ConfigurationError, match=wanted):
        await compose.job_queue(postgres.url(name)).initialize()
