"""Every column of an SQLite file, set to what it never holds: one damaged row costs its own job."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import pytest

from portico.adapters.job_queue import DatabaseJobQueueAdapter
from portico.adapters.job_queue._sqlite.schema import upgrade
from portico.ports.job import Job, JobStatus
from portico.ports.leasing import Answer, JobFilter, Lease, Settlement, Transition
from tests.support.damage import FAILURE, UNCHECKED, any_type_goes, told, with_history
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
    with any_type_goes():
        await queue.initialize()
    outsider = sqlite3.connect(path, isolation_level=None)
    outsider.execute(UNCHECKED)
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


class Scene(NamedTuple):
    """Jobs that are to be damaged, each by another value, and their neighbours."""

    victims: list[UUID]
    held: list[Lease]
    """The leases of the victims, where they have any, and of the neighbours that run."""
    waiting: Job
    running: Lease
    stale: Lease
    dead: Job


MOMENTS = ("waits", "runs", "is lost", "has ended")


async def leased(queue: DatabaseJobQueueAdapter, count: int) -> list[Lease]:
    for _ in range(count):
        await queue.enqueue(make_job(max_retries=9, priority=9))
    return (await queue.exchange((), ("default",), count)).leases


async def scene(queue: DatabaseJobQueueAdapter, moment: str) -> Scene:
    dead, running, stale = await leased(queue, 3)
    end = Settlement(dead.id, dead.token, Transition.QUARANTINE, failure=FAILURE)
    await queue.exchange([end], (), 0)
    fallen = await queue.get_job(dead.job_id)
    assert fallen is not None
    held: list[Lease] = []
    if moment == "waits":
        victims = [(await queue.enqueue(make_job(priority=9))).id for _ in ODD]
    else:
        held = await leased(queue, len(ODD))
        victims = [lease.job_id for lease in held]
    if moment == "has ended":
        ends = [Settlement(one.id, one.token, Transition.FAIL, failure=FAILURE) for one in held]
        await queue.exchange(ends, (), 0)
    waiting = await queue.enqueue(make_job(priority=-1))
    return Scene(victims, held, waiting, running, stale, fallen)


async def looked_at(queue: DatabaseJobQueueAdapter, there: Scene) -> None:
    """Whoever looks sees the neighbours, and gets an answer or our own words about the rest."""
    listed = {job.id for job in (await queue.list_jobs(JobFilter(), 99)).jobs}
    neighbours = (there.waiting.id, there.running.job_id, there.stale.job_id, there.dead.id)
    assert listed.issuperset(neighbours)
    await queue.all_stats()
    await queue.outlook()
    await queue.served()
    for job_id in there.victims:
        for asked in (queue.inspect, queue.get_job, queue.get_result):
            await told(lambda asked=asked, job_id=job_id: asked(job_id))  # type: ignore[misc]


async def gone_on_with(queue: DatabaseJobQueueAdapter, there: Scene) -> None:
    """What supervisors do, again and again."""
    assert await queue.request_cancel(there.running.job_id)
    assert there.running.key in await queue.cancel_requests()
    assert (await queue.renew([*there.held, there.running]))[-1].answer is Answer.OK
    leases: list[Lease] = []
    while more := (await queue.exchange((), ("default",), 5)).leases:
        leases += more
    assert there.waiting.id in {lease.job_id for lease in leases}
    ends = [
        Settlement(one.id, one.token, Transition.CRASH, failure=FAILURE)
        for one in (*there.held, *leases)
        if one.job_id != there.waiting.id
    ]
    done = [
        Settlement(one.id, one.token, Transition.COMPLETE)
        for one in (there.running, *leases)
        if one.job_id in (there.waiting.id, there.running.job_id)
    ]
    receipts = (await queue.exchange([*ends, *done], (), 0)).receipts
    assert {receipt.answer for receipt in receipts[len(ends) :]} == {Answer.OK}


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("column", [name for table, name in columns() if table == "portico_jobs"])
async def test_a_row_damaged_at_any_moment_keeps_no_neighbour_from_its_end(
    column: str, moment: str, tmp_path: Path
) -> None:
    path = tmp_path / "jobs.db"
    queue = DatabaseJobQueueAdapter(f"sqlite:///{path}?durability=normal")
    with any_type_goes():
        await queue.initialize()
    outsider = sqlite3.connect(path, isolation_level=None)
    outsider.execute(UNCHECKED)
    try:
        there = await scene(queue, moment)
        for job_id, value in zip(there.victims, ODD, strict=True):
            with suppress(sqlite3.Error):  # an id that another one has, or NULL where none may be
                outsider.execute(
                    f"UPDATE portico_jobs SET {column} = ? WHERE id = ?", (value, job_id.bytes)
                )
        await looked_at(queue, there)
        if moment == "is lost":
            outsider.execute("UPDATE portico_owners SET id = id + 1000")  # others live
            recovered = {one.lease.job_id for one in await queue.recover(99)}
            assert there.stale.job_id in recovered
            assert outsider.execute(_RUNNING).fetchall() == []
            assert await queue.recover(99) == []
        else:
            await gone_on_with(queue, there)
        await looked_at(queue, there)
        assert there.dead.id in await queue.redrive([*there.victims, there.dead.id])
        assert await queue.cancel_job(there.dead.id)
        assert await queue.purge(JobFilter(statuses=ENDED, older_than=0.0), 99) >= 1
    finally:
        outsider.close()
        await queue.close()


_RUNNING = "SELECT seq FROM portico_jobs WHERE status = 'running'"
ENDED = (JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.DEAD_LETTER)


@pytest.mark.parametrize("column", ["attempt", "nonce"])
async def test_a_damaged_job_that_is_to_stop_hides_no_other(column: str, tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    queue = DatabaseJobQueueAdapter(f"sqlite:///{path}?durability=normal")
    with any_type_goes():
        await queue.initialize()
    try:
        for _ in range(2):
            await queue.enqueue(make_job())
        damaged, sound = (await queue.exchange((), ("default",), 2)).leases
        with closing(sqlite3.connect(path)) as outsider, outsider:
            outsider.execute(UNCHECKED)
            outsider.execute(
                f"UPDATE portico_jobs SET {column} = 'odd' WHERE id = ?", (damaged.id,)
            )
        for lease in (damaged, sound):
            await queue.request_cancel(lease.job_id)

        assert await queue.cancel_requests() == [sound.key]
    finally:
        await queue.close()
