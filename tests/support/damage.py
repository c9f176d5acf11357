"""Jobs whose stored rows a test is about to damage, and questions that may be refused."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from portico.adapters.job_queue import DatabaseJobQueueAdapter
from portico.adapters.job_queue._sqlite import schema, sound_tables
from portico.exceptions import PorticoError
from portico.ports.job import Job
from portico.ports.leasing import Failure, Lease, Settlement, Transition
from tests.support.jobs import make_job

UNCHECKED = "PRAGMA ignore_check_constraints = ON"
"""What an outsider says to SQLite whom its CHECKs are not to hinder."""
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


@contextmanager
def any_type_goes() -> Iterator[None]:
    """SQLite files that are made meanwhile take a value of any type, as an older library's do."""
    made = [*schema.MIGRATIONS[:2], sound_tables.script(schema._FIRST, strict=False)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", made)
        yield
