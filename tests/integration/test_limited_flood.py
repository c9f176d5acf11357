"""Many more jobs of a type than may run at a time: the others wait in the store, in their order."""

from __future__ import annotations

import asyncio
import signal

import pytest

from portico.cli.command import run
from portico.ports.draft import Draft
from portico.ports.job import JobStatus
from portico.ports.job_queue import JobQueueAdapter
from tests.support.accounts import MISBEHAVING, enqueue
from tests.support.jobs import ended, make_job
from tests.support.records import record_of
from tests.support.supervisors import Place
from tests.support.waiting import wait_until

_FLOOD = 1500
"""More than a store looks at in one exchange."""
_HELD = 4
"""One runs, and a few may have been leased before it was known that there are so many."""


async def test_a_flood_of_a_limited_type_hides_nothing_and_is_run_in_its_order(
    here: Place, queue: JobQueueAdapter, capsys: pytest.CaptureFixture[str]
) -> None:
    async def says(words: str, *command: str) -> bool:
        """Whether a command prints this, in whatever lines."""
        assert await asyncio.to_thread(run, ["-u", here.url, *command]) == 0
        return words in " ".join(capsys.readouterr().out.split())

    flood = [make_job(job_type="test.one_at_a_time") for _ in range(_FLOOD)]
    await queue.insert([Draft.of(job) for job in flood])
    behind = await enqueue(queue, "fine")
    supervisor = here.supervisor(app=MISBEHAVING)
    assert (await ended(queue, behind.id)).status is JobStatus.COMPLETED
    later = await enqueue(queue, "fine")
    assert (await ended(queue, later.id)).status is JobStatus.COMPLETED
    stats = await queue.get_queue_stats("default")
    assert stats.scheduled_count == 0, "what waits for its turn is shown as what it is"
    assert stats.pending_count >= _FLOOD - _HELD
    why = f"as many run as may in supervisor {supervisor.pid} (max_running 1)"
    await wait_until(lambda: says(f"test.one_at_a_time: {why}", "status"))
    assert await says(f"waiting {why}", "jobs", "show", str(flood[-1].id))
    (here.folder / "go").touch()
    await wait_until(lambda: here.ledger.count("END") >= 2 + 30)
    begun = [line[1] for line in here.ledger.of("BEGIN")]
    known = [str(job.id) for job in flood]
    own = [job_id for job_id in begun if job_id in known]
    assert own == known[: len(own)]
    supervisor.signal(signal.SIGTERM)
    assert await supervisor.ended() == 0
    for job in flood[:30]:
        record = await record_of(queue, job.id)
        assert (record.snooze_count, record.job.status) == (0, JobStatus.COMPLETED)
        assert record.release_count <= 1
