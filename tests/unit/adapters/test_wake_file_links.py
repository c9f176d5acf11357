"""The wake file where a database has several names or several users."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from portico import compose
from portico.adapters.job_queue._sqlite import wake_file
from portico.adapters.job_queue._sqlite.wake_file import Toucher, Watcher
from tests.support.servers import server_folder
from tests.support.waiting import wait_until

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to other users")


@pytest.fixture
def database(tmp_path: Path) -> Path:
    folder = tmp_path / "real"
    folder.mkdir()
    (folder / "jobs.db").touch(0o600)
    (tmp_path / "link.db").symlink_to(folder / "jobs.db")
    (tmp_path / "folder").symlink_to(folder)
    (tmp_path / "twice.db").symlink_to(tmp_path / "link.db")
    return folder / "jobs.db"


@pytest.mark.parametrize("name", ["link.db", "folder/jobs.db", "twice.db", "real/../real/jobs.db"])
async def test_every_name_of_a_database_leads_to_one_wake_file(
    database: Path, tmp_path: Path, name: str
) -> None:
    for touches, hears in ((database, tmp_path / name), (tmp_path / name, database)):
        heard: list[int] = []
        toucher, watcher = Toucher(touches), Watcher(hears, lambda: heard.append(1))  # noqa: B023
        watcher.open()
        with watcher.listening():
            toucher.alert()
            await wait_until(lambda: heard)  # noqa: B023
        watcher.close()
        toucher.close()
    assert [path.name for path in tmp_path.rglob("*-wake")] == ["jobs.db-wake"]


async def test_a_job_created_through_a_link_wakes_who_waits_at_the_file(
    database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    real = compose.job_queue(f"sqlite:///{database}")
    await real.initialize()
    assert (await real.exchange((), ("default",), 1)).leases == []
    waiting = asyncio.ensure_future(real.wait(("default",), 3600))
    async with compose.job_service("sqlite:///link.db") as jobs:
        monkeypatch.chdir("/")
        await jobs.create_job("a.b", {})
    await waiting
    [lease] = (await real.exchange((), ("default",), 1)).leases
    asked = asyncio.ensure_future(real.cancel_requests())
    async with compose.job_service(f"sqlite:///{tmp_path}/link.db") as jobs:
        assert await jobs.cancel_job(lease.job_id, running=True)
        while (lease.id, lease.token) not in (heard := await asked):
            assert heard == []  # what it hears at once is what was asked before it listened
            asked = asyncio.ensure_future(real.cancel_requests())
    await real.close()


async def test_a_file_with_another_hard_link_is_warned_of(
    database: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with compose.job_service(f"sqlite:///{database}"):
        pass
    assert "store_has_other_names" not in caplog.text
    os.link(database, database.with_name("other.db"))
    async with compose.job_service(f"sqlite:///{database}"):
        pass
    assert "store_has_other_names" in caplog.text


@AS_ROOT
def test_a_wake_file_that_root_makes_is_the_databases_users(database: Path) -> None:
    os.chown(database, 65534, 65534)
    Toucher(database).touch()
    made = wake_file.path_for(database).stat()
    assert (made.st_uid, made.st_gid, made.st_mode & 0o777) == (65534, 65534, 0o600)


@AS_ROOT
def test_a_wake_file_of_somebody_else_is_made_anew_by_the_databases_user() -> None:
    folder = server_folder("wake")
    database = folder / "jobs.db"
    database.touch(0o600)
    wake = wake_file.path_for(database)
    wake.touch(0o600)
    for path in (database, folder):
        os.chown(path, 65534, 65534)
    os.seteuid(65534)
    try:
        descriptor = wake_file.open_for(database)
    finally:
        os.seteuid(0)
    assert descriptor is not None
    assert os.fstat(descriptor).st_uid == wake.stat().st_uid == 65534
    os.close(descriptor)


def test_a_wake_file_that_is_somebody_elses_by_another_name_is_not_written_to(
    database: Path, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    os.link(victim, wake_file.path_for(database))
    Toucher(database).touch()
    assert victim.read_bytes() == b"mine"
