"""What a Redis store has lost of its indexes follows from the rows, and is put back by recovery."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
import redis as driver

from portico.adapters.job_queue import RedisJobQueueAdapter
from portico.ports.draft import Draft
from portico.ports.job import JobStatus
from portico.ports.leasing import Answer, Failure, JobFilter, Settlement, Transition
from portico.testing.contract.queue_support import (
    LEASE_SECONDS,
    Clocks,
    ended,
    enqueued,
    leased,
    record,
    settled,
)
from tests.support.jobs import make_job
from tests.support.redis_queues import redis_queue
from tests.support.servers import RedisServer

pytestmark = pytest.mark.servers


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


@pytest.fixture
async def queue(redis: RedisServer, clocks: Clocks) -> AsyncIterator[RedisJobQueueAdapter]:
    known = {"clock": clocks.wall, "monotonic": clocks.monotonic}
    found = redis_queue(redis, clocks, lease_seconds=LEASE_SECONDS, **known)
    assert isinstance(found, RedisJobQueueAdapter)
    await found.initialize()
    yield found
    await found.close()


class Keys:
    """The keys of a queue, for somebody who writes to them."""

    def __init__(self, server: RedisServer, queue: RedisJobQueueAdapter) -> None:
        self.client = driver.Redis(port=server.port)
        self._prefix = queue._store._place.prefix

    def __call__(self, name: str) -> str:
        return self._prefix + name


@pytest.fixture
def keys(redis: RedisServer, queue: RedisJobQueueAdapter) -> Keys:
    return Keys(redis, queue)


async def test_jobs_whose_places_are_lost_are_found_again_so_many_at_a_time(
    queue: RedisJobQueueAdapter, keys: Keys, caplog: pytest.LogCaptureFixture
) -> None:
    await queue.insert([Draft.of(make_job()) for _ in range(1100)])
    keys.client.delete(keys("queue:default:ready"))
    found = []
    with caplog.at_level(logging.WARNING):
        for _ in range(4):
            await queue.recover()
            found.append(keys.client.zcard(keys("queue:default:ready")))
    assert found == [500, 1000, 1100, 1100]
    assert caplog.text.count("store_jobs_found_again") == 3
    assert len(await leased(queue, limit=2000)) == 1100


async def test_a_job_that_runs_and_has_lost_its_lease_runs_out_like_any_other(
    queue: RedisJobQueueAdapter, keys: Keys, clocks: Clocks
) -> None:
    lost, endless = await enqueued(queue), await enqueued(queue)
    assert len(await leased(queue, limit=2)) == 2
    keys.client.zrem(keys("leases"), lost.id.hex)
    keys.client.zadd(keys("leases"), {endless.id.hex: float("inf")})
    assert await queue.recover() == []
    clocks.advance(LEASE_SECONDS + 1)
    recovered = await queue.recover()
    assert {found.lease.job_id for found in recovered} == {lost.id, endless.id}


async def test_a_holder_that_renews_keeps_the_lease_that_was_lost(
    queue: RedisJobQueueAdapter, keys: Keys, clocks: Clocks
) -> None:
    await enqueued(queue)
    [lease] = await leased(queue)
    keys.client.delete(keys("leases"))
    await queue.recover()
    clocks.advance(LEASE_SECONDS / 2)
    assert [one.answer for one in await queue.renew([lease])] == [Answer.OK]
    clocks.advance(LEASE_SECONDS * 0.75)
    assert await queue.recover() == []
    assert (await ended(queue, lease, Transition.COMPLETE)).answer is Answer.OK


async def test_a_sound_store_is_left_as_it_is(
    queue: RedisJobQueueAdapter, keys: Keys, clocks: Clocks, caplog: pytest.LogCaptureFixture
) -> None:
    """Jobs of each status, in two queues."""
    later = datetime.now(UTC) + timedelta(days=1)
    for name in ("default", "other"):
        for _ in range(6):
            await enqueued(queue, queue_name=name)
        for transition in (
            Transition.COMPLETE, Transition.FAIL, Transition.QUARANTINE, Transition.SNOOZE
        ):  # fmt: skip
            [lease] = await leased(queue, name)
            await ended(queue, lease, transition, failure=Failure("E", "no"), delay=60.0)
        await leased(queue, name)
        await enqueued(queue, queue_name=name, scheduled_at=later)
    before = {key: keys.client.dump(key) for key in keys.client.scan_iter(keys("*"))}
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert await queue.recover() == []
    assert "store_" not in caplog.text.replace("store_without_append_only_file", "")
    after = {key: keys.client.dump(key) for key in keys.client.scan_iter(keys("*"))}
    clock = keys("test:now").encode()
    assert {k: v for k, v in after.items() if k != clock} == {
        k: v for k, v in before.items() if k != clock
    }


async def test_whoever_can_name_the_token_settles_a_row_whose_status_was_damaged(
    queue: RedisJobQueueAdapter, keys: Keys
) -> None:
    job = await enqueued(queue)
    [lease] = await leased(queue)
    keys.client.hset(keys(f"job:{job.id.hex}"), "status", "bogus")
    assert [one.answer for one in await queue.renew([lease])] == [Answer.OK]
    stranger = Settlement(lease.id, b"\0" * 16, Transition.COMPLETE)
    mine = Settlement(lease.id, lease.token, Transition.COMPLETE, b'{"a":1}')
    answers = [receipt.answer for receipt in await settled(queue, stranger, mine)]
    assert answers == [Answer.LOST, Answer.OK]
    assert await queue.get_result(job.id) == {"a": 1}
    assert (await queue.get_queue_stats("default")).completed_count == 1


@pytest.mark.parametrize("year", [1970, 2256, 9999])
async def test_no_date_that_passed_the_checks_of_drafts_would_fail_what_comes_with_it(
    queue: RedisJobQueueAdapter, keys: Keys, year: int
) -> None:
    at = datetime(year, 12, 30, 23, 59, 59, 999_999, tzinfo=UTC)
    other, job = make_job(), make_job()
    unchecked = Draft.of(job)._replace(scheduled_at=at)
    assert None not in await queue._store.insert([Draft.of(other), unchecked])
    found = await record(queue, job.id)
    assert found.job.scheduled_at == found.due_at == at
    exchange = await queue.exchange((), ("default",), 5)
    past = year < 2000
    assert [one.job_id for one in exchange.leases] == ([job.id, other.id] if past else [other.id])
    assert (exchange.next_due is None) is past
    await queue.recover()
    if not past:
        assert await queue.cancel_job(job.id)
        assert keys.client.zcard(keys("queue:default:later")) == 0
        assert (await record(queue, job.id)).job.status is JobStatus.FAILED


async def test_a_lost_row_that_is_run_again_runs_with_what_its_body_still_has(
    queue: RedisJobQueueAdapter, keys: Keys
) -> None:
    job = await enqueued(queue, payload={"n": 7}, priority=3)
    keys.client.delete(keys(f"job:{job.id.hex}"))
    keys.client.set(keys(f"job:{job.id.hex}"), "x")
    assert await leased(queue) == []
    [dead] = (await queue.list_jobs(JobFilter(statuses=(JobStatus.DEAD_LETTER,)))).jobs
    assert (dead.id, dead.job_type, dead.priority) == (job.id, job.job_type, 3)
    assert "is of the type string" in (dead.error_message or "")
    assert keys.client.get(keys(f"damaged:job:{job.id.hex}")) == b"x"
    assert await queue.redrive([job.id]) == [job.id]
    [lease] = await leased(queue)
    assert (lease.payload, lease.attempt) == (b'{"n":7}', 1)
    assert (await ended(queue, lease, Transition.COMPLETE)).answer is Answer.OK
    assert (await record(queue, job.id)).job.status is JobStatus.COMPLETED


async def test_what_a_stranger_made_of_an_error_is_cut_before_it_is_sent(
    queue: RedisJobQueueAdapter, keys: Keys
) -> None:
    job = await enqueued(queue)
    keys.client.hset(keys(f"job:{job.id.hex}"), "error", b"x" * 5_000_000)
    [lease] = await leased(queue)
    assert len(lease.error_message or "") == 65_536


async def test_any_number_of_entries_that_stand_for_no_job_hides_no_job(
    queue: RedisJobQueueAdapter, keys: Keys, clocks: Clocks
) -> None:
    """No script looks at all of them at once, and each takes out what it has seen."""
    running = await enqueued(queue)
    [lease] = await leased(queue)
    assert lease.job_id == running.id
    job = await enqueued(queue)
    strange = {f"{n:036d}{'f' * 32}": -1.0 for n in range(12_000)}
    keys.client.zadd(keys("queue:default:ready"), strange)
    keys.client.zadd(keys("leases"), dict.fromkeys(strange, 1.0))
    keys.client.sadd(keys("cancels"), *strange)
    [found] = await leased(queue, limit=10)
    assert found.job_id == job.id
    clocks.advance(LEASE_SECONDS + 1)
    recovered = [*await queue.recover(), *await queue.recover()]
    assert {one.lease.job_id for one in recovered} == {running.id, job.id}
    for _ in range(12):
        await queue.recover()
    assert keys.client.scard(keys("cancels")) == 0
