"""What becomes of a job whose handler raises what nobody expects."""

from __future__ import annotations

import pytest

from portico.kits.job.failures import MAX_MESSAGE, MAX_TRACEBACK
from portico.ports.job import JobStatus
from portico.ports.job_queue import JobQueueAdapter, JobRecord
from tests.support.accounts import AT_ONCE, MISBEHAVING, account, enqueue
from tests.support.supervisors import Place


async def fail_twice(here: Place, queue: JobQueueAdapter, **kinds: str) -> dict[str, JobRecord]:
    """Run a job of each kind that may be retried once; the records, all of them accounted for.

    Each must have cost one retry and no worker.
    """
    jobs = {
        kind: await enqueue(queue, "raises", kind=kind.replace("_", " "), max_retries=1)
        for kind in kinds
    }
    supervisor = here.supervisor("--workers", "1", app=MISBEHAVING, TUNING=AT_ONCE)
    records = {}
    for kind, job in jobs.items():
        records[kind] = await account(
            here, queue, job, JobStatus.DEAD_LETTER,
            retries=1, executions=2, error=kinds[kind],
        )  # fmt: skip
        (again,) = supervisor.events("job_will_retry", job_id=str(job.id))
        assert again["error_type"] == kinds[kind]
    assert len({line[2] for line in here.ledger.of("BEGIN")}) == 1
    assert not supervisor.events("worker_exited")
    assert supervisor.process.poll() is None
    return records


@pytest.mark.fault("B17")
@pytest.mark.fault("B18")
@pytest.mark.fault("B19")
@pytest.mark.fault("B20")
async def test_a_hostile_exception_is_put_into_bounded_words_and_costs_one_retry(
    here: Place, queue: JobQueueAdapter
) -> None:
    records = await fail_twice(
        here, queue, speechless="Speechless", endless_message="ValueError",
        lock="ValueError", hostile="Hostile", circle="ValueError",
    )  # fmt: skip
    messages = {kind: record.job.error_message or "" for kind, record in records.items()}
    assert messages["speechless"] == "<exception str() failed>"
    assert "lock" in messages["lock"]
    assert messages["circle"] == "first"
    assert len(messages["endless_message"].encode()) == MAX_MESSAGE == 8 * 1024
    for record in records.values():
        assert len((record.traceback or "").encode()) <= MAX_TRACEBACK == 16 * 1024


@pytest.mark.fault("B21")
@pytest.mark.fault("B22")
@pytest.mark.fault("B23")
@pytest.mark.fault("B24")
@pytest.mark.fault("B25")
async def test_what_is_no_exception_costs_one_retry_and_never_the_worker(
    here: Place, queue: JobQueueAdapter
) -> None:
    records = await fail_twice(
        here, queue, SystemExit="SystemExit", KeyboardInterrupt="KeyboardInterrupt",
        CancelledError="CancelledError", GeneratorExit="GeneratorExit",
        BaseException="BaseException", BaseExceptionGroup="BaseExceptionGroup",
        recursion="RecursionError",
    )  # fmt: skip
    assert "wrongs.py" in (records["recursion"].traceback or "")


@pytest.mark.fault("B21")
async def test_sys_exit_0_in_a_handler_is_a_failure_and_no_success(
    here: Place, queue: JobQueueAdapter
) -> None:
    job = await enqueue(queue, "raises", kind="sys.exit", max_retries=0)
    supervisor = here.supervisor("--workers", "1", app=MISBEHAVING)
    await account(here, queue, job, JobStatus.DEAD_LETTER, error="SystemExit")
    assert not supervisor.events("worker_exited")


@pytest.mark.fault("B26")
async def test_a_recursion_that_overflows_the_stack_is_a_crash_and_its_neighbours_go_on(
    here: Place, queue: JobQueueAdapter
) -> None:
    """Where the interpreter bounds its C stack by itself (3.12 on), it is a RecursionError."""
    job = await enqueue(queue, "raises", kind="overflow", max_retries=0)
    beside = [await enqueue(queue, "fine") for _ in range(20)]
    supervisor = here.supervisor(app=MISBEHAVING)
    for neighbour in beside:
        await account(here, queue, neighbour, JobStatus.COMPLETED)
    event = await supervisor.event("job_dead_lettered", job_id=str(job.id))
    crashed = event["error_type"] == "WorkerLostError"
    await account(
        here, queue, job, JobStatus.DEAD_LETTER, crashes=int(crashed),
        error="WorkerLostError" if crashed else "RecursionError",
    )  # fmt: skip
    if crashed:
        assert "SIGSEGV" in (await supervisor.event("worker_exited"))["status"]
