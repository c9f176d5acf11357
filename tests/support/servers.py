"""Private PostgreSQL and Redis servers for tests: in a folder of their own, on free loopback ports.

Where a server's programs are not installed the tests are skipped with the reason, and fail when
`CI` is set: `scripts/test` brings them as far as the machine allows.
"""

from __future__ import annotations

import atexit
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn
from uuid import uuid4

import hiredis
import psutil
import pytest

from benchmarks import servers
from benchmarks.servers import free_port, group_of
from tests.support.hosts import Host, dies_with_its_parent
from tests.support.waiting import STEP

FAST = {"fsync": "off", "full_page_writes": "off"}
"""What spares the disk: nobody pulls this machine's plug, and a killed server loses nothing."""


QUICK = {"save": "", "appendonly": "no", "repl-diskless-sync-delay": 0}
"""Nothing is written to the disk, and a replica need not wait for others to come."""


def missing(what: str) -> NoReturn:
    reason = f"{what} is not installed; scripts/test installs it where it may"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def program(name: str) -> str:
    """Where a server's program is; skips or fails the test when it is nowhere."""
    try:
        return servers.find(name)
    except servers.NoServerError:
        missing(name)


def modest_user() -> str | None:
    """Who runs a server that refuses to be run by root; `None` when we are not root."""
    try:
        return servers.modest_user()
    except servers.NoServerError:
        missing("a user for servers, such as nobody,")


class Server:
    """A server process: it can be stopped, killed, frozen, and started again on the same data.

    Args:
        folder: of its own, for its data and log.
        on: the host that it runs on; without one, this machine's loopback.
        environment: over that of the tests, such as a clock's.
    """

    def __init__(
        self,
        folder: Path,
        port: int | None = None,
        *,
        on: Host | None = None,
        environment: Mapping[str, str] | None = None,
        user: str | None = None,
    ) -> None:
        self.folder, self.port = folder, port or free_port()
        self.host = on.address if on else "127.0.0.1"
        self.environment = dict(environment or {})
        self.log = folder / "server.log"
        self.process: subprocess.Popen[bytes] | None = None
        self._on, self._user = on, user
        folder.mkdir(parents=True, exist_ok=True)
        if user:
            folder.chmod(0o755)
            shutil.chown(folder, user, group_of(user))

    def _start(self, command: list[str]) -> None:
        assert self.process is None or self.process.poll() is not None
        wrap: tuple[str, ...] = self._on.wrap if self._on else ()
        if self._user:  # after the host is entered, which only root may; it keeps dying with us
            group = group_of(self._user)
            wrap += ("setpriv", "--reuid", self._user, "--regid", group, "--clear-groups",
                     "--pdeathsig", "KILL")  # fmt: skip
        if self.environment:  # the server's alone: a clock's library refuses to change its user
            wrap += ("env", *(f"{name}={value}" for name, value in self.environment.items()))
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*wrap, *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                preexec_fn=dies_with_its_parent,  # noqa: PLW1509 - before any thread of ours
            )

    def _ready(self) -> bool:
        raise NotImplementedError

    def _await_ready(self) -> None:
        process = self.process
        assert process is not None
        deadline = time.monotonic() + 30
        while process.poll() is None and not self._ready():
            assert time.monotonic() < deadline, self._said()
            time.sleep(STEP)
        if process.poll() is not None and re.search("(SSL is not|TLS) support", self._said()):
            missing("a server that was built with TLS")
        assert process.poll() is None, self._said()

    def _said(self) -> str:
        return self.log.read_text(errors="replace")[-4000:]

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def wait(self) -> None:
        assert self.process is not None
        self.process.wait(30)

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def kill(self) -> None:
        """End it and its children as `kill -9` does, and wait until they are gone."""
        if self.process is None or not self.running:
            return
        family = [*psutil.Process(self.process.pid).children(recursive=True)]
        self.signal(signal.SIGKILL)
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.wait()
        psutil.wait_procs(family, timeout=30)


def takes_connections(host: str, port: int) -> bool:
    """Whether PostgreSQL, or what stands before it, would let somebody in there."""
    asked = [program("pg_isready"), "-q", "-h", host, "-p", str(port)]
    return subprocess.run(asked, check=False).returncode == 0


