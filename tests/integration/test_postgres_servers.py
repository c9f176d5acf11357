"""PostgreSQL servers that cannot be used as they are, and what is said of them."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from portico.adapters.job_queue import DatabaseJobQueueAdapter
from portico.adapters.job_queue._postgres.connections import OLDEST
from portico.exceptions import ConfigurationError, PorticoError, QueueConnectionError
from portico.ports.draft import Draft
from portico.supervisor.supervisor import EXIT_CONFIGURATION
from tests.support.jobs import make_job
from tests.support.server_sets import Authority, PgBouncer
from tests.support.servers import PostgresServer, modest_user, server_folder
from tests.support.supervisors import Place

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    found = server_folder("postgres-tls")
    yield found
    shutil.rmtree(found, ignore_errors=True)


@pytest.fixture(scope="module")
def authority(folder: Path) -> Authority:
    return Authority(folder / "authority")


@pytest.fixture(scope="module")
def secure(folder: Path) -> Iterator[PostgresServer]:
    """A server that offers TLS; which certificate it has, each test decides."""
    server = PostgresServer(folder / "server")
    yield server
    server.stop("immediate")


def offering(
    server: PostgresServer, authority: Authority, *names: str, expired: bool = False
) -> str:
    """Let the server have a certificate for these names; its URL."""
    files = authority.issue(*names, owner=modest_user(), expired=expired)
    server.stop()
    server.settings.update(files.for_postgres())
    server.start()
    return f"{server.url()}?sslmode=verify-full"


async def refusal(url: str) -> str:
    with pytest.raises(ConfigurationError) as refused:
        await DatabaseJobQueueAdapter(url).initialize()
    said = str(refused.value)
    assert "portico:portico" not in said
    return said


async def test_a_certificate_of_the_authority_that_is_given_is_taken(
    secure: PostgresServer, authority: Authority
) -> None:
    url = offering(secure, authority, "localhost", "127.0.0.1")
    queue = DatabaseJobQueueAdapter(f"{url}&sslrootcert={authority.file}")
    await queue.initialize()
    await queue.close()


async def test_a_certificate_that_a_stranger_signed_is_refused(
    secure: PostgresServer, authority: Authority, folder: Path
) -> None:
    url = offering(secure, authority, "localhost", "127.0.0.1")
    stranger = Authority(folder / "stranger")
    said = await refusal(f"{url}&sslrootcert={stranger.file}")
    assert "certificate does not verify" in said
    assert "sslrootcert=FILE" in said
    assert "unable to get local issuer" in await refusal(url)  # nor does the system know it


async def test_a_certificate_for_another_host_is_refused(
    secure: PostgresServer, authority: Authority
) -> None:
    url = offering(secure, authority, "elsewhere")
    said = await refusal(f"{url}&sslrootcert={authority.file}")
    assert "the host name that it was made for" in said
    assert "127.0.0.1" in said


async def test_an_expired_certificate_is_refused(
    secure: PostgresServer, authority: Authority
) -> None:
    url = offering(secure, authority, "localhost", "127.0.0.1", expired=True)
    said = await refusal(f"{url}&sslrootcert={authority.file}")
    assert "certificate does not verify" in said
    assert "expired" in said


@pytest.mark.parametrize("option", ["sslrootcert", "sslcert", "sslkey", "sslcrl"])
def test_a_file_of_certificates_that_is_not_there_is_named(option: str) -> None:
    url = f"postgresql://u:secret@localhost/d?sslmode=verify-full&{option}=/no/such.pem"
    with pytest.raises(
        ConfigurationError, match=f"{option}='/no/such.pem', which is no file"
    ) as it:
        DatabaseJobQueueAdapter(url)
    assert "secret" not in str(it.value)


@pytest.mark.parametrize("mode", ["require", "verify-full"])
async def test_a_server_without_encryption_is_refused_where_it_is_required(
    postgres: PostgresServer, mode: str
) -> None:
    said = await refusal(f"{postgres.url()}?sslmode={mode}")
    assert "offers no encryption" in said
    assert "sslmode=disable" in said


async def test_a_supervisor_that_may_not_trust_its_server_stops_as_misconfigured(
    here: Place, secure: PostgresServer, authority: Authority
) -> None:
    here.url = offering(secure, authority, "elsewhere") + f"&sslrootcert={authority.file}"
    supervisor = here.supervisor()
    assert await supervisor.ended() == EXIT_CONFIGURATION
    assert "certificate does not verify" in supervisor.text()


async def test_a_server_that_is_too_old_is_named_with_the_version_that_is_needed(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Old:
        major = OLDEST - 1

    monkeypatch.setattr(asyncpg.Connection, "get_server_version", lambda _: Old)
    said = await refusal(postgres.url())
    assert f"is PostgreSQL {OLDEST - 1}, and Portico needs {OLDEST} or newer" in said
    assert "upgrade the server" in said
    assert "127.0.0.1" in said


@pytest.mark.parametrize("through_a_pooler", [True, False])
async def test_told_of_a_pooler_it_keeps_nothing_in_a_session(
    postgres: PostgresServer, folder: Path, through_a_pooler: bool
) -> None:
    """Also of one that nobody can notice: here the server itself."""
    pooler = PgBouncer(folder / f"pooler-{uuid4().hex[:6]}", postgres)
    if through_a_pooler:
        pooler.start()
    schema = f"test_{uuid4().hex[:12]}"
    address = pooler.url() if through_a_pooler else postgres.url()
    queue = DatabaseJobQueueAdapter(f"{address}?schema={schema}&pgbouncer=yes")
    await queue.initialize()
    try:
        await queue.insert([Draft.of(make_job()) for _ in range(3)])
        while job := await queue.dequeue("default", timeout=0.2):
            await queue.acknowledge(job.id)
        assert (await queue.get_queue_stats("default")).completed_count == 3
        kept = f"SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%{schema}%'"
        assert postgres.run(kept) == "0"
    finally:
        await queue.close()
        if through_a_pooler:
            pooler.stop()


DYING = b"N" + b"E\x00\x00\x00\x21SFATAL\x00C57P01\x00Mpostmaster died\x00\x00"
"""What a server says to who asks for encryption while it goes down: no, and goodbye."""


@pytest.mark.parametrize(
    ("mode", "kind"),
    [("prefer", QueueConnectionError), (None, QueueConnectionError),
     ("require", ConfigurationError)],
)  # fmt: skip
async def test_a_server_that_goes_down_in_mid_connection_is_not_one_that_lacks_encryption(
    mode: str | None, kind: type[PorticoError]
) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(8)
        writer.write(DYING)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        options = f"?sslmode={mode}" if mode else ""
        with pytest.raises(kind) as told:
            await DatabaseJobQueueAdapter(
                f"postgresql://u@127.0.0.1:{port}/d{options}"
            ).initialize()
    assert ("offers no encryption" in str(told.value)) is (mode == "require")
