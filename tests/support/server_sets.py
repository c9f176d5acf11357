"""Servers that stand before or beside others: PgBouncer, Redis replicas, Sentinel, Cluster; TLS."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import trustme

from tests.support.servers import (
    PostgresServer,
    RedisServer,
    Server,
    free_port,
    modest_user,
    program,
    takes_connections,
)
from tests.support.waiting import STEP


def until(true: Callable[[], object], what: str, timeout: float = 30) -> None:
    """Wait for something, in a thread that has nothing else to do."""
    deadline = time.monotonic() + timeout
    while not true():
        assert time.monotonic() < deadline, f"not within {timeout:g} s: {what}"
        time.sleep(STEP)


class PgBouncer(Server):
    """A pooler before a PostgreSQL server, with the same user and password.

    Args:
        mode: `transaction`, `session`, or `statement`.
    """

    def __init__(
        self, folder: Path, server: PostgresServer, mode: str = "transaction", **place: Any
    ) -> None:
        super().__init__(folder, user=modest_user(), **place)
        self._server, self.mode = server, mode

    def start(self) -> None:
        """Start it and return when it takes connections."""
        users = self.folder / "users.txt"
        users.write_text('"portico" "portico"\n')
        settings = self.folder / "pgbouncer.ini"
        settings.write_text(
            f"[databases]\n* = host={self._server.host} port={self._server.port}\n"
            f"[pgbouncer]\nlisten_addr = {self.host}\nlisten_port = {self.port}\n"
            f"unix_socket_dir =\nauth_type = scram-sha-256\nauth_file = {users}\n"
            f"pool_mode = {self.mode}\nmax_client_conn = 500\ndefault_pool_size = 20\n"
            "ignore_startup_parameters = extra_float_digits\n"
        )
        self._start([program("pgbouncer"), str(settings)])
        self._await_ready()

    def stop(self) -> None:
        """End it; whoever is connected notices."""
        self.kill()

    def _ready(self) -> bool:
        return takes_connections(self.host, self.port)

    def url(self, database: str = "postgres", scheme: str = "postgresql") -> str:
        return f"{scheme}://portico:portico@{self.host}:{self.port}/{database}"


def standby(folder: Path, primary: PostgresServer) -> PostgresServer:
    """A hot standby of a PostgreSQL server, started and streaming from it."""
    found = PostgresServer(folder)
    found.copy_of(primary)
    found.start()
    streaming = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'"
    until(lambda: primary.run(streaming) == "1", "the standby streams")
    return found


def replica(
    folder: Path, primary: RedisServer, settings: Mapping[str, Any] | None = None, **place: Any
) -> RedisServer:
    """A replica of a Redis server, started and in step with it."""
    follow = {"replicaof": f"{primary.host} {primary.port}"}
    found = RedisServer(folder, {**follow, **(settings or {})}, **place)
    found.start()
    until(lambda: in_step(found), "the replica is in step")
    return found


def in_step(server: RedisServer) -> bool:
    """Whether a replica is connected to its primary and has all that there was."""
    return "master_link_status:up" in server.run("INFO", "replication")


class Sentinels:
    """Three Redis Sentinels that watch one primary under a name, and promote after `down_after`.

    Args:
        tls: what they show; they speak TLS to the primary, and name its port for that.
    """

    def __init__(
        self,
        folder: Path,
        primary: RedisServer,
        name: str = "jobs",
        down_after: float = 1.0,
        *,
        tls: TlsFiles | None = None,
    ) -> None:
        self.name = name
        self.members = [
            _Sentinel(folder / f"sentinel{number}", primary, name, down_after, tls)
            for number in range(3)
        ]

    def start(self) -> None:
        """Start them, and return when they know the primary's replicas and each other."""
        for member in self.members:
            member.start()
        until(lambda: all(member.knows(self.name) for member in self.members), "a quorum")

    def primary(self) -> tuple[str, int]:
        """Where the primary is, as the first sentinel that runs says."""
        member = next(member for member in self.members if member.running)
        host, port = member.run("SENTINEL", "get-master-addr-by-name", self.name).split("\n")
        return host, int(port)

    def hosts(self) -> str:
        """`host:port` of each, with commas between; the port for TLS where there is one."""
        return ",".join(_address(member) for member in self.members)

    def kill(self) -> None:
        for member in self.members:
            member.kill()


