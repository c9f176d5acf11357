"""What stands where a file is looked for, prepared by somebody else: a pipe, a device, a circle.

Each of these is tried with what waits for ever where it is opened without a thought.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from portico import compose
from portico.adapters.audit.sqlite_audit import DatabaseAuditAdapter
from portico.exceptions import ConfigurationError, DatabaseError, QueueConnectionError
from portico.ports.audit import AuditQuery
from portico.ports.leasing import JobFilter
from portico.supervisor import notify, state_files
from portico.supervisor.config import resolve_queue_url
from portico.supervisor.trouble import Notice, troubles
from portico.utils.log_output import output_for
from portico.utils.plain_files import oddity, read_plain
from tests.support.jobs import make_job
from tests.support.supervisors import ROOT
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.security("S14")


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        folder = os.open(path.parent, os.O_PATH) if sys.platform == "linux" else -1
        try:
            server.bind(f"/proc/self/fd/{folder}/{path.name}" if folder >= 0 else str(path))
        finally:
            if folder >= 0:
                os.close(folder)


ODD: dict[str, Callable[[Path], object]] = {
    "a pipe": os.mkfifo,
    "a socket": _socket,
    "a directory": Path.mkdir,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a link that leads in a circle": lambda path: path.symlink_to(path.name),
}
odd = pytest.mark.parametrize("kind", ODD)


def command(folder: Path, *arguments: str, **streams: object) -> subprocess.CompletedProcess[str]:
    """Run `portico` there; one that hangs fails the test."""
    streams = {"stdin": subprocess.DEVNULL} | streams
    return subprocess.run(  # type: ignore[call-overload,no-any-return]
        [sys.executable, "-m", "portico.cli", *arguments], cwd=folder, capture_output=True,
        text=True, timeout=PATIENCE, check=False, **streams,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PORTICO_QUEUE_URL": "sqlite:///jobs.db",
             "XDG_RUNTIME_DIR": str(folder)},
    )  # fmt: skip


@odd
@pytest.mark.parametrize("ending", ["", "-journal", "-wal", "-shm"])
async def test_a_database_of_which_a_part_is_none_is_refused_by_name(
    tmp_path: Path, kind: str, ending: str
) -> None:
    for create in (True, False):
        folder = tmp_path / str(create)
        folder.mkdir()
        made = compose.job_queue(f"sqlite:///{folder}/jobs.db")
        if ending:
            await made.initialize()
            await made.close()
        part = folder / f"jobs.db{ending}"
        part.unlink(missing_ok=True)
        ODD[kind](part)
        queue = compose.job_queue(f"sqlite:///{folder}/jobs.db", create=create)
        with pytest.raises(ConfigurationError, match=f"{part} is {kind}"):
            await queue.initialize()


async def test_a_pipe_beside_a_database_in_use_is_an_outage_that_ends(tmp_path: Path) -> None:
    queue = compose.job_queue(f"sqlite:///{tmp_path}/jobs.db")
    await queue.initialize()
    await queue.enqueue(make_job())
    os.mkfifo(tmp_path / "jobs.db-journal")
    queue._store._writer._connection.close()  # type: ignore[attr-defined]
    queue._store._writer._connection = None  # type: ignore[attr-defined]
    with pytest.raises(QueueConnectionError, match=r"jobs.db-journal is a pipe"):
        await queue.enqueue(make_job())
    (tmp_path / "jobs.db-journal").unlink()
    await queue.enqueue(make_job())
    assert (await queue.get_queue_stats("default")).pending_count == 2
    await queue.close()


@pytest.mark.parametrize("left", [0, 100, 4096 + 1])
async def test_a_database_that_somebody_cuts_off_while_it_is_used_is_told(
    tmp_path: Path, left: int
) -> None:
    queue = compose.job_queue(f"sqlite:///{tmp_path}/jobs.db")
    await queue.initialize()
    await queue.enqueue_many([make_job() for _ in range(2000)])
    os.truncate(tmp_path / "jobs.db-wal", 0)
    os.truncate(tmp_path / "jobs.db", left)
    with suppress(DatabaseError, QueueConnectionError):  # and no other error, and no end of waiting
        for _ in range(3):
            await queue.enqueue_many([make_job() for _ in range(2000)])
            await queue.exchange((), ("default",), 10)
            await queue.list_jobs(JobFilter())
    with suppress(DatabaseError, QueueConnectionError):
        await queue.close()


@odd
@pytest.mark.parametrize("ending", ["", "-journal"])
async def test_an_audit_log_that_is_none_is_told(tmp_path: Path, kind: str, ending: str) -> None:
    ODD[kind](tmp_path / f"audit.db{ending}")
    audit = DatabaseAuditAdapter(tmp_path / "audit.db")
    with pytest.raises(DatabaseError, match=f"(audit.db{ending}|/dev/zero) is {kind}"):
        await audit.search_events(AuditQuery())
    await audit.close()


@odd
def test_a_configuration_file_that_is_none_is_refused_and_not_passed_over(
    tmp_path: Path, kind: str
) -> None:
    ODD[kind](tmp_path / "portico.toml")
    with pytest.raises(ConfigurationError, match=r"portico.toml cannot be read: "):
        resolve_queue_url(None, tmp_path)


def test_a_configuration_file_is_read_up_to_a_bound(tmp_path: Path) -> None:
    with (tmp_path / "portico.toml").open("wb") as file:
        file.truncate(2**40)  # takes no room on a disk, and all memory
    with pytest.raises(ConfigurationError, match="it has more than 1,048,576 bytes"):
        resolve_queue_url(None, tmp_path)


@odd
def test_what_is_no_file_beside_what_supervisors_tell_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "elsewhere"))
    url = "redis://host/0"
    Notice(url).put(seconds=0.0, said="away", waiting=0)
    ODD[kind](tmp_path / f"portico-{os.geteuid()}" / "0.trouble.json")
    assert [found.said for found in troubles(url)] == ["away"]


def test_a_folder_full_of_names_is_looked_through_up_to_a_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state_files, "_MOST", 3)
    for number in range(9):
        (tmp_path / f"{number}.trouble.json").touch()
    assert len(list(state_files._files(tmp_path, "trouble"))) == 3


@pytest.mark.parametrize("kind", ["a pipe", "a socket", "a directory"])
def test_a_log_file_that_nobody_reads_is_refused(tmp_path: Path, kind: str) -> None:
    ODD[kind](tmp_path / "log")
    with pytest.raises(ConfigurationError, match=r"log_file_path is .*cannot be opened"):
        output_for("file", tmp_path / "log")


def test_a_log_goes_into_a_pipe_that_somebody_reads(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "log")
    reader = os.open(tmp_path / "log", os.O_RDONLY | os.O_NONBLOCK)
    output = output_for("file", tmp_path / "log")
    output.write("a line")
    assert os.read(reader, 100) == b"a line\n"
    output.close()
    os.close(reader)


def test_a_service_manager_that_reads_no_more_stops_nobody(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(notify, "_PATIENCE", 0.05)
    address = tmp_path / "n"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("n")
        monkeypatch.setenv("NOTIFY_SOCKET", str(address))
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
            other.setblocking(False)
            with suppress(BlockingIOError):
                while True:
                    other.sendto(b"no room", "n")
        notify.systemd("READY=1")
        assert manager.recv(100) == b"no room"


def test_a_payload_without_an_end_is_refused(tmp_path: Path) -> None:
    with open("/dev/zero", "rb") as endless:
        said = command(tmp_path, "enqueue", "a.b", "-", stdin=endless)
    assert (said.returncode, said.stdout) == (4, "")
    assert "the payload is longer than 4,194,304 bytes" in said.stderr


def test_no_command_waits_for_a_pipe_that_somebody_has_put_there(tmp_path: Path) -> None:
    assert command(tmp_path, "enqueue", "a.b", "{}").returncode == 0
    (tmp_path / f"portico-{os.geteuid()}").mkdir(mode=0o700)
    os.mkfifo(tmp_path / f"portico-{os.geteuid()}" / "1.trouble.json")
    os.mkfifo(tmp_path / f"portico-{os.geteuid()}" / "1.full.json")
    (tmp_path / "jobs.db-wake").unlink()
    os.mkfifo(tmp_path / "jobs.db-wake")
    assert "1 job waits" in command(tmp_path, "status").stderr
    os.mkfifo(tmp_path / "jobs.db-journal")
    said = command(tmp_path, "enqueue", "a.b", "{}")
    assert said.returncode == 1
    assert "jobs.db-journal is a pipe" in said.stderr


@odd
def test_what_is_no_file_is_not_read(tmp_path: Path, kind: str) -> None:
    ODD[kind](tmp_path / "odd")
    assert oddity(tmp_path / "odd") == kind
    with pytest.raises(OSError):
        read_plain(tmp_path / "odd", 100, links=True)
    with pytest.raises(OSError):
        read_plain(tmp_path / "odd", 100)
