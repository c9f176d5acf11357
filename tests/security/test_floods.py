"""What one tenant's flood may do to the others: fill its own queue."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest

from portico import compose
from portico.adapters.job_queue._admission import Admission, Gate
from portico.adapters.job_queue._sqlite import reading
from portico.exceptions import ConfigurationError, QueueFullError, ValidationError
from portico.ports.draft import Draft
from portico.ports.job import JobStatus
from portico.ports.job_queue import JobQueueAdapter
from tests.security.conftest import APP
from tests.support.jobs import ended, make_job
from tests.support.supervisors import Place
from tests.support.waiting import wait_until

pytestmark = pytest.mark.security("S27")
_NOISE = 0.1
"""Seconds by which other tests on the machine may hold up one job in a hundred."""


@pytest.fixture(params=["memory", "sqlite"])
async def bounded(request: Any, tmp_path: Path) -> AsyncIterator[JobQueueAdapter]:
    address = "memory://" if request.param == "memory" else f"sqlite:///{tmp_path / 'jobs.db'}"
    queue = compose.job_queue(f"{address}?max_pending=5&max_horizon=30d")
    await queue.initialize()
    yield queue
    await queue.close()


def drafts(number: int, **fields: Any) -> list[Draft]:
    return [Draft.of(make_job(**fields)) for _ in range(number)]


async def test_a_full_queue_takes_no_more_and_says_which_how_many_and_what_to_do(
    bounded: JobQueueAdapter,
) -> None:
    for _ in range(5):
        await bounded.enqueue(make_job(queue_name="bulk"))
    refused = make_job(queue_name="bulk")
    with pytest.raises(QueueFullError) as caught:
        await bounded.enqueue(refused)
    for words in ("'bulk'", "takes 5", "try again", "max_pending"):
        assert words in str(caught.value)
    assert caught.value.details == {"queue_name": "bulk", "max_pending": 5}
    assert await bounded.get_job(refused.id) is None
    assert (await bounded.get_queue_stats("bulk")).total == 5


async def test_another_queue_is_not_touched_by_a_full_one(bounded: JobQueueAdapter) -> None:
    await bounded.insert(drafts(5, queue_name="bulk"))
    assert (await bounded.enqueue(make_job(queue_name="mail"))).status is JobStatus.PENDING


async def test_a_batch_comes_in_whole_or_not_at_all(bounded: JobQueueAdapter) -> None:
    await bounded.insert(drafts(3))
    with pytest.raises(QueueFullError, match="3 more do not fit"):
        await bounded.insert([*drafts(3), *drafts(1, queue_name="mail")])
    assert (await bounded.get_queue_stats("default")).total == 3
    assert (await bounded.get_queue_stats("mail")).total == 0
    assert None not in await bounded.insert(drafts(2))


async def test_in_bulk_the_horizon_keeps_out_only_what_lies_beyond_it(
    bounded: JobQueueAdapter,
) -> None:
    late = make_job(scheduled_at=datetime.now(UTC) + timedelta(days=31))
    refused, stored = await bounded.enqueue_many([late, make_job()])
    assert refused.job is None
    assert "max_horizon" in str(refused.error)
    assert stored.job is not None
    assert (await bounded.get_queue_stats("default")).total == 1


async def test_jobs_that_are_scheduled_or_retry_take_room_and_running_ones_do_not(
    bounded: JobQueueAdapter,
) -> None:
    soon = datetime.now(UTC) + timedelta(hours=1)
    await bounded.insert(drafts(3, scheduled_at=soon))
    await bounded.insert(drafts(2))
    running = await bounded.dequeue("default", 0)
    assert running is not None
    await wait_until(lambda: _comes_in(bounded))
    await bounded.reject(running.id, delay=3600)
    stats = await bounded.get_queue_stats("default")
    assert (stats.pending_count, stats.scheduled_count, stats.retrying_count) == (2, 3, 1)
    with pytest.raises(QueueFullError):
        await bounded.enqueue(make_job())


async def test_room_that_jobs_leave_is_given_to_new_ones(bounded: JobQueueAdapter) -> None:
    for _ in range(20):
        await wait_until(lambda: _comes_in(bounded))
        job = await bounded.dequeue("default", 5)
        assert job is not None
        await bounded.acknowledge(job.id)
    assert (await bounded.get_queue_stats("default")).completed_count == 20


async def _comes_in(queue: JobQueueAdapter) -> bool:
    try:
        await queue.enqueue(make_job())
    except QueueFullError:
        return False
    return True


async def test_producers_at_the_same_moment_do_not_pass_the_limit(bounded: JobQueueAdapter) -> None:
    answers = await asyncio.gather(
        *(bounded.enqueue(make_job()) for _ in range(40)), return_exceptions=True
    )
    assert sum(isinstance(answer, QueueFullError) for answer in answers) == 35
    assert (await bounded.get_queue_stats("default")).total == 5


async def test_a_job_too_far_ahead_is_refused(bounded: JobQueueAdapter) -> None:
    now = datetime.now(UTC)
    kept = await bounded.enqueue(make_job(scheduled_at=now + timedelta(days=29)))
    assert kept.status is JobStatus.SCHEDULED
    with pytest.raises(ValidationError, match="at most 30 days, 0:00:00 ahead"):
        await bounded.enqueue(make_job(scheduled_at=now + timedelta(days=31)))


async def test_without_limits_nothing_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "waiting", lambda *_: pytest.fail("it was counted"))
    queue = compose.job_queue(f"sqlite:///{tmp_path / 'jobs.db'}")
    await queue.initialize()
    assert len(await queue.insert(drafts(3000))) == 3000
    await queue.close()


async def test_counting_reads_only_the_indexes_of_waiting_jobs_and_no_further_than_needed(
    tmp_path: Path,
) -> None:
    queue = compose.job_queue(f"sqlite:///{tmp_path / 'jobs.db'}")
    await queue.initialize()
    await queue.insert(drafts(50))
    store: Any = queue
    for query in reading.WAITING:
        plan = await store._store._read(
            lambda found, query=query: found.execute(
                f"EXPLAIN QUERY PLAN {query}", ("q", 9)
            ).fetchall()
        )
        assert "COVERING INDEX portico_jobs_" in str(plan)
    assert await store._store._read(lambda found: reading.waiting(found, "default", 20)) == 20
    await queue.close()


def draft(queue_name: str = "default") -> Any:
    return SimpleNamespace(queue_name=queue_name)


def test_filling_a_large_queue_counts_a_few_times_and_not_for_every_job() -> None:
    counts = []

    def count(store: list[int], queue_name: str, enough: int) -> int:
        counts.append(store[0])
        return min(store[0], enough)

    store, gate = [0], Gate(100_000, count)
    while gate.refusal(store, [draft()] * 10) is None:
        store[0] += 10
    assert store[0] == 100_000
    assert len(counts) < 200


def test_a_flood_against_a_full_queue_does_not_spend_its_time_counting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, counts = [100.0], []

    def count(store: None, queue_name: str, enough: int) -> int:
        counts.append(now[0])
        now[0] += 0.01
        return enough

    monkeypatch.setattr("portico.adapters.job_queue._admission.monotonic", lambda: now[0])
    gate = Gate(1_000_000, count)
    for _ in range(1000):
        assert gate.refusal(None, [draft()]) is not None
        now[0] += 0.001
    assert 1 < len(counts) < 25


def test_what_another_process_has_put_in_is_noticed_before_the_room_is_used_up() -> None:
    store, gate = [0], Gate(1000, lambda store, name, enough: min(store[0], enough))
    assert gate.refusal(store, [draft()]) is None
    store[0] = 1000
    came_in = 0
    while gate.refusal(store, [draft()]) is None:
        came_in += 1
    assert came_in <= 250


def test_names_that_come_and_go_fill_no_memory() -> None:
    gate = Gate(5, lambda store, name, enough: 0)
    for _ in range(5000):
        assert gate.refusal(None, [draft(uuid4().hex)]) is None
    assert len(gate._rooms._rooms) <= 1000


@pytest.mark.parametrize("address", ["memory://", "sqlite:///jobs.db"])
@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("max_pending=0", "give a number of jobs, at least 1"),
        ("max_pending=many", "give a number of jobs"),
        ("max_pending=", "give a number of jobs"),
        ("max_horizon=soon", "give seconds, or numbers with d, h, m, s or ms"),
        ("max_horizon=", "give seconds, or numbers with d, h, m, s or ms"),
        ("max_waiting=5", "max_pending"),
    ],
)
def test_a_limit_that_cannot_be_is_refused(address: str, option: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        compose.job_queue(f"{address}?{option}")


def test_limits_are_read_from_the_url() -> None:
    found = Admission.of("", {"max_pending": "100000", "max_horizon": "36h"})
    assert found == Admission(100_000, 36 * 3600)
    assert Admission.of("", {}) == Admission()


async def test_a_tenant_that_floods_its_queue_does_not_keep_the_jobs_of_another_waiting(
    here: Place, queue: JobQueueAdapter
) -> None:
    producer = compose.job_queue(f"{here.url}?max_pending=300")
    await producer.initialize()
    refused = False
    while not refused:
        slow = make_job(
            queue_name="bulk", job_type="test.python",
            payload={"code": "import time; time.sleep(0.05)"},
        )  # fmt: skip
        try:
            await producer.enqueue(slow)
        except QueueFullError:
            refused = True
    supervisor = here.supervisor("--queues", "mail,bulk", app=APP)
    await supervisor.started()
    for _ in range(20):
        mail = await producer.enqueue(make_job(queue_name="mail", job_type="test.fine"))
        assert (await ended(queue, mail.id)).status is JobStatus.COMPLETED
    waiting = (await queue.get_queue_stats("bulk")).pending_count
    assert waiting > 0, "the flood was over before the others had their turn"
    await producer.close()


async def test_a_handler_that_floods_its_queue_is_told_so(
    here: Place, queue: JobQueueAdapter
) -> None:
    here.supervisor("--queue-url", f"{here.url}?max_pending=10", "--workers", "1", app=APP)
    flooding = await queue.enqueue(make_job(job_type="test.flood", max_retries=0))
    dead = await ended(queue, flooding.id)
    record = await queue.inspect(flooding.id)
    assert record is not None
    assert (dead.status, record.error_type) == (JobStatus.DEAD_LETTER, "QueueFullError")
    assert (await queue.get_queue_stats("elsewhere")).total == 10


@pytest.mark.security("S27")
async def test_a_flood_of_one_type_takes_no_more_workers_than_it_may_in_one_queue_with_others(
    here: Place, queue: JobQueueAdapter
) -> None:
    flood = [await queue.enqueue(make_job(job_type="test.bulk", priority=9)) for _ in range(200)]
    supervisor = here.supervisor("--workers", "3", app=APP)
    await supervisor.started()
    for _ in range(10):
        other = await queue.enqueue(make_job(job_type="test.fine"))
        assert (await ended(queue, other.id)).status is JobStatus.COMPLETED
    stats = await queue.get_queue_stats("default")
    assert stats.pending_count > 100, "the flood was over before the others had their turn"
    done = await ended(queue, flood[0].id)
    assert done.status is JobStatus.COMPLETED, "two of them ran at a time"
    assert (stats.failed_count, stats.retrying_count, stats.dead_letter_count) == (0, 0, 0)


@pytest.mark.security("S27")
async def test_a_flood_does_not_double_what_the_jobs_of_others_wait(
    here: Place, queue: JobQueueAdapter
) -> None:
    supervisor = here.supervisor("--workers", "3", app=APP)
    await supervisor.started()

    async def longest_wait() -> float:
        """Seconds, of all but the worst of a hundred."""
        waits = []
        for _ in range(100):
            job = await queue.enqueue(make_job(job_type="test.fine"))
            done = await ended(queue, job.id)
            assert done.started_at is not None
            waits.append((done.started_at - job.created_at).total_seconds())
        return sorted(waits)[-2]

    quiet = await longest_wait()
    await queue.insert(drafts(500, job_type="test.bulk", priority=9))
    flooded = await longest_wait()
    stats = await queue.get_queue_stats("default")
    assert stats.pending_count > 100, "the flood was over before the others had their turn"
    assert flooded < 2 * quiet + _NOISE, (quiet, flooded)
