"""Every verb of the command over damaged rows: these are shown as far as they can be read, or
refused in one line, and nothing ends in a traceback of Python's."""

from __future__ import annotations

import asyncio
import io
import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from portico.adapters.job_queue import DatabaseJobQueueAdapter
from portico.adapters.job_queue._sqlite.schema import upgrade
from portico.cli.command import run
from portico.ports.leasing import Settlement, Transition
from tests.support.damage import FAILURE
from tests.support.jobs import make_job

pytestmark = pytest.mark.security("S8")

ODD: list[Any] = [b"\0\xff", 1.5, -(2**62), "a\0b\x1b[2J", None]


class Said:
    """What a run of the command has said; never a traceback, and nothing that a terminal obeys."""

    def __init__(self, *arguments: str) -> None:
        streams = [io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2)]
        with redirect_stdout(streams[0]), redirect_stderr(streams[1]):
            self.code = run(arguments)
        self.out, self.err = (stream.buffer.getvalue().decode() for stream in streams)  # type: ignore[attr-defined]
        assert "Traceback" not in self.err
        assert "\x1b" not in self.out + self.err


def look(url: str, *verb: str) -> Any:
    """What a verb says, in its table and as JSON; `None` where it refuses."""
    Said("-u", url, *verb)
    said = Said("-u", url, *verb, "--json")
    if said.out:
        return json.loads(said.out)
    assert said.err.startswith("portico: "), (verb, said.code, said.err)
    assert said.err.count("\n") == 1
    return None


def look_at_all(url: str, job_ids: Sequence[UUID]) -> None:
    """All verbs; those that look at one job at each, and at the end those that change one."""
    assert look(url, "status") is not None
    assert len(look(url, "jobs", "list", "--limit", "1000")["jobs"]) >= len(job_ids)
    assert look(url, "dead", "list", "--limit", "1000") is not None
    keys = look(url, "jobs", "show", str(job_ids[0])).keys()
    for job_id in job_ids[1:]:
        shown = look(url, "jobs", "show", str(job_id))
        assert shown is None or shown.keys() == keys
    for job_id in job_ids[::7]:
        look(url, "jobs", "result", str(job_id))
        Said("-u", url, "jobs", "cancel", str(job_id))
        Said("-u", url, "dead", "retry", str(job_id))


def columns(table: str) -> list[str]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        upgrade(connection, "here")
        return [str(row[1]) for row in connection.execute(f"PRAGMA table_info({table})")]


async def dead(url: str, count: int) -> list[UUID]:
    """So many dead jobs, each with an attempt in its history."""
    queue = DatabaseJobQueueAdapter(url)
    await queue.initialize()
    try:
        jobs = [await queue.enqueue(make_job(max_retries=0)) for _ in range(count)]
        leases = (await queue.exchange((), ("default",), count)).leases
        ends = [Settlement(one.id, one.token, Transition.RETRY, failure=FAILURE) for one in leases]
        await queue.exchange(ends, (), 0)
    finally:
        await queue.close()
    return [job.id for job in jobs]


@pytest.mark.parametrize("table", ["portico_jobs", "portico_attempts"])
def test_no_value_in_a_column_of_sqlite_ends_a_verb_in_a_traceback(
    table: str, tmp_path: Path
) -> None:
    names = columns(table)
    url = f"sqlite:///{tmp_path / 'jobs.db'}?durability=normal"
    sound, *job_ids = asyncio.run(dead(url, len(names) * len(ODD) + 1))
    key = "id" if table == "portico_jobs" else "job_id"
    with closing(sqlite3.connect(tmp_path / "jobs.db", isolation_level=None)) as outsider:
        outsider.execute("PRAGMA ignore_check_constraints = on")
        damages = [(name, value) for name in names for value in ODD]
        for (name, value), job_id in zip(damages, job_ids, strict=True):
            with suppress(sqlite3.Error):  # the schema forbids some of them
                outsider.execute(
                    f"UPDATE {table} SET {name} = ? WHERE {key} = ?", (value, job_id.bytes)
                )
    look_at_all(url, [sound, *job_ids])


@pytest.mark.parametrize("column", ["queue_name", "total"])
def test_no_odd_count_of_a_queue_ends_a_verb_in_a_traceback(column: str, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'jobs.db'}?durability=normal"
    asyncio.run(dead(url, 1))
    with closing(sqlite3.connect(tmp_path / "jobs.db", isolation_level=None)) as outsider:
        for value in ODD:
            with suppress(sqlite3.Error):
                outsider.execute(f"UPDATE portico_queues SET {column} = ?", (value,))
            assert look(url, "status") is not None
            Said("-u", url, "status", "--queue", "default")
