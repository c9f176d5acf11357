"""What was chosen by its type and not leased is found again at once."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from portico.adapters.job_queue import DatabaseJobQueueAdapter, RedisJobQueueAdapter
from portico.adapters.job_queue._sweep import PORTION
from portico.exceptions import QueueConnectionError
from portico.ports.draft import Draft
from portico.ports.wanted import Wanted
from tests.support.jobs import make_job
from tests.support.servers import PostgresServer, RedisServer

WANTED = Wanted(frozenset({"full"}))
_LEASES, _ANSWER_OF_LEASE = 3, 5
"""Where the leases stand in what `lease.lua` answers, and how much that is."""


def _one_lost(run: Callable[..., Any], leased: Callable[[Any], Any]) -> Callable[..., Any]:
    """The first answer with leases in it gets lost."""
    lost: list[bool] = []

    async def once(*arguments: Any, **named: Any) -> Any:
        answer = await run(*arguments, **named)
        if leased(answer) and not lost:
            lost.append(True)
            raise QueueConnectionError("its answer got lost", {"reason": "unreachable"})
        return answer

    return once


async def _behind_a_flood(queue: Any) -> list[UUID]:
    await queue.initialize()
    full = [make_job(job_type="full") for _ in range(2 * PORTION)]
    others = [make_job(job_type="other") for _ in range(3)]
    await queue.insert([Draft.of(job) for job in [*full, *others]])
    return [job.id for job in others]


async def _leased(queue: Any) -> list[UUID]:
    found = await queue.exchange((), ("default",), 10, WANTED)
    while found.unseen and not found.leases:
        found = await queue.exchange((), ("default",), 10, WANTED)
    return [lease.job_id for lease in found.leases]


async def _finds_all_again(queue: Any, fail: Callable[[Any], None]) -> None:
    others = await _behind_a_flood(queue)
    fail(queue._store)
    with pytest.raises(QueueConnectionError):
        await _leased(queue)
    assert await _leased(queue) == others
    await queue.close()


async def test_after_a_lost_answer_in_sqlite(tmp_path: Path) -> None:
    def fail(store: Any) -> None:
        committed, writer = store._writer._committed, store._writer

        def once() -> None:
            if not store._owner._granting or not store._owner.places:
                return committed()
            writer._committed = committed
            error = sqlite3.OperationalError("its disk is away")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR
            raise error

        writer._committed = once

    await _finds_all_again(DatabaseJobQueueAdapter(f"sqlite:///{tmp_path}/jobs.db"), fail)


async def test_beside_a_damaged_row_of_sqlite(tmp_path: Path) -> None:
    queue = DatabaseJobQueueAdapter(f"sqlite:///{tmp_path}/jobs.db")
    others = await _behind_a_flood(queue)
    with closing(sqlite3.connect(tmp_path / "jobs.db", isolation_level=None)) as stranger:
        stranger.execute("PRAGMA ignore_check_constraints = ON")
        stranger.execute(
            "INSERT INTO portico_jobs (id, status, queue_name, job_type, priority, run_at,"
            " max_retries, created_at, payload, metadata) SELECT randomblob(16), status,"
            " queue_name, job_type, priority, run_at, -1, created_at, payload, metadata"
            " FROM portico_jobs WHERE job_type = 'other' LIMIT 1"
        )
    assert await _leased(queue) == others
    await queue.close()


@pytest.mark.servers
async def test_after_a_lost_answer_in_postgres(postgres: PostgresServer) -> None:
    def fail(store: Any) -> None:
        connections = store._connections
        connections.run = _one_lost(connections.run, lambda answer: getattr(answer, "leases", []))

    url = postgres.url(postgres.database())
    await _finds_all_again(DatabaseJobQueueAdapter(url), fail)


@pytest.mark.servers
async def test_after_a_lost_answer_in_redis(redis: RedisServer) -> None:
    def fail(store: Any) -> None:
        def leased(answers: Any) -> Any:
            answer = answers[-1]
            return isinstance(answer, list) and len(answer) == _ANSWER_OF_LEASE and answer[_LEASES]

        store._client.run = _one_lost(store._client.run, leased)

    await _finds_all_again(RedisJobQueueAdapter(f"{redis.url()}?namespace=sweeps"), fail)
