"""What the tests of faults on servers have in common."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

from portico.exceptions import QueueConnectionError
from portico.ports.draft import Draft
from portico.ports.job import Job, JobStatus
from portico.ports.job_queue import JobQueueAdapter
from portico.ports.leasing import JobRecord
from tests.support.jobs import ended, make_job
from tests.support.servers import PostgresServer, RedisServer, server_folder
from tests.support.supervisors import ROOT, Place, SupervisorProcess
from tests.support.waiting import wait_until

APP = "tests.support.store_app:app"
LEASE = ("--lease", "2s")
IMPATIENT = {"connect_timeout": "2", "command_timeout": "2"}
"""Options of a PostgreSQL queue for a test that cannot wait ten seconds for each answer."""


@contextmanager
def server_of_its_own(kind: str, **options: Any) -> Iterator[PostgresServer | RedisServer]:
    """A started server that the test may break; it keeps what it has told to be written."""
    folder = server_folder(kind)
    made: PostgresServer | RedisServer
    try:
        if kind == "postgres":
            made = PostgresServer(folder / "server", **options)
        else:
            kept = {"appendonly": "yes", "appendfsync": "everysec"}
            options["settings"] = {**kept, **options.get("settings", {})}
            made = RedisServer(folder / "server", **options)
        made.start()
        try:
            yield made
        finally:
            made.kill()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def gated(here: Place, name: str = "gate", **fields: Any) -> Job:
    """A job that ends when `open_gate` is called; it says when it began."""
    payload = {"path": str(gate(here, name))}
    return make_job(job_type="test.until_there", payload=payload, **fields)


async def many(queue: JobQueueAdapter, count: int, job_type: str = "test.fine") -> list[UUID]:
    """Enqueue so many jobs at once."""
    drafts = [Draft.of(make_job(job_type=job_type)) for _ in range(count)]
    await queue.insert(drafts)
    return [draft.id for draft in drafts]


def gate(here: Place, name: str = "gate") -> Path:
    return here.folder / name


def open_gate(here: Place, name: str = "gate") -> None:
    gate(here, name).touch()


async def accounted(queue: JobQueueAdapter, job_id: UUID) -> JobRecord:
    """The record of a job that ended COMPLETED, every attempt of it accounted for."""
    assert (await ended(queue, job_id)).status is JobStatus.COMPLETED
    record = await queue.inspect(job_id)
    assert record is not None
    assert record.accounted
    return record


async def ran_once(here: Place, queue: JobQueueAdapter, job_id: UUID) -> None:
    """The job ends COMPLETED, was started once, and was charged with nothing."""
    record = await accounted(queue, job_id)
    leased = record.attempt - record.release_count  # it may have been handed on, not started
    assert (leased, record.job.retry_count, record.expiry_count) == (1, 0, 0), record
    assert here.ledger.count("BEGIN", job_id) == here.ledger.count("END", job_id) == 1


async def ran_twice(here: Place, queue: JobQueueAdapter, job_id: UUID) -> None:
    """The job ends COMPLETED by its second attempt, the first having lost its lease."""
    record = await accounted(queue, job_id)
    assert (record.attempt, record.job.retry_count, record.expiry_count) == (2, 1, 1), record
    assert here.ledger.count("BEGIN", job_id) == 2


def portico_status(here: Place) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "portico.cli", "--queue-url", here.url, "status"],
        capture_output=True, text=True, timeout=60, check=False, cwd=ROOT,
    )  # fmt: skip


def results_told_to_wait(said: str) -> int:
    """How many results wait for the store, as `portico status` says of all supervisors here."""
    return sum(int(count) for count in re.findall("and ([0-9]+) results? of what has ended", said))


async def said_by_status(
    here: Place, true: Callable[[str], object]
) -> subprocess.CompletedProcess[str]:
    """What `portico status` answers once this is true of it: supervisors tell every 2 seconds."""

    async def answer() -> subprocess.CompletedProcess[str] | None:
        said = await asyncio.to_thread(portico_status, here)
        return said if true(said.stderr) else None

    found = await wait_until(answer)
    assert found is not None
    return found


async def reconnected(queue: JobQueueAdapter) -> None:
    """A producer's connections that the server's end has broken are told as such, once each."""

    async def answers() -> bool:
        try:
            await queue.get_queue_stats("default")
        except QueueConnectionError:
            return False
        return True

    await wait_until(answers)


class Refusal(NamedTuple):
    """What somebody does to a server that is in use, how it is undone, and what is to be told."""

    name: str
    do: Callable[[], object]
    undo: Callable[[], object]
    told: str


async def lives_through(
    supervisor: SupervisorProcess, refusals: Sequence[Refusal], cut: Callable[[], object]
) -> None:
    """One refusal after the other is told by name, and its end too.

    `cut` ends the connections that there are: a server asks nobody again whom it has let in.
    """
    for refusal in refusals:
        away, back = (len(supervisor.events(name)) for name in ("store_unreachable", "store_back"))
        refusal.do()
        try:
            cut()
            await supervisor.until(
                lambda: any(
                    refusal.told in event["error"]  # noqa: B023 - called within this round
                    for event in supervisor.events("store_unreachable")[away:]  # noqa: B023
                ),
                what=f"the outage {refusal.name}",
            )
            assert supervisor.process.poll() is None, refusal.name
        finally:
            refusal.undo()
        await supervisor.until(
            lambda: len(supervisor.events("store_back")) > back,  # noqa: B023
            what=f"the end of {refusal.name}",
        )