class PostgresServer(Server):
    """A cluster with the superuser `portico`, password `portico`, checked over TCP.

    Args:
        settings: of postgresql.conf, over those of `FAST`; can be changed before a `start`.
    """

    def __init__(
        self, folder: Path, settings: Mapping[str, Any] | None = None, **place: Any
    ) -> None:
        super().__init__(folder, user=modest_user(), **place)
        self.settings = {**FAST, **(settings or {})}
        self.data = folder / "data"
        password = folder / "password"
        password.write_text("portico")
        password.chmod(0o644)
        self._as_its_user(
            program("initdb"), "-D", str(self.data), "-U", "portico", "-A", "scram-sha-256",
            "--pwfile", str(password), "-E", "UTF8", "--locale=C", "-N",
        )  # fmt: skip
        with (self.data / "pg_hba.conf").open("a") as rules:
            rules.write("host all all all scram-sha-256\n")  # from other hosts, too

    def copy_of(self, primary: PostgresServer) -> None:
        """Instead of what it has, have a copy of another server's data, to follow that server."""
        shutil.rmtree(self.data)
        self._as_its_user(
            program("pg_basebackup"), "-D", str(self.data), "-R", "-X", "stream", "-c", "fast",
            "-N", "-d", primary.url(),
        )  # fmt: skip

    def _as_its_user(self, *command: str) -> None:
        subprocess.run(
            command, check=True, capture_output=True, cwd=self.folder, user=self._user,
            group=self._user and group_of(self._user), extra_groups=[] if self._user else None,
        )  # fmt: skip

    def start(self) -> None:
        """Start it and return when it takes connections."""
        options = [f"-c{name}={value}" for name, value in self.settings.items()]
        self._start(
            [program("postgres"), "-D", str(self.data), "-p", str(self.port), "-h", self.host,
             "-k", str(self.folder), *options]
        )  # fmt: skip
        self._await_ready()

    def stop(self, mode: str = "fast") -> None:
        """Stop it: `smart`, `fast`, or `immediate`, which is a crash with recovery at the start."""
        number = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}
        if self.process is not None and self.process.poll() is None:
            self.signal(number[mode])
            self.wait()

    def _ready(self) -> bool:
        return takes_connections(self.host, self.port)

    def url(self, database: str = "postgres", scheme: str = "postgresql") -> str:
        return f"{scheme}://portico:portico@{self.host}:{self.port}/{database}"

    def run(self, statement: str, database: str = "postgres", *, at: str | None = None) -> str:
        """Run SQL by psql and return what it printed, unaligned and without headers.

        `at` is another way to the server than its own URL.
        """
        done = subprocess.run(
            [program("psql"), "-XqAt", "-v", "ON_ERROR_STOP=1", "-c", statement,
             at or self.url(database)],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        return done.stdout.strip()

    def database(self) -> str:
        """Make an empty database; its name."""
        name = f"test_{uuid4().hex[:12]}"
        self.run(f"CREATE DATABASE {name}")
        return name


class RedisServer(Server):
    """A Redis server without a password, with or without an append-only file.

    Args:
        settings: of redis.conf; can be changed before a `start`.
    """

    program = "redis-server"
    scheme = "redis"

    def __init__(
        self, folder: Path, settings: Mapping[str, Any] | None = None, **place: Any
    ) -> None:
        super().__init__(folder, **place)
        self.settings: dict[str, Any] = {**QUICK, **(settings or {})}

    @property
    def tls_port(self) -> int | None:
        """Where it speaks TLS, if it does."""
        return self.settings.get("tls-port")

    def start(self) -> None:
        """Start it and return when it takes commands."""
        options = [
            part for name, value in self.settings.items() for part in (f"--{name}", str(value))
        ]
        self._start(
            [program(self.program), "--port", str(self.port), "--bind", self.host,
             "--protected-mode", "no", "--dir", str(self.folder), *options]
        )  # fmt: skip
        self._await_ready()

    def stop(self) -> None:
        """Stop it as its own shutdown does."""
        if self.process is not None and self.process.poll() is None:
            self.signal(signal.SIGTERM)
            self.wait()

    def _ready(self) -> bool:
        return self.run("PING") == "PONG"

    def url(self, database: int = 0) -> str:
        return f"{self.scheme}://{self.host}:{self.port}/{database}"

    def run(self, *command: str) -> str:
        """Send a command and return the answer, an error too, with a line per element."""
        reader = hiredis.Reader(encoding="utf-8", errors="backslashreplace")
        try:
            with socket.create_connection((self.host, self.port), 10) as connection:
                connection.sendall(hiredis.pack_command(command))
                while (answer := reader.gets()) is False:
                    received = connection.recv(65536)
                    if not received:
                        return ""
                    reader.feed(received)
        except OSError as error:
            return str(error)
        return "\n".join(_lines(answer))


class ValkeyServer(RedisServer):
    """The same of Valkey's."""

    program = "valkey-server"
    scheme = "valkey"


def _lines(answer: Any) -> Iterator[str]:
    if isinstance(answer, list):
        for element in answer:
            yield from _lines(element)
    else:
        yield "" if answer is None else str(answer)


def server_folder(name: str) -> Path:
    """A folder that a server's own user may use, also when pytest's belongs to root."""
    folder = Path(tempfile.mkdtemp(prefix=f"portico-{name}-"))
    folder.chmod(0o755)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
