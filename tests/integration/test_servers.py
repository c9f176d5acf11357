"""The servers of the tests are what they say."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest

from tests.support.clocks import Clock
from tests.support.server_sets import (
    Authority,
    Cluster,
    PgBouncer,
    Sentinels,
    in_step,
    replica,
    until,
)
from tests.support.servers import (
    PostgresServer,
    RedisServer,
    free_port,
    modest_user,
    server_folder,
)

pytestmark = pytest.mark.servers


@pytest.fixture
def folder() -> Iterator[Path]:
    found = server_folder("servers")
    yield found
    shutil.rmtree(found, ignore_errors=True)


def test_a_pooler_hands_transactions_of_one_session_to_the_server(
    folder: Path, postgres: PostgresServer
) -> None:
    pooler = PgBouncer(folder / "pooler", postgres)
    pooler.start()
    assert postgres.run("SELECT 6 * 7", at=pooler.url()) == "42"
    pooler.stop()


def test_a_postgres_server_offers_a_certificate_of_the_authority(folder: Path) -> None:
    authority = Authority(folder / "tls")
    files = authority.issue("localhost", "127.0.0.1", owner=modest_user())
    server = PostgresServer(folder / "server", files.for_postgres())
    server.start()
    trusted = f"{server.url()}?sslmode=verify-full&sslrootcert={authority.file}"
    assert server.run("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()", at=trusted) == "t"
    stranger = Authority(folder / "stranger")
    with pytest.raises(subprocess.CalledProcessError):
        server.run("SELECT 1", at=trusted.replace(str(authority.file), str(stranger.file)))
    server.stop()


def expecting(reason: str | None) -> AbstractContextManager[object]:
    if reason is None:
        return nullcontext()
    return pytest.raises(ssl.SSLCertVerificationError, match=reason)


@pytest.mark.parametrize(
    ("names", "expired", "reason"),
    [(("localhost", "127.0.0.1"), False, None), (("elsewhere",), False, "Hostname mismatch"),
     (("localhost", "127.0.0.1"), True, "certificate has expired")],
    ids=["good", "of another host", "expired"],
)  # fmt: skip
def test_a_redis_server_offers_the_certificate_that_it_was_given(
    folder: Path, names: tuple[str, ...], expired: bool, reason: str | None
) -> None:
    authority = Authority(folder / "tls")
    port = free_port()
    server = RedisServer(
        folder / "server", authority.issue(*names, expired=expired).for_redis(port)
    )
    server.start()
    trusting = ssl.create_default_context(cafile=str(authority.file))
    with (
        expecting(reason),
        socket.create_connection((server.host, port)) as plain,
        trusting.wrap_socket(plain, server_hostname="localhost") as secure,
    ):
        secure.sendall(b"PING\r\n")
        assert secure.recv(99) == b"+PONG\r\n"
    server.kill()


def test_sentinels_promote_a_replica_when_the_primary_is_dead(folder: Path) -> None:
    primary = RedisServer(folder / "primary")
    primary.start()
    follower = replica(folder / "replica", primary)
    sentinels = Sentinels(folder, primary, down_after=0.5)
    sentinels.start()
    assert sentinels.primary() == (primary.host, primary.port)
    primary.run("SET", "kept", "yes")
    until(lambda: follower.run("GET", "kept") == "yes", "the replica has it")
    primary.kill()
    until(lambda: sentinels.primary() == (follower.host, follower.port), "the promotion")
    assert follower.run("SET", "kept", "still") == "OK"
    for server in (sentinels, follower):
        server.kill()


def test_a_cluster_shares_keys_out_among_three_nodes(folder: Path) -> None:
    cluster = Cluster(folder)
    cluster.start()
    answers = [cluster.nodes[0].run("SET", f"key{number}", "1") for number in range(12)]
    assert {answer.split()[0] for answer in answers} == {"OK", "MOVED"}
    cluster.kill()


@pytest.mark.parametrize("kind", [PostgresServer, RedisServer])
def test_a_servers_clock_is_moved_while_it_runs(
    folder: Path, kind: type[PostgresServer | RedisServer]
) -> None:
    clock = Clock(folder)
    server = kind(folder / "server", environment=clock.environment)
    server.start()

    def ahead() -> float:
        if isinstance(server, PostgresServer):
            now = float(server.run("SELECT extract(epoch FROM clock_timestamp())"))
        else:
            now = float(server.run("TIME").split("\n")[0])
        return now - time.time()

    assert abs(ahead()) < 2
    clock.move(3600)
    assert abs(ahead() - 3600) < 2
    server.kill()


def test_a_replica_follows_and_can_be_made_a_primary(folder: Path, redis: RedisServer) -> None:
    follower = replica(folder / "replica", redis)
    redis.run("SET", "followed", "yes")
    until(lambda: follower.run("GET", "followed") == "yes", "the replica has it")
    assert follower.run("SET", "mine", "1").startswith(
        "READONLY You can't write against a read only"
    )
    follower.run("REPLICAOF", "NO", "ONE")
    assert follower.run("SET", "mine", "1") == "OK"
    assert not in_step(follower)
    follower.kill()
