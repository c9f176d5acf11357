"""Every column of an SQLite file, set to what it never holds: one damaged row costs its own job."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from portico.adapters.job_queue import DatabaseJobQueueAdapter
from portico.adapters.job_queue._sqlite.schema import upgrade
from portico.ports.leasing import Answer, JobFilter, Settlement, Transition
from tests.support.damage import FAILURE, told, with_history
from tests.support.jobs import make_job

ODD: list[Any] = [
    "text", "", b"\0\xff", b"", 2**62, -(2**62), -1, 1.5, float("inf"), None, "a\0b", "\ufffd" * 9,
]  # fmt: skip
KEYS = {"seq"}
"""Another number there is another place in line, and nothing odd."""


def columns() -> Iterator[tuple[str, str]]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        upgrade(connection, "here")
        for table in ("portico_jobs", "portico_attempts"):
            for row in connection.execute(f"PRAGMA table_info({table})"):
                if row[1] not in KEYS:
                    yield table, row[1]


@pytest.mark.parametrize("status", ["retrying", "running"])
@pytest.mark.parametrize(("table", "column"), list(columns()), ids=lambda name: name)
async def test_an_odd_value_in_any_column_stops_nothing_but_its_own_job(
    table: str, column: str, status: str, tmp_path: Path
) -> None:
    path = tmp_path / "jobs.db"
    queue = DatabaseJobQueueAdapter(f"sqlite:///{path}?durability=normal")
    await queue.initialize()
    outsider = sqlite3.connect(path, isolation_level=None)
    try:
        for value in ODD:
            job, held = await with_history(queue, status)
            with suppress(sqlite3.Error):  # the schema forbids some of them
                outsider.execute(f"UPDATE {table} SET {column} = ?", (value,))
            sound = await queue.enqueue(make_job(priority=-1))
            assert sound.id in {one.id for one in (await queue.list_jobs(JobFilter(), 9)).jobs}
            assert (await queue.all_stats())["default"].pending_count >= 1
            await told(lambda job=job: queue.inspect(job.id))  # type: ignore[misc]
            await told(lambda job=job: queue.get_job(job.id))  # type: ignore[misc]
            await queue.renew(held)
            await queue.recover(10)
            crash = [
                Settlement(one.id, one.token, Transition.CRASH, failure=FAILURE) for one in held
            ]
            await queue.exchange(crash, (), 0)
            leases = (await queue.exchange((), ("default",), 5)).leases
            mine = [lease for lease in leases if lease.job_id == sound.id]
            assert len(mine) == 1, (value, leases)
            end = Settlement(mine[0].id, mine[0].token, Transition.COMPLETE)
            assert (await queue.exchange([end], (), 0)).receipts[0].answer is Answer.OK
            for statement in ("DELETE FROM portico_attempts", "DELETE FROM portico_jobs"):
                outsider.execute(statement)
    finally:
        outsider.close()
        await queue.close()


@pytest.mark.parametrize("column", ["attempt", "nonce"])
async def test_a_damaged_job_that_is_to_stop_hides_no_other(column: str, tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    queue = DatabaseJobQueueAdapter(f"sqlite:///{path}?durability=normal")
    await queue.initialize()
    try:
        for _ in range(2):
            await queue.enqueue(make_job())
        damaged, sound = (await queue.exchange((), ("default",), 2)).leases
        with closing(sqlite3.connect(path)) as outsider, outsider:
            outsider.execute(
                f"UPDATE portico_jobs SET {column} = 'odd' WHERE id = ?", (damaged.id,)
            )
        for lease in (damaged, sound):
            await queue.request_cancel(lease.job_id)

        assert await queue.cancel_requests() == [sound.key]
    finally:
        await queue.close()
