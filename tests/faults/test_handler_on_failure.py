"""What becomes of a job whose handler misbehaves in its `on_failure`."""

from __future__ import annotations

import pytest

from portico.ports.job import JobStatus
from portico.ports.job_queue import JobQueueAdapter
from tests.support.accounts import AT_ONCE, MISBEHAVING, account, enqueue
from tests.support.jobs import ended
from tests.support.supervisors import Place

SHORT = f"{AT_ONCE} supervisor.assembly:ON_FAILURE_TIMEOUT=0.2"
"""`on_failure` has a fifth of a second instead of thirty."""


@pytest.mark.fault("B37")
async def test_an_on_failure_that_raises_changes_nothing_and_is_logged(
    here: Place, queue: JobQueueAdapter
) -> None:
    job = await enqueue(queue, "TellAndRaise", max_retries=1)
    supervisor = here.supervisor("--workers", "1", app=MISBEHAVING, TUNING=AT_ONCE)
    record = await account(
        here, queue, job, JobStatus.DEAD_LETTER, retries=1, executions=2, error="RuntimeError"
    )
    assert record.job.error_message == "it went wrong"
    raised = supervisor.events("on_failure_raised", job_id=str(job.id))
    assert [event["error"] for event in raised] == ["on_failure went wrong too"] * 2
    assert here.ledger.count("FAILED", job.id) == 2
    assert not supervisor.events("worker_exited")


@pytest.mark.fault("B38")
@pytest.mark.parametrize("blocking", [False, True], ids=["awaiting", "blocking"])
async def test_an_on_failure_that_hangs_is_ended_counts_nothing_and_is_not_repeated(
    blocking: bool, here: Place, queue: JobQueueAdapter
) -> None:
    """One that awaits is cancelled, one that blocks is killed, and with it its worker."""
    job = await enqueue(queue, "TellAndHang", blocking=blocking, max_retries=1)
    grace = "200ms" if blocking else "10s"
    supervisor = here.supervisor(
        "--workers", "1", "--kill-grace", grace, app=MISBEHAVING, TUNING=SHORT
    )
    await account(
        here, queue, job, JobStatus.DEAD_LETTER, retries=1, executions=2, error="RuntimeError"
    )
    assert here.ledger.count("FAILED", job.id) == 2
    overdue = supervisor.events("on_failure_overdue", job_id=str(job.id))
    timed_out = supervisor.events("on_failure_timed_out", job_id=str(job.id))
    assert (len(overdue), len(timed_out)) == ((2, 0) if blocking else (0, 2))
    killed = supervisor.events(
        "worker_exited", status="was killed: on_failure ran past its deadline"
    )
    assert len(killed) == len(overdue)


@pytest.mark.fault("B39")
async def test_an_on_failure_that_kills_its_worker_counts_no_crash_and_is_not_repeated(
    here: Place, queue: JobQueueAdapter
) -> None:
    job = await enqueue(queue, "TellAndDie", max_retries=1)
    beside = [await enqueue(queue, "pid") for _ in range(20)]
    supervisor = here.supervisor(app=MISBEHAVING, TUNING=AT_ONCE)
    await account(
        here, queue, job, JobStatus.DEAD_LETTER, retries=1, executions=2, error="RuntimeError"
    )
    for neighbour in beside:
        await account(here, queue, neighbour, JobStatus.COMPLETED)
    assert here.ledger.count("FAILED", job.id) == 2
    assert len(supervisor.events("on_failure_cut_short", job_id=str(job.id))) == 2
    assert len(supervisor.events("worker_exited", status="exited with code 1")) == 2


@pytest.mark.fault("B40")
async def test_on_failure_has_ended_before_the_next_attempt_begins_a_thousand_times(
    here: Place, queue: JobQueueAdapter
) -> None:
    jobs = [await enqueue(queue, "TellAtLength", max_retries=9) for _ in range(100)]
    here.supervisor(app=MISBEHAVING, TUNING=AT_ONCE)
    for job in jobs:
        assert (await ended(queue, job.id, timeout=45)).retry_count == 9
    told: dict[tuple[str, str], float] = {}
    for line in here.ledger.of("FAILED"):
        assert (line[1], line[4]) not in told
        told[line[1], line[4]] = float(line[3])
    assert len(told) == 1000
    for _, job_id, _, began, retry_count, *_ in here.ledger.of("BEGIN"):
        if retry_count != "0":
            assert told[job_id, str(int(retry_count) - 1)] < float(began)
