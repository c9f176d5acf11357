"""One SQLite queue and several processes."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import uvloop

from portico.adapters.job_queue import DatabaseJobQueueAdapter, _stored_queue
from portico.ports.draft import Draft
from portico.ports.job import JobStatus
from portico.ports.leasing import Settlement, Transition
from tests.support.jobs import make_job
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[2]
PROGRAM = "tests.integration.sqlite_process"

Start = Callable[..., Awaitable[Process]]


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/jobs.db"


@pytest.fixture
async def queue(url: str) -> AsyncIterator[DatabaseJobQueueAdapter]:
    queue = DatabaseJobQueueAdapter(url)
    await queue.initialize()
    yield queue
    await queue.close()


@pytest.fixture
async def start(url: str) -> AsyncIterator[Start]:
    started: list[Process] = []

    async def start(what: str, number: int = 1) -> Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", PROGRAM, url, what, str(number),
            cwd=ROOT, stdin=PIPE, stdout=PIPE, limit=2**20,
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def said(process: Process) -> str:
    assert process.stdout is not None
    return (await process.stdout.readline()).decode().strip()


async def test_two_processes_share_a_file_and_each_job_runs_once(
    queue: DatabaseJobQueueAdapter, start: Start
) -> None:
    drafts = [Draft.of(make_job()) for _ in range(2000)]
    await queue.insert(drafts)
    consumers = [await start("consume", 16) for _ in range(2)]
    outputs = [(await consumer.communicate())[0] for consumer in consumers]
    assert [consumer.returncode for consumer in consumers] == [0, 0]
    ran = b"".join(outputs).decode().split()
    assert len(ran) == len(drafts)
    assert set(ran) == {str(draft.id) for draft in drafts}
    assert (await queue.get_queue_stats("default")).completed_count == len(drafts)


async def test_a_producer_wakes_an_idle_consumer_of_another_process(
    queue: DatabaseJobQueueAdapter, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_stored_queue, "_POLL", 60.0)
    producer = await start("produce", 3)
    assert producer.stdin is not None
    assert await said(producer) == "ready"
    for _ in range(3):
        consumer = asyncio.create_task(queue.dequeue("default", timeout=60))
        await asyncio.sleep(0.02)
        producer.stdin.write(b"\n")
        job_id = await said(producer)
        job = await asyncio.wait_for(consumer, 5)
        assert job is not None
        assert str(job.id) == job_id


def test_a_producer_wakes_an_idle_consumer_that_runs_on_uvloop(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_stored_queue, "_POLL", 60.0)

    async def main() -> None:
        consumer, producer = DatabaseJobQueueAdapter(url), DatabaseJobQueueAdapter(url)
        await consumer.initialize()
        await producer.initialize()
        task = asyncio.create_task(consumer.dequeue("default", timeout=60))
        await asyncio.sleep(0.02)
        job = await producer.enqueue(make_job())
        taken = await asyncio.wait_for(task, 5)
        assert taken is not None
        assert taken.id == job.id
        await consumer.close()
        await producer.close()

    uvloop.run(main())


async def test_a_wake_file_that_was_removed_is_made_anew_and_wakes_again(
    queue: DatabaseJobQueueAdapter,
    url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_stored_queue, "_POLL", 60.0)
    producer = DatabaseJobQueueAdapter(url)
    await producer.initialize()
    await producer.enqueue(make_job(queue_name="other"))
    for _ in range(3):
        task = asyncio.create_task(queue.dequeue("default", timeout=30))
        await asyncio.sleep(0.02)
        (tmp_path / "jobs.db-wake").unlink()
        await producer.enqueue(make_job())
        assert await asyncio.wait_for(task, 5) is not None
    await producer.close()


async def test_without_a_watch_the_consumer_polls(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    notifier = "portico.adapters.job_queue._sqlite.wake_file._notifier"
    monkeypatch.setattr(notifier, lambda *_: None)
    monkeypatch.setattr(_stored_queue, "_POLL", 0.05)
    consumer, producer = DatabaseJobQueueAdapter(url), DatabaseJobQueueAdapter(url)
    await consumer.initialize()
    await producer.initialize()
    task = asyncio.create_task(consumer.dequeue("default", timeout=30))
    await producer.enqueue(make_job())
    job = await asyncio.wait_for(task, 5)
    assert job is not None
    assert await consumer.cancel_requests() == []  # a look, for nothing will tell
    assert await producer.request_cancel(job.id)
    [(job_id, _)] = await asyncio.wait_for(consumer.cancel_requests(), 5)
    assert job_id == job.id.bytes
    await consumer.close()
    await producer.close()


async def test_who_waits_for_requests_to_cancel_is_not_woken_by_jobs(url: str) -> None:
    holder, producer = DatabaseJobQueueAdapter(url), DatabaseJobQueueAdapter(url)
    await holder.initialize()
    await producer.initialize()
    job = await producer.enqueue(make_job())
    [lease] = (await holder.exchange((), ("default",), 1)).leases
    assert await holder.cancel_requests() == []  # the first one looks
    waiting = asyncio.create_task(holder.cancel_requests())
    for _ in range(20):
        await producer.enqueue(make_job())
    more = (await holder.exchange((), ("default",), 20)).leases
    await holder.renew([lease, *more])
    assert not waiting.done()
    assert await producer.request_cancel(job.id)
    assert await asyncio.wait_for(waiting, 5) == [lease.key]
    await holder.close()
    await producer.close()


async def test_the_jobs_of_a_killed_process_are_recovered_at_once(
    queue: DatabaseJobQueueAdapter, start: Start
) -> None:
    job = await queue.enqueue(make_job())
    holder = await start("hold")
    assert await said(holder) == f"holding {job.id}"
    assert await queue.recover() == []
    holder.kill()
    recovered = await wait_until(queue.recover)
    assert [(found.lease.job_id, found.status) for found in recovered] == [
        (job.id, JobStatus.RETRYING)
    ]
    again = await queue.dequeue("default", timeout=0)
    assert again is not None
    assert again.retry_count == 1


async def test_the_jobs_of_a_living_process_that_never_renews_are_left_alone(
    url: str, start: Start
) -> None:
    jump = 0.0
    queue = DatabaseJobQueueAdapter(url, monotonic=lambda: jump)
    await queue.initialize()
    await queue.enqueue(make_job())
    holder = await start("hold")
    await said(holder)
    for _ in range(3):
        assert await queue.recover() == []
        jump += 3600
    await queue.close()


async def test_a_process_that_ended_without_holding_anything_leaves_no_owner(
    queue: DatabaseJobQueueAdapter, start: Start
) -> None:
    await queue.insert([Draft.of(make_job()) for _ in range(10)])
    await (await start("consume", 5)).communicate()
    assert await owners(queue) == 0
    await queue.enqueue(make_job())
    holder = await start("hold")
    await said(holder)
    assert await owners(queue) == 1
    holder.kill()
    await holder.wait()
    await queue.recover()
    assert await owners(queue) == 0


async def test_an_owner_that_still_holds_a_lease_is_remembered_after_close(
    queue: DatabaseJobQueueAdapter, url: str
) -> None:
    await queue.enqueue(make_job())
    other = DatabaseJobQueueAdapter(url)
    await other.initialize()
    [lease] = (await other.exchange((), ("default",), 1)).leases
    await other.close()
    assert await owners(queue) == 1
    settlement = Settlement(lease.id, lease.token, Transition.COMPLETE)
    assert (await queue.exchange([settlement], (), 0)).receipts[0].status is JobStatus.COMPLETED


async def owners(queue: DatabaseJobQueueAdapter) -> int:
    def count(connection: object) -> int:
        query = "SELECT count(*) FROM portico_owners"
        return int(connection.execute(query).fetchone()[0])  # type: ignore[attr-defined]

    return await queue._store._read(count)  # type: ignore[attr-defined]


async def test_processes_may_initialise_a_new_file_at_once(start: Start, tmp_path: Path) -> None:
    several = [await start("initialize") for _ in range(5)]
    assert [await said(process) for process in several] == ["initialized"] * 5
    assert [await process.wait() for process in several] == [0] * 5