class _Sentinel(RedisServer):
    def __init__(
        self,
        folder: Path,
        primary: RedisServer,
        name: str,
        down_after: float,
        tls: TlsFiles | None,
    ) -> None:
        super().__init__(folder)
        self.settings = tls.for_redis(free_port(), "tls-replication") if tls else {}
        wait = round(down_after * 1000)
        self._file = folder / "sentinel.conf"
        self._file.write_text(
            "".join(f"{option} {value}\n" for option, value in self.settings.items())
            + f"sentinel monitor {name} {primary.host} {primary.tls_port or primary.port} 2\n"
            f"sentinel down-after-milliseconds {name} {wait}\n"
            f"sentinel failover-timeout {name} {wait * 5}\n"
        )

    def start(self) -> None:
        """Start it and return when it takes commands."""
        self._start([
            program("redis-server"), str(self._file), "--sentinel", "--port", str(self.port),
            "--bind", self.host, "--protected-mode", "no", "--dir", str(self.folder),
        ])  # fmt: skip
        self._await_ready()

    def knows(self, name: str) -> bool:
        lines = self.run("SENTINEL", "master", name).split("\n")
        told = dict(zip(lines[::2], lines[1::2], strict=False))
        return int(told.get("num-other-sentinels", 0)) == 2 and int(told["num-slaves"]) > 0


class Cluster:
    """A Redis Cluster of three primaries without replicas, each with a third of the slots.

    Args:
        tls: what the nodes show, to each other too.
    """

    SLOTS = 16384

    def __init__(self, folder: Path, size: int = 3, *, tls: TlsFiles | None = None) -> None:
        self.nodes = []
        for number in range(size):
            settings = {
                "cluster-enabled": "yes", "cluster-node-timeout": 2000,
                "cluster-port": free_port(),
                **(tls.for_redis(free_port(), "tls-cluster") if tls else {}),
            }  # fmt: skip
            self.nodes.append(RedisServer(folder / f"node{number}", settings))

    def start(self) -> None:
        """Start the nodes, share the slots out, and return when all agree that all is well."""
        first, *others = self.nodes
        share = self.SLOTS // len(self.nodes) + 1
        for number, node in enumerate(self.nodes):
            node.start()
            last = min((number + 1) * share, self.SLOTS) - 1
            node.run("CLUSTER", "ADDSLOTSRANGE", str(number * share), str(last))
            node.run("CLUSTER", "SET-CONFIG-EPOCH", str(number + 1))
        for node in others:
            bus = str(node.settings["cluster-port"])
            first.run("CLUSTER", "MEET", node.host, str(node.tls_port or node.port), bus)
        until(lambda: all(self._well(node) for node in self.nodes), "the cluster's state is ok")

    def _well(self, node: RedisServer) -> bool:
        told = node.run("CLUSTER", "INFO")
        return "cluster_state:ok" in told and f"cluster_known_nodes:{len(self.nodes)}" in told

    def url(self) -> str:
        return self.nodes[0].url()

    def hosts(self) -> str:
        """`host:port` of each, with commas between; the port for TLS where there is one."""
        return ",".join(_address(node) for node in self.nodes)

    def kill(self) -> None:
        for node in self.nodes:
            node.kill()


def _address(server: RedisServer) -> str:
    return f"{server.host}:{server.tls_port or server.port}"


class TlsFiles(NamedTuple):
    """A certificate, its key, and the authority that vouches for it."""

    certificate: Path
    key: Path
    authority: Path

    def for_postgres(self) -> dict[str, Any]:
        """Settings of a PostgreSQL server that offers TLS."""
        return {"ssl": "on", "ssl_cert_file": self.certificate, "ssl_key_file": self.key}

    def for_redis(self, port: int, *switched_on: str) -> dict[str, Any]:
        """Settings of a Redis server that takes TLS on this port, beside plain connections."""
        return {
            "tls-port": port, "tls-auth-clients": "no", "tls-cert-file": self.certificate,
            "tls-key-file": self.key, "tls-ca-cert-file": self.authority,
            **dict.fromkeys(switched_on, "yes"),
        }  # fmt: skip


class Authority:
    """A certificate authority of the test's own, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o755)
        self._folder, self._authority = folder, trustme.CA()
        self.file = folder / "authority.pem"
        """Whoever trusts this file trusts what the authority has issued."""
        self._authority.cert_pem.write_to_path(str(self.file))

    def issue(self, *names: str, owner: str | None = None, expired: bool = False) -> TlsFiles:
        """A certificate and its key, for these names or addresses, that `owner` alone may read."""
        yesterday = datetime.now(UTC) - timedelta(days=1)
        issued = self._authority.issue_cert(*names, not_after=yesterday if expired else None)
        made = len(list(self._folder.glob("*.key")))
        files = TlsFiles(self._folder / f"{made}.pem", self._folder / f"{made}.key", self.file)
        issued.cert_chain_pems[0].write_to_path(str(files.certificate))
        issued.private_key_pem.write_to_path(str(files.key))
        files.key.chmod(0o600)
        if owner:
            shutil.chown(files.key, owner)
        return files
