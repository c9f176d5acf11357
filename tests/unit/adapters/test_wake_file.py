"""The file that wakes other processes: who hears what."""

from __future__ import annotations

from pathlib import Path

import pytest

from portico.adapters.job_queue._sqlite import wake_file
from portico.adapters.job_queue._sqlite.wake_file import Toucher, Watcher
from tests.support.waiting import wait_until


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "jobs.db"
    path.touch()
    return path


async def test_alerts_wake_everybody_and_work_only_who_waits_for_work(database: Path) -> None:
    work: list[int] = []
    alerts: list[int] = []
    toucher = Toucher(database)
    for_work = Watcher(database, lambda: work.append(1))
    for_alerts = Watcher(database, lambda: alerts.append(1), alerts_only=True)
    for_work.open()
    for_alerts.open()
    with for_work.listening(), for_alerts.listening():
        toucher.touch()
        await wait_until(lambda: work)
        assert not alerts
        work.clear()
        toucher.alert()
        await wait_until(lambda: work and alerts)
    for_work.close()
    for_alerts.close()
    toucher.close()


@pytest.mark.parametrize("same_inode", [False, True])
async def test_a_watcher_follows_a_file_that_takes_the_place_of_the_removed_one(
    database: Path, monkeypatch: pytest.MonkeyPatch, same_inode: bool
) -> None:
    """File systems give the number of an inode to the next file, so it proves nothing."""
    if same_inode:
        monkeypatch.setattr(wake_file, "_identity", lambda _: (1, 1))
    heard: list[int] = []
    toucher, watcher = Toucher(database), Watcher(database, lambda: heard.append(1))
    watcher.open()
    with watcher.listening():
        for _ in range(3):
            toucher.alert()
            await wait_until(lambda: heard)
            heard.clear()
            wake_file.path_for(database).unlink()
            toucher.alert()  # makes the file anew before the watcher can look
            await wait_until(lambda: heard)
            heard.clear()
    watcher.close()
    toucher.close()
