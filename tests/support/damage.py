"""Jobs whose stored rows a test is about to damage, and questions that may be refused."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress

from portico.adapters.job_queue import DatabaseJobQueueAdapter
from portico.exceptions import PorticoError
from portico.ports.job import Job
from portico.ports.leasing import Failure, Lease, Settlement, Transition
from tests.support.jobs import make_job

FAILURE = Failure("ValueError", "it broke", "Traceback")


async def with_history(queue: DatabaseJobQueueAdapter, status: str) -> tuple[Job, list[Lease]]:
    """A job with an attempt in its history, in this status; nothing else waits in the store."""
    job = await queue.enqueue(make_job(max_retries=9))
    [lease] = (await queue.exchange((), ("default",), 1)).leases
    end = Settlement(lease.id, lease.token, Transition.RETRY, failure=FAILURE)
    limit = 1 if status == "running" else 0
    exchanged = await queue.exchange([end], ("default",), limit)
    assert len(exchanged.leases) == limit
    return job, exchanged.leases


async def told(asked: Callable[[], Awaitable[object]]) -> None:
    """It answers, or says in our own words why it cannot."""
    with suppress(PorticoError):
        await asked()
