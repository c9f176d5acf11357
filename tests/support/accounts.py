"""What the store and the ledger say of a job, held against what they must."""

from __future__ import annotations

from portico.ports.job import TERMINAL, Job, JobStatus
from portico.ports.job_queue import JobQueueAdapter, JobRecord
from tests.support.jobs import make_job
from tests.support.supervisors import Place
from tests.support.waiting import PATIENCE, wait_until

MISBEHAVING = "tests.support.misbehaving_app:app"
AT_ONCE = "retry=0"
"""`TUNING` under which a retry comes at once."""


async def enqueue(queue: JobQueueAdapter, name: str, **fields: object) -> Job:
    """Enqueue a job of the type `test.<name>`; what is no field of a job goes to its payload."""
    known = {name: fields.pop(name) for name in list(fields) if name in Job.__dataclass_fields__}
    return await queue.enqueue(make_job(job_type=f"test.{name}", payload=fields, **known))


async def end_of(queue: JobQueueAdapter, job: Job, timeout: float = PATIENCE) -> JobRecord:
    """The record of a job once it is in a terminal status, be its documents readable or not."""

    async def terminal() -> JobRecord | None:
        record = await queue.inspect(job.id)
        return record if record is not None and record.job.status in TERMINAL else None

    record = await wait_until(terminal, timeout)
    assert record is not None
    return record


async def account(
    here: Place,
    queue: JobQueueAdapter,
    job: Job,
    status: JobStatus,
    *,
    retries: int = 0,
    crashes: int = 0,
    expiries: int = 0,
    executions: int = 1,
    error: str | None = None,
    timeout: float = PATIENCE,
) -> JobRecord:
    """Wait for the end of a job, and check all that is counted about it."""
    record = await end_of(queue, job, timeout)
    assert record.accounted
    what = (record.job.status, record.job.retry_count, record.crash_count, record.expiry_count)
    told = f"{job.payload}: {record.error_type}: {record.job.error_message!s:.500}"
    assert what == (status, retries, crashes, expiries), told
    assert here.ledger.count("BEGIN", job.id) == executions, told
    assert (record.error_type or _met(record)) == error, told
    return record


def _met(record: JobRecord) -> str | None:
    """What a job met before it completed: its history says it, the job itself does not."""
    errors = [attempt.error_type for attempt in record.attempts if attempt.error_type]
    return errors[-1] if errors else None


async def pid_of(queue: JobQueueAdapter, job: Job) -> int:
    """The worker in which a completed job says that it ran."""
    result = await queue.get_result(job.id)
    assert result is not None
    return int(result["pid"])
