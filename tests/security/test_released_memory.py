"""What could not be stored is let go of at once, and not when garbage is collected: a supervisor
that collects seldom would keep every large request that failed."""

from __future__ import annotations

import gc
import sqlite3
import weakref
from collections.abc import Iterator
from contextlib import closing, suppress
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


@pytest.fixture(autouse=True)
def _uncollected() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def test_a_draft_that_a_locked_file_refuses_is_let_go_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "BUSY_SECONDS", 0.0)
    queue = compose.job_queue(f"sqlite:///{tmp_path}/jobs.db")
    await queue.initialize()
    payload = _Payload(b"{}")
    payload.kept = kept = _Kept()
    gone = weakref.ref(kept)
    del kept
    with closing(sqlite3.connect(tmp_path / "jobs.db", isolation_level=None)) as outsider:
        outsider.execute("BEGIN IMMEDIATE")
        with suppress(QueueConnectionError):
            await queue.insert([Draft.of(make_job())._replace(payload=payload)])
            pytest.fail("the file was locked")
    del payload
    for _ in range(3):
        await queue.get_queue_stats("default")
    assert gone() is None
    await queue.close()
