"""What holds for the queue in memory alone."""

from __future__ import annotations

from uuid import uuid4

from portico.adapters.job_queue import MemoryJobQueueAdapter
from portico.ports.draft import Draft
from tests.support.jobs import make_job


async def test_leases_hold_for_ever_until_someone_begins_to_renew() -> None:
    now = 0.0
    queue = MemoryJobQueueAdapter(monotonic=lambda: now)
    job = await queue.enqueue(make_job())
    await queue.dequeue("default", timeout=0)
    now = 1e6
    assert await queue.recover() == []
    await queue.renew([])
    assert [found.lease.job_id for found in await queue.recover()] == [job.id]


async def test_cancelled_jobs_do_not_pile_up_until_they_would_have_been_due() -> None:
    queue = MemoryJobQueueAdapter()
    drafts = [Draft.of(make_job(id=uuid4())) for _ in range(1000)]
    await queue.insert(drafts)
    for draft in drafts[1:]:
        await queue.cancel_job(draft.id)
    assert sum(map(len, queue._queues["default"]._lanes.values())) <= 2


async def test_the_jobs_survive_close() -> None:
    queue = MemoryJobQueueAdapter()
    job = await queue.enqueue(make_job())
    await queue.close()
    await queue.initialize()
    assert await queue.get_job(job.id) == job
