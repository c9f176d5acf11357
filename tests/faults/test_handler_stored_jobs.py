"""Jobs that no handler can be given: of an unknown type, too large, or unreadable in the store."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from portico.exceptions import ValidationError
from portico.ports.document import MAX_DEPTH
from portico.ports.job import Job, JobStatus
from portico.ports.job_queue import JobQueueAdapter
from portico.ports.leasing import JobFilter
from tests.support.accounts import MISBEHAVING, account, enqueue
from tests.support.damage import UNCHECKED, any_type_goes
from tests.support.jobs import make_job
from tests.support.supervisors import Place, SupervisorProcess

LARGE = 100 << 20


def store(here: Place, column: str, values: Sequence[tuple[object, Job]]) -> None:
    """Write straight into the file, past every check."""
    with closing(sqlite3.connect(here.folder / "jobs.db")) as database, database:
        database.execute(UNCHECKED)
        for value, job in values:
            changed = database.execute(
                f"UPDATE portico_jobs SET {column} = {value} WHERE id = ?"
                if isinstance(value, str)
                else f"UPDATE portico_jobs SET {column} = :value WHERE id = :id",
                (job.id.bytes,) if isinstance(value, str) else {"value": value, "id": job.id.bytes},
            )
            assert changed.rowcount == 1


@pytest.mark.fault("B33")
async def test_a_job_of_an_unknown_type_is_put_off_uncharged_until_patience_ends(
    here: Place, queue: JobQueueAdapter
) -> None:
    """Two seconds of patience instead of an hour, and a tenth between two looks."""
    unknown = await enqueue(queue, "nobody.serves.this", max_retries=0)
    others = [await enqueue(queue, "pid") for _ in range(20)]
    supervisor = here.supervisor(
        app=MISBEHAVING,
        TUNING="kits.job.settlement:SNOOZE_DELAY=0.1 kits.job.settlement:SNOOZE_PATIENCE=2.0",
    )
    for job in others:
        await account(here, queue, job, JobStatus.COMPLETED)
    put_off = await supervisor.event("job_put_off", job_id=str(unknown.id))
    assert "test.nobody.serves.this" in put_off["error"]
    record = await account(
        here, queue, unknown, JobStatus.DEAD_LETTER, executions=0, error="UnknownJobType"
    )
    assert record.snooze_count >= 2
    assert record.attempt == record.snooze_count + 1
    dead = await supervisor.event("job_dead_lettered", job_id=str(unknown.id))
    assert "nobody has served its type for too long" in dead["next"]
    assert not supervisor.events("worker_exited")


@pytest.mark.fault("B34")
async def test_a_payload_of_100_megabytes_is_refused_and_leaves_no_row(
    here: Place, queue: JobQueueAdapter
) -> None:
    with pytest.raises(ValidationError, match="over the limit of 1,048,576") as refused:
        await queue.enqueue(make_job(payload={"data": "x" * LARGE}))
    assert refused.value.details["field"] == "payload"
    assert (await queue.get_queue_stats("default")).total == 0


@pytest.mark.fault("B36")
async def test_unreadable_rows_in_a_batch_are_dead_lettered_alone(
    here: Place, queue: JobQueueAdapter
) -> None:
    """No UTF-8, no JSON, no object, cut off, and nested deeper than decoders can bear."""
    jobs = [await enqueue(queue, "pid") for _ in range(64)]
    deep = b'{"a":' + b"[" * 5_000 + b"]" * 5_000 + b"}"
    deeper = b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    poison = [b"\xff\xfe", b"not json", b"[1]", b'{"a": "cut', b"", deep, deeper, b"\x00" * 1000]
    bad = jobs[20:28]
    store(here, "payload", list(zip(poison, bad, strict=True)))
    supervisor = here.supervisor("--workers", "1", app=MISBEHAVING)
    for job in jobs:
        if job not in bad:
            await account(here, queue, job, JobStatus.COMPLETED)
    for job in bad:
        record = await account(
            here, queue, job, JobStatus.DEAD_LETTER, executions=0, error="PayloadInvalid"
        )
        assert record.job.error_message
        dead = await supervisor.event("job_dead_lettered", job_id=str(job.id))
        assert "cannot be decoded" in dead["next"]
    stats = await queue.get_queue_stats("default")
    assert (stats.completed_count, stats.dead_letter_count) == (56, 8)
    assert not supervisor.events("worker_exited")
    assert str(MAX_DEPTH) in ((await queue.inspect(bad[6].id)).job.error_message or "")  # type: ignore[union-attr]


def most_memory(supervisor: SupervisorProcess) -> int:
    """The largest resident size that it ever had, in bytes."""
    status = Path(f"/proc/{supervisor.pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


@pytest.mark.fault("B35")
async def test_rows_that_are_too_large_are_dead_lettered_one_at_a_time(
    here: Place, queue: JobQueueAdapter
) -> None:
    """SQLite itself holds a row to rewrite it; but nothing may hold all of a batch."""
    large = [await enqueue(queue, "pid") for _ in range(6)]
    others = [await enqueue(queue, "pid") for _ in range(100)]
    store(here, "payload", [(f"zeroblob({17 << 20})", job) for job in large[:5]])
    store(here, "payload", [(f"zeroblob({LARGE})", large[5])])
    supervisor = here.supervisor("--workers", "1", app=MISBEHAVING)
    for job in others:
        await account(here, queue, job, JobStatus.COMPLETED, timeout=30)
    for job in large:
        dead = await supervisor.event("job_dead_lettered", job_id=str(job.id))
        assert dead["error_type"] == "PayloadTooLarge"
    assert most_memory(supervisor) < 5 * LARGE
    resting = psutil.Process(supervisor.pid).memory_info().rss
    assert resting < 1.5 * LARGE  # its own size, and SQLite's cache: none of these rows
    for job in large:
        record = await account(
            here, queue, job, JobStatus.DEAD_LETTER, executions=0, error="PayloadTooLarge"
        )
        assert record.attempt == 1


@pytest.mark.fault("B35")
async def test_a_batch_is_filled_from_behind_the_rows_that_are_too_large(
    here: Place, queue: JobQueueAdapter
) -> None:
    """A batch that came back short would be taken for the end of the queue."""
    large = [await enqueue(queue, "pid") for _ in range(3)]
    others = [await enqueue(queue, "pid") for _ in range(5)]
    store(here, "payload", [(f"zeroblob({17 << 20})", job) for job in large])
    exchange = await queue.exchange((), ["default"], 4)
    assert [lease.job_id for lease in exchange.leases] == [job.id for job in others[:4]]
    for job in large:
        await account(
            here, queue, job, JobStatus.DEAD_LETTER, executions=0, error="PayloadTooLarge"
        )


@pytest.fixture
def untyped() -> Iterator[None]:
    """The file takes a value of any type."""
    with any_type_goes():
        yield


@pytest.mark.fault("B36")
@pytest.mark.usefixtures("untyped")
async def test_rows_with_values_that_nobody_could_have_meant_cost_no_other_job(
    here: Place, queue: JobQueueAdapter
) -> None:
    odd = [
        ("attempt", str(2**62)), ("attempt", "0.5"), ("attempt", "-1"), ("priority", "'x'"),
        ("max_retries", "'x'"), ("retry_count", "'x'"), ("created_at", "'x'"),
        ("created_at", str(2**62)), ("scheduled_at", "'x'"), ("created_by", "7"), ("id", "7"),
        ("job_type", "x'706964'"), ("run_at", "'x'"),
    ]  # fmt: skip
    damaged = [await enqueue(queue, "pid") for _ in odd]
    others = [await enqueue(queue, "pid") for _ in range(20)]
    for (column, value), job in zip(odd, damaged, strict=True):
        store(here, column, [(value, job)])
    supervisor = here.supervisor("--workers", "1", app=MISBEHAVING)
    for job in others:
        await account(here, queue, job, JobStatus.COMPLETED, timeout=30)
    await supervisor.until(
        lambda: len(supervisor.events("job_dead_lettered", error_type="RowDamaged")) == len(odd)
    )
    assert not supervisor.events("worker_exited")
    shown = (await queue.list_jobs(JobFilter(), 100)).jobs
    assert len(shown) == len(odd) + len(others)
    supervisor.process.terminate()
    assert await supervisor.ended() == 0
