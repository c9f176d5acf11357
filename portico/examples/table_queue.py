"""How to write an adapter: the nine methods on one table of SQLite, and nothing else.

`NineMethodRules` of `portico.testing.contract` hold for it. What the nine methods cannot promise
(fences, recovery of what a dead supervisor held, results) the log says when work begins.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from portico.exceptions import ConflictError
from portico.ports.creators import as_given, portable
from portico.ports.draft import Draft
from portico.ports.job import CANCELLED_MESSAGE, WAITING, Job, JobStatus, QueueStats
from portico.ports.job_queue import JobQueueAdapter, queue_stats

_TABLE = (
    "CREATE TABLE IF NOT EXISTS jobs (seq INTEGER PRIMARY KEY, id TEXT UNIQUE, queue TEXT,"
    " status TEXT, priority INTEGER, due REAL, body BLOB)"
)
_NEXT = (
    "SELECT body FROM jobs WHERE queue = ? AND status IN ('pending', 'scheduled', 'retrying')"
    " AND due <= ? ORDER BY priority DESC, due, seq LIMIT 1"
)
_POLL = 0.05


class TableQueue(JobQueueAdapter):
    """Jobs in a file; several processes may share it.

    A statement takes the file's lock for well under a millisecond, so each is run on the loop.
    """

    def __init__(self, path: str, clock: Callable[[], float] = time.time) -> None:
        """Name the file; `clock` is the wall clock in seconds."""
        self._path = path
        self._clock = clock
        self._database: sqlite3.Connection | None = None

    async def initialize(self) -> None:
        if self._database is None:
            self._database = sqlite3.connect(self._path, isolation_level=None, timeout=10)
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute(_TABLE)

    async def close(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None

    async def enqueue(self, job: Job) -> Job:
        Draft.of(job)  # the rules of admission are the port's
        now = self._now()
        due = job.scheduled_at or now
        status = JobStatus.SCHEDULED if due > now else JobStatus.PENDING
        stored = replace(job, created_at=now, status=status)
        values = (str(job.id), job.queue_name, status, job.priority, due.timestamp(), _body(stored))
        try:
            self._run(
                "INSERT INTO jobs (id, queue, status, priority, due, body)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                *values,
            )
        except sqlite3.IntegrityError as error:
            raise ConflictError(f"a job with id {job.id} exists; it was left as it was") from error
        return stored

    async def dequeue(self, queue_name: str, timeout: float = 30) -> Job | None:
        deadline = time.monotonic() + timeout
        while (job := self._take(queue_name)) is None:
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            await asyncio.sleep(min(_POLL, left))
        return job

    async def acknowledge(self, job_id: UUID) -> None:
        done = {"status": JobStatus.COMPLETED, "error_message": None}
        self._end(job_id, lambda _, now: {**done, "completed_at": now})

    async def reject(
        self,
        job_id: UUID,
        requeue: bool = True,  # noqa: FBT001, FBT002 - the documented port
        error_message: str | None = None,
        *,
        delay: float = 0.0,
    ) -> None:
        def ended(job: Job, now: datetime) -> dict[str, Any]:
            if requeue and job.retry_count < job.max_retries:
                count = job.retry_count + 1
                return {"status": JobStatus.RETRYING, "retry_count": count, **said}
            status = JobStatus.DEAD_LETTER if requeue else JobStatus.FAILED
            return {"status": status, "failed_at": now, **said}

        said = {"error_message": error_message}
        self._end(job_id, ended, delay)

    async def get_job(self, job_id: UUID) -> Job | None:
        found = self._run("SELECT body FROM jobs WHERE id = ?", str(job_id))
        return _job(found[0][0]) if found else None

    async def cancel_job(self, job_id: UUID) -> bool:
        job = await self.get_job(job_id)
        if job is None or job.status not in WAITING:
            return False
        cancelled = replace(
            job,
            status=JobStatus.FAILED,
            failed_at=self._now(),
            error_message=CANCELLED_MESSAGE,
        )
        return self._change(job, cancelled)

    async def get_queue_stats(self, queue_name: str) -> QueueStats:
        found = self._run(
            "SELECT status, count(*) FROM jobs WHERE queue = ? GROUP BY status", queue_name
        )
        return queue_stats(queue_name, {JobStatus(status): count for status, count in found})

    def _take(self, queue_name: str) -> Job | None:
        """The next due job, RUNNING; another process that is quicker costs another look."""
        while found := self._run(_NEXT, queue_name, self._clock()):
            job = _job(found[0][0])
            running = replace(job, status=JobStatus.RUNNING, started_at=self._now())
            if self._change(job, running):
                return running
        return None

    def _end(
        self, job_id: UUID, ended: Callable[[Job, datetime], dict[str, Any]], delay: float = 0.0
    ) -> None:
        found = self._run("SELECT body FROM jobs WHERE id = ?", str(job_id))
        job = _job(found[0][0]) if found else None
        if job is not None and job.status is JobStatus.RUNNING:
            now = self._now()
            self._change(job, replace(job, **ended(job, now)), now + timedelta(seconds=delay))

    def _change(self, before: Job, after: Job, due: datetime | None = None) -> bool:
        """Store a job anew, unless it is no longer what it was: one statement, so atomic."""
        return bool(
            self._run(
                "UPDATE jobs SET status = ?, body = ?, due = coalesce(?, due)"
                " WHERE id = ? AND body = ? RETURNING 1",
                after.status, _body(after), None if due is None else due.timestamp(),
                str(before.id), _body(before),
            )
        )  # fmt: skip

    def _run(self, statement: str, *values: object) -> list[Any]:
        assert self._database is not None, "initialize() has not been called"
        return self._database.execute(statement, values).fetchall()

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), UTC)


def table_queue(url: str, lease: float) -> TableQueue:
    """Build one from a URL, `table:///jobs.db`: what the entry point of a package names."""
    del lease  # nine methods have no leases
    return TableQueue(url.removeprefix("table:///"))


def _body(job: Job) -> bytes:
    return msgspec.json.encode(portable(job))


def _job(body: bytes) -> Job:
    return as_given(msgspec.json.decode(body, type=Job))
