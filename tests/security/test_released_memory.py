"""What could not be stored is let go of at once, and not when garbage is collected: a supervisor
that collects seldom would keep every large request that failed."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from portico import compose
from portico.adapters.job_queue._sqlite import connection
from portico.exceptions import QueueConnectionError
from portico.ports.draft import Draft
from tests.support.jobs import make_job

pytestmark = pytest.mark.security("S5")


class _Payload(bytes):
    """Of which can be told when it is gone."""

    kept: object


class _Kept:
    pass


_HOLDS = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print(flush=True)
sys.stdin.read()
"""


@contextmanager
def held(database: Path) -> Iterator[None]:
    """Another process writes to the file, and does not end."""
    with subprocess.Popen(
        [sys.executable, "-c", _HOLDS, database],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield
        process.kill()


@pytest.fixture(autouse=True)
def _uncollected() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("alone", [False, True])
async def test_a_draft_that_a_locked_file_refuses_is_let_go_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alone: bool
) -> None:
    """Also where what was asked with it keeps the error that it has got."""
    monkeypatch.setattr(connection, "BUSY_SECONDS", 0.1)
    queue = compose.job_queue(f"sqlite:///{tmp_path}/jobs.db", alone=alone)
    await queue.initialize()
    await queue.enqueue(make_job())
    payload = _Payload(b"{}")
    payload.kept = kept = _Kept()
    gone = weakref.ref(kept)
    del kept
    draft = Draft.of(make_job())._replace(payload=payload)
    del payload
    with held(tmp_path / "jobs.db"):
        first = asyncio.ensure_future(queue.recover())  # the others wait for it, together
        await asyncio.sleep(0.01)
        asked = [queue.exchange((), ("default",), 1), queue.recover(), queue.insert([draft])]
        del draft
        errors = await asyncio.gather(first, *asked, return_exceptions=True)
        del asked
    assert [type(error) for error in errors] == [QueueConnectionError] * 4
    del errors[-1]
    for _ in range(3):
        await queue.get_queue_stats("default")
    assert gone() is None
    await queue.close()
