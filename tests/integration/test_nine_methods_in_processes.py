"""A third-party adapter with nothing but the nine documented methods, run by worker processes."""

from __future__ import annotations

import asyncio

import pytest

from portico.kits.job.pipeline import Pipeline
from portico.kits.job.retry import RetryPolicies, RetryPolicy
from portico.ports.job import JobStatus
from tests.contract.toy_queue import ToyQueue
from tests.support.jobs import ended, make_job
from tests.support.pools import pool_of_processes


async def test_jobs_complete_retry_and_die_and_a_warning_names_what_cannot_be_promised(
    tmp_path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setenv("LEDGER", str(tmp_path / "ledger"))
    queue = ToyQueue()
    fine = [await queue.enqueue(make_job(job_type="test.fine")) for _ in range(30)]
    doomed = await queue.enqueue(make_job(job_type="test.raise_error", max_retries=2))
    crashing = await queue.enqueue(make_job(job_type="test.leave_once"))
    hopeless = await queue.enqueue(make_job(job_type="test.give_up"))
    policies = RetryPolicies(RetryPolicy(base_delay=0.01))
    async with pool_of_processes("tests.support.fault_app:app") as (pool, _):
        pipeline = Pipeline(queue, pool, ["default"], policies=policies)
        work = asyncio.create_task(pipeline.run())
        for job in fine:
            assert (await ended(queue, job.id)).status is JobStatus.COMPLETED
        dead = await ended(queue, doomed.id)
        assert (dead.status, dead.retry_count) == (JobStatus.DEAD_LETTER, 2)
        assert (await ended(queue, crashing.id)).status is JobStatus.COMPLETED
        assert (await ended(queue, hopeless.id)).status is JobStatus.FAILED
        pipeline.stop(1.0)
        await work
    ledger = (tmp_path / "ledger").read_text()
    assert ledger.count(f"BEGIN {doomed.id}") == 3
    assert "queue_adapter_is_limited" in caplog.text
    assert "not fenced" in caplog.text
