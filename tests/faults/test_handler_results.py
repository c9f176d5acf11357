"""What becomes of a job whose handler returns what nobody can use."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from portico.ports.job import JobStatus
from portico.ports.job_queue import JobQueueAdapter
from tests.support.accounts import AT_ONCE, MISBEHAVING, account, enqueue
from tests.support.supervisors import Place, SupervisorProcess


def one_worker(here: Place) -> SupervisorProcess:
    return here.supervisor("--workers", "1", app=MISBEHAVING, TUNING=AT_ONCE)


def worker_was_kept(here: Place, supervisor: SupervisorProcess) -> bool:
    pids = {line[2] for line in here.ledger.of("BEGIN")}
    return len(pids) == 1 and not supervisor.events("worker_exited")


def peak_memory(supervisor: SupervisorProcess) -> int:
    """The most bytes it held: what was taken and given back between two looks counts too."""
    status = Path(f"/proc/{supervisor.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) << 10


@pytest.mark.fault("B12")
@pytest.mark.fault("B13")
@pytest.mark.fault("B16")
async def test_a_result_that_cannot_be_kept_fails_for_good_after_one_execution(
    here: Place, queue: JobQueueAdapter
) -> None:
    unusable = {
        "object": "ResultNotSerializable",
        "surrogate": "ResultNotSerializable",
        "endless number": "ResultNotSerializable",
        "circle": "ResultNotSerializable",
        "frame": "ResultNotSerializable",
        "nothing": "InvalidResult",
        "number": "InvalidResult",
        "mapping": "InvalidResult",
        "class": "InvalidResult",
    }
    jobs = {kind: await enqueue(queue, "returns", kind=kind) for kind in unusable}
    supervisor = one_worker(here)
    for kind, job in jobs.items():
        await account(here, queue, job, JobStatus.FAILED, error=unusable[kind])
        event = await supervisor.event("job_failed", job_id=str(job.id))
        assert event["error_type"] == unusable[kind]
        assert "not to be retried" in event["next"]
    assert worker_was_kept(here, supervisor)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.fault("B14")
async def test_a_result_of_100_megabytes_never_reaches_the_supervisor(
    here: Place, queue: JobQueueAdapter
) -> None:
    supervisor = one_worker(here)
    warm = await enqueue(queue, "returns", kind="object")
    await account(here, queue, warm, JobStatus.FAILED, error="ResultNotSerializable")
    Path(f"/proc/{supervisor.pid}/clear_refs").write_text("5")  # its peak is what it holds now
    before = peak_memory(supervisor)
    job = await enqueue(queue, "returns", kind="large")
    record = await account(here, queue, job, JobStatus.FAILED, error="ResultTooLarge")
    assert "over the limit of 1,048,576" in (record.job.error_message or "")
    event = await supervisor.event("job_failed", job_id=str(job.id))
    assert event["error_type"] == "ResultTooLarge"
    assert peak_memory(supervisor) - before < 5 << 20
    assert worker_was_kept(here, supervisor)


@pytest.mark.fault("B12")
@pytest.mark.fault("B15")
async def test_a_result_of_python_types_is_kept_in_the_documented_form(
    here: Place, queue: JobQueueAdapter
) -> None:
    """A number over 64 bits is one: JSON has no such bound, and it comes back as it was."""
    kept = {
        "set": [3],
        "tuple": [1, 2],
        "bytes": "eA==",
        "not a number": None,
        "large number": 2**70,
    }
    jobs = {kind: await enqueue(queue, "returns", kind=kind) for kind in kept}
    supervisor = one_worker(here)
    for kind, job in jobs.items():
        await account(here, queue, job, JobStatus.COMPLETED)
        assert await queue.get_result(job.id) == {"value": kept[kind]}
    assert worker_was_kept(here, supervisor)


@pytest.mark.fault("B41")
async def test_a_returned_failure_is_final_unless_it_recommends_a_retry(
    here: Place, queue: JobQueueAdapter
) -> None:
    final = await enqueue(queue, "returns", kind="failure")
    again = await enqueue(queue, "returns", kind="failure to retry", max_retries=1)
    supervisor = one_worker(here)
    record = await account(here, queue, final, JobStatus.FAILED, error="ValueError")
    assert record.job.error_message == "no such account"
    await account(
        here, queue, again, JobStatus.DEAD_LETTER, retries=1, executions=2, error="ValueError"
    )
    event = await supervisor.event("job_will_retry", job_id=str(again.id))
    assert event["error"] == "later"
    assert worker_was_kept(here, supervisor)
