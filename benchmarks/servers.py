"""Private PostgreSQL and Redis servers, on free loopback ports, set up as a durable deployment.

Their data goes to the folder for temporary files, which has to be on a disk (`TMPDIR` names
another one): on a file system in memory a commit costs nothing.
"""

from __future__ import annotations

import grp
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

POSTGRES_SETTINGS = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",  # else a checkpoint falls into one run and not into the next
}
REDIS_SETTINGS = {"appendonly": "yes", "appendfsync": "everysec", "save": ""}

_ROOT = Path(__file__).parents[1]
_START = 30.0
_FIRST_PORT = 10_000
_STEP = 0.02


class NoServerError(Exception):
    """A server's program is not installed, or did not start."""


@contextmanager
def postgres() -> Iterator[str]:
    """The URL of a new PostgreSQL server, which is gone afterwards."""
    user = modest_user()
    with _folder("postgres", user) as folder:
        _run_as(
            user, folder, "initdb", "-D", "data", "-U", "bench", "-A", "trust", "-N", "-E", "UTF8",
            "--locale=C",
        )  # fmt: skip
        port, settings = free_port(), [f"-c{k}={v}" for k, v in POSTGRES_SETTINGS.items()]
        command = [find("postgres"), "-D", "data", "-p", str(port), "-h", "127.0.0.1"]
        asked = [find("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]

        def ready() -> bool:
            return subprocess.run(asked, check=False).returncode == 0  # noqa: S603 - ours

        with _running([*command, "-k", str(folder), *settings], folder, user, ready):
            yield f"postgresql://bench@127.0.0.1:{port}/postgres"


@contextmanager
def redis() -> Iterator[str]:
    """The URL of a new Redis server, which is gone afterwards."""
    with _folder("redis", None) as folder:
        port = free_port()
        settings = [part for name, value in REDIS_SETTINGS.items() for part in (f"--{name}", value)]
        command = [find("redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--dir", "."]

        def ready() -> bool:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as asking:
                asking.sendall(b"PING\r\n")
                return asking.recv(16).startswith(b"+PONG")
            return False

        with _running([*command, *settings], folder, None, ready):
            yield f"redis://127.0.0.1:{port}/0"


def free_port() -> int:
    """A port of the loopback that nobody listens on now, and that no client will be given."""
    while True:
        port = _FIRST_PORT + secrets.randbelow(_first_of_clients() - _FIRST_PORT)
        with socket.socket() as listener, suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port


def _first_of_clients() -> int:
    """The first port that a connection may get for its own end: those below stay free between a
    look at them and the start, or the next start, of a server."""
    with suppress(OSError, ValueError):
        first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
        return max(first, _FIRST_PORT + 10_000)
    return 32768


def find(program: str) -> str:
    """Where a server's program is.

    Raises:
        NoServerError: nowhere.
    """
    places = [
        *sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True),
        *os.get_exec_path(),
        *("/usr/sbin", "/sbin"),
        *_ROOT.glob(".venv/servers/*/pginstall/bin"),
        _ROOT / ".venv/servers/bin",
    ]
    found = shutil.which(program, path=os.pathsep.join(map(str, places)))
    if not found:
        raise NoServerError(f"{program} is not installed; scripts/servers brings it")
    return found


def modest_user() -> str | None:
    """Who runs a server that refuses to be run by root; `None` when we are not root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    raise NoServerError("PostgreSQL refuses to be run by root, and there is no other user")


@contextmanager
def _folder(name: str, user: str | None) -> Iterator[Path]:
    with TemporaryDirectory(prefix=f"bench-{name}-") as made:
        folder = Path(made)
        if user:
            folder.chmod(0o755)
            shutil.chown(folder, user, group_of(user))
        yield folder


def _run_as(user: str | None, folder: Path, program: str, *arguments: str) -> None:
    done = subprocess.run(  # noqa: S603 - a server's program
        [find(program), *arguments], check=False, capture_output=True, text=True, cwd=folder,
        user=user, group=user and group_of(user), extra_groups=[] if user else None,
    )  # fmt: skip
    if done.returncode:
        raise NoServerError(f"{program}: {done.stderr.strip()[-500:]}")


@contextmanager
def _running(
    command: list[str], folder: Path, user: str | None, ready: Callable[[], bool]
) -> Iterator[None]:
    log = folder / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - a server's program
            [*_wrap(user), *command], stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            cwd=folder, start_new_session=True,
        )  # fmt: skip
    try:
        _await(process, ready, log)
        yield
    finally:
        process.terminate()
        try:
            process.wait(_START)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await(process: subprocess.Popen[bytes], ready: Callable[[], bool], log: Path) -> None:
    pause, deadline = threading.Event(), time.monotonic() + _START
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            said = log.read_text(encoding="utf-8", errors="replace")[-500:]
            raise NoServerError(f"{process.args!r} did not start: {said}")
        pause.wait(_STEP)


def _wrap(user: str | None) -> list[str]:
    """It changes the user, and lets the server die with us, where the tool for that is there."""
    tool = shutil.which("setpriv")
    if tool is None and user:
        raise NoServerError("setpriv, of util-linux, is needed to leave root")
    if tool is None:
        return []
    to = ["--reuid", user, "--regid", group_of(user), "--clear-groups"] if user else []
    return [tool, *to, "--pdeathsig", "KILL"]


def group_of(user: str) -> str:
    """The name of a user's own group."""
    return grp.getgrgid(pwd.getpwnam(user).pw_gid).gr_name
