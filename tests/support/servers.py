"""Private PostgreSQL and Redis servers for tests: in a folder of their own, on free loopback ports.

Where a server's programs are not installed the tests are skipped with the reason, and fail when
`CI` is set: `scripts/test` brings them as far as the machine allows.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn
from uuid import uuid4

import pytest

from tests.support.waiting import STEP

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)

FAST = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
"""What spares the disk: nobody pulls this machine's plug, and a killed server loses nothing."""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def missing(what: str) -> NoReturn:
    reason = f"{what} is not installed; scripts/test installs it where it may"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def program(name: str) -> str:
    """Where a server's program is; skips or fails the test when it is nowhere."""
    places = [*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
    found = shutil.which(name, path=os.pathsep.join([*map(str, places), os.environ["PATH"]]))
    return found or missing(name)


def _dies_with_its_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Server:
    """A server process: it can be stopped, killed, frozen, and started again on the same data."""

    def __init__(self, folder: Path, port: int | None = None, host: str = "127.0.0.1") -> None:
        self.folder, self.host, self.port = folder, host, port or free_port()
        self.log = folder / "server.log"
        self.process: subprocess.Popen[bytes] | None = None

    def _start(
        self, command: list[str], *, user: str | None = None, wrap: tuple[str, ...] = ()
    ) -> None:
        assert self.process is None or self.process.poll() is not None
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*wrap, *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                user=user,
                group=user,
                extra_groups=[] if user else None,
                preexec_fn=_dies_with_its_parent,  # noqa: PLW1509 - before any thread of ours
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
        assert process.poll() is None, self._said()

    def _said(self) -> str:
        return self.log.read_text(errors="replace")[-4000:]

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def wait(self) -> None:
        assert self.process is not None
        self.process.wait(30)

    def kill(self) -> None:
        """End it as `kill -9` does, and wait until it is gone."""
        if self.process is not None and self.process.poll() is None:
            self.signal(signal.SIGKILL)
            self.wait()


class PostgresServer(Server):
    """A cluster with the superuser `portico`, password `portico`, checked over TCP.

    Args:
        settings: of postgresql.conf, over those of `FAST`; can be changed before a `start`.
    """

    def __init__(
        self, folder: Path, settings: Mapping[str, Any] | None = None, **place: Any
    ) -> None:
        super().__init__(folder, **place)
        self.settings = {**FAST, **(settings or {})}
        self.data = folder / "data"
        self._user = "postgres" if os.geteuid() == 0 else None
        folder.mkdir(parents=True, exist_ok=True)
        if self._user:
            folder.chmod(0o755)
            shutil.chown(folder, self._user, self._user)
        password = folder / "password"
        password.write_text("portico")
        password.chmod(0o644)
        subprocess.run(
            [program("initdb"), "-D", self.data, "-U", "portico", "-A", "scram-sha-256",
             "--pwfile", password, "-E", "UTF8", "--locale=C", "-N"],
            check=True, capture_output=True, user=self._user, cwd=folder,
        )  # fmt: skip

    def start(self) -> None:
        """Start it and return when it takes connections."""
        options = [f"-c{name}={value}" for name, value in self.settings.items()]
        self._start(
            [program("postgres"), "-D", str(self.data), "-p", str(self.port), "-h", self.host,
             "-k", str(self.folder), *options],
            user=self._user,
        )  # fmt: skip
        self._await_ready()

    def stop(self, mode: str = "fast") -> None:
        """Stop it: `smart`, `fast`, or `immediate`, which is a crash with recovery at the start."""
        number = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}
        if self.process is not None and self.process.poll() is None:
            self.signal(number[mode])
            self.wait()

    def _ready(self) -> bool:
        asked = [program("pg_isready"), "-q", "-h", self.host, "-p", str(self.port)]
        return subprocess.run(asked, check=False).returncode == 0

    def url(self, database: str = "postgres", scheme: str = "postgresql") -> str:
        return f"{scheme}://portico:portico@{self.host}:{self.port}/{database}"

    def run(self, statement: str, database: str = "postgres") -> str:
        """Run SQL by psql and return what it printed, unaligned and without headers."""
        done = subprocess.run(
            [program("psql"), "-XqAt", "-v", "ON_ERROR_STOP=1", "-c", statement,
             self.url(database)],
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

    def __init__(
        self, folder: Path, settings: Mapping[str, Any] | None = None, **place: Any
    ) -> None:
        super().__init__(folder, **place)
        folder.mkdir(parents=True, exist_ok=True)
        self.settings: dict[str, Any] = {"save": "", "appendonly": "no", **(settings or {})}

    def start(self) -> None:
        """Start it and return when it takes commands."""
        options = [
            part for name, value in self.settings.items() for part in (f"--{name}", str(value))
        ]
        self._start(
            [program("redis-server"), "--port", str(self.port), "--bind", self.host,
             "--dir", str(self.folder), *options]
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
        return f"redis://{self.host}:{self.port}/{database}"

    def run(self, *command: str) -> str:
        """Run a command by redis-cli and return what it printed."""
        done = subprocess.run(
            [program("redis-cli"), "-h", self.host, "-p", str(self.port), *command],
            check=False, capture_output=True, text=True,
        )  # fmt: skip
        return done.stdout.strip()


def server_folder(name: str) -> Path:
    """A folder that a server's own user may use, also when pytest's belongs to root."""
    folder = Path(tempfile.mkdtemp(prefix=f"portico-{name}-"))
    folder.chmod(0o755)
    return folder
