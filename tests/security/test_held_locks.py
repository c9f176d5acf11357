"""Locks of files that others may open too: whoever keeps one stops nobody."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from portico import compose
from portico.adapters.job_queue._sqlite import connection, turns, wake_file
from portico.exceptions import QueueConnectionError
from tests.support.jobs import make_job

_HOLDS = """
import fcntl, os, sys, time
lock = os.open(sys.argv[1], os.O_RDONLY)
fcntl.flock(lock, fcntl.LOCK_EX)
child = os.fork() if sys.argv[2] == "left" else 0
if child:
    print(child, flush=True)
    os._exit(0)
if sys.argv[2] != "left":
    print(os.getpid(), flush=True)
time.sleep(600)
"""


@pytest.fixture(autouse=True)
def _impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "BUSY_SECONDS", 0.2)


@contextmanager
def held(file: Path, how: str = "itself") -> Iterator[int]:
    """A process that only reads the file, keeps its lock, and does not run any more."""
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLDS, str(file), how], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    holder = int(process.stdout.readline())
    os.kill(holder, signal.SIGSTOP)
    if how == "left":
        process.wait()
    try:
        yield holder
    finally:
        with suppress(ProcessLookupError):
            os.kill(holder, signal.SIGKILL)
        process.stdout.close()
        process.wait()


@pytest.mark.security("S14")
async def test_a_queue_that_is_made_is_used_while_a_frozen_process_keeps_its_lock(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"sqlite:///{tmp_path}/jobs.db"
    made = compose.job_queue(url)
    await made.initialize()
    await made.close()
    file = wake_file.path_for(tmp_path / "jobs.db")
    with held(file) as holder:
        queue = compose.job_queue(url)
        await queue.initialize()
        await queue.enqueue(make_job())
        assert (await queue.get_queue_stats("default")).pending_count == 1
        await queue.close()
    [line] = [text for text in caplog.messages if text.startswith("wake_file_held")]
    assert str(file) in line
    if sys.platform == "linux":
        assert f"process {holder} (" in line


@pytest.mark.security("S14")
@pytest.mark.parametrize("how", ["itself", "left"])
async def test_a_queue_that_is_to_be_made_is_refused_with_the_name_of_who_keeps_its_lock(
    tmp_path: Path, how: str
) -> None:
    url, file = f"sqlite:///{tmp_path}/jobs.db", tmp_path / "jobs.db-wake"
    file.touch()
    queue = compose.job_queue(url)
    with held(file, how) as holder:
        with pytest.raises(QueueConnectionError, match="cannot be made ready right now") as caught:
            await queue.initialize()
        if sys.platform == "linux":
            known = f"process {holder} (" if how == "itself" else "a child of process "
            assert known in str(caught.value)
        assert str(file) in str(caught.value)
        assert caught.value.details["reason"] == "locked"
    await queue.initialize()
    await queue.enqueue(make_job())
    await queue.close()


@pytest.mark.security("S14")
async def test_the_event_loop_goes_on_while_the_lock_is_waited_for_and_so_does_a_cancellation(
    tmp_path: Path,
) -> None:
    file = tmp_path / "jobs.db-wake"
    file.touch()
    with held(file):
        queue = compose.job_queue(f"sqlite:///{tmp_path}/jobs.db")
        opening = asyncio.create_task(queue.initialize())
        for _ in range(20):
            await asyncio.sleep(0)
        assert not opening.done()
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
    await queue.initialize()
    await queue.close()


@pytest.mark.security("S14")
def test_a_turn_comes_when_the_one_before_ends(tmp_path: Path) -> None:
    database = tmp_path / "jobs.db"
    database.touch()
    wake_file.path_for(database).touch()
    with held(wake_file.path_for(database)) as holder, turns.turn(database, 0.0) as mine:
        assert mine.held_by is not None
        os.kill(holder, signal.SIGKILL)
    with turns.turn(database, 60.0) as mine:
        assert mine.held_by is None
