"""What the hot path asks of SQLite costs the same however many jobs wait or are kept.

The statements are those that run: a trace sees them, and the steps of SQLite's machine are counted.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import sqlite3
from contextlib import closing

import pytest

from portico import compose
from tests.support import hot_path

FEW, MANY = 1_000, 20_000
_STEP = 100
_READ_OR_WRITTEN = re.compile(r"\s*(WITH|SELECT|UPDATE|INSERT|DELETE)", re.IGNORECASE)
_WHOLE_TABLE = re.compile(
    r"SCAN (portico_jobs|portico_attempts)\b(?! USING (COVERING )?INDEX portico_jobs_running)"
)
"""Running jobs are as many as workers hold: their index may be read from end to end."""


class Seen:
    """The statements of a connection, and the steps that they took."""

    def __init__(self):
        self.statements = []
        self.steps = 0

    def step(self):
        self.steps += _STEP

    def watch(self, connection):
        connection.set_trace_callback(self.statements.append)
        connection.set_progress_handler(self.step, _STEP)


def unwatch(connection):
    connection.set_trace_callback(None)
    connection.set_progress_handler(None, 0)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plans")
    made = {rows: folder / f"{rows}.db" for rows in (FEW, MANY)}
    for rows, path in made.items():
        asyncio.run(filled(path, rows))
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("ANALYZE")
    return made


async def filled(path, rows):
    queue = compose.job_queue(f"sqlite:///{path}?durability=normal")
    await queue.initialize()
    await hot_path.fill(queue, rows)
    await queue.close()


async def seen_of(act, path):
    queue = compose.job_queue(f"sqlite:///{path}?durability=normal")
    await queue.initialize()
    store = queue._store
    try:
        await act(queue, await hot_path.lease(queue))  # what is only done the first time
        held, seen = await hot_path.lease(queue), Seen()
        for request in (store._write, store._read):
            await request(seen.watch)
        await act(queue, held)
        for request in (store._write, store._read):
            await request(unwatch)
        return seen
    finally:
        await queue.close()


def plans(path, statements):
    with closing(sqlite3.connect(path)) as connection:
        for statement in dict.fromkeys(statements):
            if _READ_OR_WRITTEN.match(statement):
                rows = connection.execute(f"EXPLAIN QUERY PLAN {statement}").fetchall()
                yield statement, "\n".join(row[3] for row in rows)


@pytest.mark.slow
@pytest.mark.parametrize("act", hot_path.ACTS, ids=lambda act: act.__name__)
async def test_the_hot_path_reads_what_it_needs_and_no_more(act, files, tmp_path):
    files = {rows: shutil.copy(path, tmp_path) for rows, path in files.items()}
    few, many = await seen_of(act, files[FEW]), await seen_of(act, files[MANY])

    found = list(plans(files[MANY], many.statements))
    assert found
    for statement, plan in found:
        assert not _WHOLE_TABLE.search(plan), f"{statement}\n\n{plan}"
    assert many.steps <= 1.5 * few.steps + 1000


async def test_a_scan_would_be_noticed(files):
    statement = "SELECT count(*) FROM portico_jobs WHERE error_type = 'x'"

    [(_, plan)] = plans(files[MANY], [statement])

    assert _WHOLE_TABLE.search(plan)
