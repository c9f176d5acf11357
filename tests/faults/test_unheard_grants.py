"""Leases that were granted, and whose holder never heard of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from portico import compose
from portico.exceptions import QueueConnectionError
from portico.ports.job import JobStatus
from portico.ports.job_queue import JobQueueAdapter
from tests.support.jobs import make_job
from tests.support.redis_queues import own_namespace
from tests.support.unheard import Loss, loss_on_postgres, loss_on_redis, loss_on_sqlite

KINDS = {"sqlite": loss_on_sqlite, "postgres": loss_on_postgres, "redis": loss_on_redis}


@pytest.fixture(params=KINDS)
def there(
    request: pytest.FixtureRequest, tmp_path: Path
) -> tuple[str, Callable[[JobQueueAdapter], Loss]]:
    """A queue's URL, and how its answers are lost."""
    kind = request.param
    if kind == "sqlite":
        return f"sqlite:///{tmp_path}/jobs.db", KINDS[kind]
    server = request.getfixturevalue(kind)
    if kind == "postgres":
        return server.url(server.database()), KINDS[kind]
    return own_namespace(server.url()), KINDS[kind]


@pytest.mark.servers
@pytest.mark.fault("D30")
@pytest.mark.parametrize("closed", [False, True], ids=["at the next exchange", "when it closes"])
async def test_a_lease_whose_answer_was_lost_is_given_back_uncharged(
    there: tuple[str, Callable[[JobQueueAdapter], Loss]], closed: bool
) -> None:
    url, losing = there
    queue = compose.job_queue(url)
    await queue.initialize()
    await queue.exchange((), ("default",), 1)  # by now it has a name, and its scripts are known
    job = await queue.enqueue(make_job())
    loss = losing(queue)
    with loss.of_the_next_answer(), pytest.raises(QueueConnectionError):
        await queue.exchange((), ("default",), 1)
    assert (await queue.get_job(job.id) or job).status is JobStatus.RUNNING
    if not closed:
        await queue.exchange((), (), 0)
    await queue.close()
    queue = compose.job_queue(url)
    await queue.initialize()
    record = await queue.inspect(job.id)
    await queue.close()
    assert record is not None
    assert record.accounted
    assert [one.ended_as for one in record.attempts] == ["release"]
    assert (record.job.status, record.attempt) == (JobStatus.PENDING, 1)
    assert (record.release_count, record.job.retry_count, record.expiry_count) == (1, 0, 0)
