"""What becomes of settlements that get lost, come late, or hold what is hard to store."""

from __future__ import annotations

import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

from portico.adapters.job_queue import DatabaseJobQueueAdapter
from portico.adapters.job_queue._rows import StoredJob
from portico.adapters.job_queue._sqlite import leasing
from portico.ports.job import JobStatus
from portico.ports.job_queue import JobQueueAdapter
from portico.ports.leasing import Lease, Settlement, Transition
from portico.supervisor.supervisor import EXIT_CONFIGURATION
from tests.support.jobs import ended, make_job
from tests.support.odd_supervisor import odd
from tests.support.supervisors import Place
from tests.support.waiting import wait_until

APP = "tests.support.store_app:app"


@pytest.fixture
def outsider(here: Place) -> Iterator[sqlite3.Connection]:
    """A connection of someone who knows nothing of Portico."""
    with closing(sqlite3.connect(here.folder / "jobs.db", isolation_level=None)) as connection:
        yield connection


def flaws(text: str) -> str:
    return "".join(c for c in text if c == "\0" or "\ud800" <= c <= "\udfff")


@pytest.mark.fault("D18")
@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("nasty_error", JobStatus.DEAD_LETTER), ("nasty_message", JobStatus.DEAD_LETTER),
        ("nasty_result", JobStatus.DEAD_LETTER), ("nul_in_result", JobStatus.COMPLETED),
    ],
)  # fmt: skip
async def test_text_that_is_hard_to_store_hinders_neither_its_own_job_nor_its_neighbours(
    here: Place, queue: JobQueueAdapter, name: str, status: JobStatus
) -> None:
    nasty = await queue.enqueue(make_job(job_type=f"test.{name}", max_retries=0))
    others = [await queue.enqueue(make_job(job_type="test.fine")) for _ in range(20)]
    supervisor = here.supervisor("--drain", "--retry-returned-failures", app=APP)
    assert await supervisor.ended() == 0
    record = await queue.inspect(nasty.id)
    assert record is not None
    assert record.accounted
    assert record.job.status in (status, JobStatus.FAILED)
    told = f"{record.error_type}{record.job.error_message}{record.traceback}"
    assert not flaws(told)
    if status is JobStatus.COMPLETED:
        assert record.result == {"a\0key": "a\0value"}
    else:
        assert record.job.error_message
    for other in others:
        assert (await ended(queue, other.id)).status is JobStatus.COMPLETED
    assert here.ledger.count("BEGIN", nasty.id) == 1


@pytest.mark.fault("D30")
@pytest.mark.parametrize("oddity", ["answer_lost", "not_applied"])
async def test_a_settlement_whose_answer_got_lost_is_sent_again_until_it_is_known(
    here: Place, queue: JobQueueAdapter, oddity: str
) -> None:
    jobs = [await queue.enqueue(make_job(job_type="test.fine")) for _ in range(5)]
    supervisor = here.supervisor("--lease", "2s", app=APP, command=odd(oddity))
    for job in jobs:
        assert (await ended(queue, job.id)).status is JobStatus.COMPLETED
        record = await queue.inspect(job.id)
        assert record is not None
        assert record.accounted
        assert (record.job.retry_count, record.expiry_count) == (0, 0)
        assert here.ledger.count("BEGIN", job.id) == 1
    await supervisor.event("store_back")
    resolved = supervisor.events("ack_ambiguous_resolved")
    assert bool(resolved) is (oddity == "answer_lost")
    assert {event["job_id"] for event in resolved} <= {str(job.id) for job in jobs}
    supervisor.signal(signal.SIGTERM)
    assert await supervisor.ended() == 0
    assert supervisor.events("supervisor_stopped")[0]["unsettled"] == 0


@pytest.mark.fault("D30")
async def test_jobs_that_were_granted_in_an_answer_that_got_lost_are_given_back_uncharged(
    here: Place, queue: JobQueueAdapter
) -> None:
    """Nobody would run them before their leases ran out, and the jobs would pay for that."""
    first = await queue.enqueue(make_job(job_type="test.fine"))
    rest = [await queue.enqueue(make_job(job_type="test.fine", max_retries=0)) for _ in range(5)]
    supervisor = here.supervisor("--workers", "1", app=APP, command=odd("answer_lost"))
    for job in [first, *rest]:
        assert (await ended(queue, job.id)).status is JobStatus.COMPLETED
    records = [await queue.inspect(job.id) for job in rest]
    assert all(record is not None and record.accounted for record in records)
    assert sum(record.release_count for record in records if record is not None) >= 1
    assert all(here.ledger.count("BEGIN", job.id) == 1 for job in rest)
    await supervisor.event("ack_ambiguous_resolved")


@pytest.mark.fault("D31")
async def test_a_job_that_ends_while_it_is_being_recovered_stays_completed(
    here: Place, queue: JobQueueAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await queue.enqueue(make_job())
    clock = [0.0]
    recoverer = DatabaseJobQueueAdapter(here.url, 10, monotonic=lambda: clock[0])
    await recoverer.initialize()
    holder = DatabaseJobQueueAdapter(here.url, 10)
    await holder.initialize()
    await holder.renew([])
    [lease] = (await holder.exchange((), ("default",), 1)).leases
    await recoverer.recover()
    clock[0] += 11  # for the recoverer, the holder's counter has stood still for a lease length
    expire, seen = leasing.expire, []

    def too_late(connection: sqlite3.Connection, row: StoredJob, now: int) -> JobStatus | None:
        seen.append(row.id)  # it was read as running; now it ends, before the recoverer writes
        done = Settlement(lease.id, lease.token, Transition.COMPLETE, b"{}")
        leasing.settle(connection, [done], 1)
        return expire(connection, row, now)

    monkeypatch.setattr(leasing, "expire", too_late)
    assert await recoverer.recover() == []
    assert seen == [job.id.bytes]
    record = await queue.inspect(job.id)
    assert record is not None
    assert record.accounted
    assert (record.job.status, record.expiry_count) == (JobStatus.COMPLETED, 0)
    with closing(sqlite3.connect(here.folder / "jobs.db")) as database:
        assert database.execute("SELECT * FROM portico_damaged").fetchall() == []
    await holder.close()
    await recoverer.close()


@pytest.mark.fault("D31")
async def test_a_settlement_that_comes_after_the_recovery_changes_nothing(
    here: Place, queue: JobQueueAdapter
) -> None:
    job = await queue.enqueue(make_job())
    clock = [0.0]
    recoverer = DatabaseJobQueueAdapter(here.url, 10, monotonic=lambda: clock[0])
    await recoverer.initialize()
    await queue.renew([])
    [lease] = (await queue.exchange((), ("default",), 1)).leases
    await recoverer.recover()
    clock[0] += 61
    assert len(await recoverer.recover()) == 1
    assert await answer_to_completion(queue, lease) == "lost"
    found = await queue.get_job(job.id)
    assert found is not None
    assert found.status is JobStatus.RETRYING
    await recoverer.close()


async def answer_to_completion(queue: JobQueueAdapter, lease: Lease) -> str:
    done = Settlement(lease.id, lease.token, Transition.COMPLETE, b"{}")
    [receipt] = (await queue.exchange([done], (), 0)).receipts
    return receipt.answer.value


@pytest.mark.fault("D32")
async def test_jobs_whose_owner_is_in_no_record_are_recovered_all_the_same(
    here: Place, queue: JobQueueAdapter, outsider: sqlite3.Connection
) -> None:
    job = await queue.enqueue(make_job(job_type="test.sleep", payload={"seconds": 3600}))
    victim = here.supervisor()
    await victim.until(lambda: here.ledger.count("BEGIN", job.id))
    victim.signal(signal.SIGKILL)
    await wait_until(lambda: victim.process.poll() is not None)
    outsider.execute("DELETE FROM portico_owners")
    successor = here.supervisor()
    recovered = await successor.event("job_recovered")
    assert recovered["job_id"] == str(job.id)
    await successor.until(lambda: here.ledger.count("BEGIN", job.id) == 2)
    record = await queue.inspect(job.id)
    assert record is not None
    assert record.accounted
    assert (record.expiry_count, record.job.retry_count) == (1, 1)


@pytest.mark.fault("D33")
@pytest.mark.parametrize("version", [99, 2**40])
async def test_a_newer_schema_is_refused_with_both_versions_and_left_alone(
    here: Place, queue: JobQueueAdapter, outsider: sqlite3.Connection, version: int
) -> None:
    outsider.execute("UPDATE portico_schema SET version = ?", (version,))
    before = list(outsider.iterdump())
    supervisor = here.supervisor()
    assert await supervisor.ended() == EXIT_CONFIGURATION
    message = supervisor.events("supervisor_failed")[0]["error"]
    assert f"schema version {version}" in message
    assert "up to " in message
    assert "upgrade Portico" in message
    assert list(outsider.iterdump()) == before
