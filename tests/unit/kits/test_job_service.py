"""Creating and managing jobs through the service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from portico import compose
from portico.adapters.audit.memory_audit import MemoryAuditAdapter
from portico.adapters.job_queue.memory_queue import MemoryJobQueueAdapter
from portico.exceptions import (
    ConflictError,
    QueueConnectionError,
    ResourceNotFoundError,
    ValidationError,
)
from portico.kits.job.job_audit import JobAudit
from portico.kits.job.job_service import JobService
from portico.ports.audit import AuditEvent, AuditQuery
from portico.ports.job import Job, JobStatus
from portico.ports.job_creator import JobCreator
from portico.ports.leasing import CANCELLED, Failure, JobFilter, Lease, Settlement, Transition


@pytest.fixture
async def queue() -> AsyncIterator[MemoryJobQueueAdapter]:
    queue = MemoryJobQueueAdapter()
    await queue.initialize()
    yield queue
    await queue.close()


@pytest.fixture
def jobs(queue: MemoryJobQueueAdapter) -> JobService:
    return JobService(queue)


async def lease(queue: MemoryJobQueueAdapter) -> Lease:
    (leased,) = (await queue.exchange([], ["default"], 1)).leases
    return leased


async def complete(queue: MemoryJobQueueAdapter, result: bytes = b"{}") -> None:
    held = await lease(queue)
    done = Settlement(held.id, held.token, Transition.COMPLETE, result)
    await queue.exchange([done], [], 0)


async def test_a_created_job_is_in_the_store_with_all_that_was_given(jobs: JobService) -> None:
    identity, user = uuid4(), uuid4()
    later = datetime.now(UTC) + timedelta(hours=1)
    job = await jobs.create_job(
        "email.send", {"to": "x"}, "mail", 5, scheduled_at=later, max_retries=1,
        created_by=user, metadata={"k": "v"}, job_id=identity,
    )  # fmt: skip
    assert (job.id, job.status, job.priority, job.max_retries) == (
        identity, JobStatus.SCHEDULED, 5, 1,
    )  # fmt: skip
    assert (job.queue_name, job.created_by, job.metadata) == ("mail", user, {"k": "v"})
    assert await jobs.get_job(str(identity)) == job


async def test_a_job_without_options_is_pending_in_the_default_queue(jobs: JobService) -> None:
    job = await jobs.create_job("a.b", {})
    assert (job.queue_name, job.priority, job.max_retries) == ("default", 0, 3)
    assert job.status is JobStatus.PENDING
    assert job.created_at is not None


def test_the_service_is_a_job_creator_and_takes_both_spellings(
    queue: MemoryJobQueueAdapter,
) -> None:
    assert isinstance(JobService(queue_adapter=queue), JobCreator)
    with pytest.raises(TypeError, match="needs a job_queue"):
        JobService()


async def test_a_naive_instant_is_local_time_and_stored_aware(jobs: JobService) -> None:
    naive = datetime.now().replace(microsecond=0) + timedelta(hours=1)  # noqa: DTZ005 - naive is the point
    job = await jobs.create_job("a.b", {}, scheduled_at=naive)
    assert job.scheduled_at == naive.astimezone()
    assert job.scheduled_at.utcoffset() is not None
    assert job.status is JobStatus.SCHEDULED


@pytest.mark.parametrize("delay", [3600, 3600.0, timedelta(hours=1)])
async def test_a_delay_is_seconds_or_a_timedelta_and_tells_the_instant(
    jobs: JobService, delay: float | timedelta
) -> None:
    one = await jobs.create_job("a.b", {}, delay=delay)
    [two] = await jobs.create_jobs([{"job_type": "a.b", "payload": {}, "delay": delay}])
    for job in (one, two.job):
        assert job is not None
        assert job.created_at is not None
        assert job.scheduled_at == job.created_at + timedelta(hours=1)
        assert (job.status, await jobs.get_job(job.id)) == (JobStatus.SCHEDULED, job)
    now = await jobs.create_job("a.b", {}, delay=0)
    assert (now.status, now.scheduled_at) == (JobStatus.PENDING, now.created_at)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"payload": {"x": range(3)}}, ("payload['x']", "a range", "list")),
        ({"payload": ["x"]}, ("payload", "a list", "JSON object")),
        ({"payload": {"x": "y" * 1_100_000}}, ("payload", "limit")),
        ({"job_type": "no spaces please"}, ("job_type", "no spaces please")),
        ({"queue_name": ""}, ("queue_name",)),
        ({"priority": "high"}, ("priority", "'high'")),
        ({"max_retries": -1}, ("max_retries", "-1")),
        ({"scheduled_at": "tomorrow"}, ("scheduled_at", "tomorrow")),
        ({"job_id": "7"}, ("job_id", "'7'", "UUID")),
        ({"created_by": ""}, ("created_by", "''", "UUID", "text of 1 to 200 characters")),
        ({"after": 5}, ("unknown option 'after'", "scheduled_at", "max_retries", "metadata")),
        ({"delay": 5, "scheduled_at": datetime.now(UTC)}, ("delay and scheduled_at", "one of")),
        ({"delay": -1}, ("delay is -1", "seconds from 0", "timedelta")),
        ({"delay": timedelta(seconds=-1)}, ("delay is datetime.timedelta(days=-1", "from 0")),
        ({"delay": float("nan")}, ("delay is nan",)),
        ({"delay": 1e300}, ("delay is 1e+300",)),
        ({"delay": 10**400}, ("delay is 1000",)),
        ({"delay": timedelta(days=366_000)}, ("delay is datetime.timedelta(days=366000)",)),
        ({"delay": "5m"}, ("delay is '5m'",)),
        ({"delay": True}, ("delay is True",)),
    ],
)
async def test_what_is_not_acceptable_is_refused_by_name_and_not_stored(
    jobs: JobService, arguments: dict[str, Any], words: tuple[str, ...]
) -> None:
    with pytest.raises(ValidationError) as caught:
        await jobs.create_job(**{"job_type": "a.b", "payload": {}, **arguments})
    assert all(word in str(caught.value) for word in words)
    assert await jobs.all_stats() == {}


async def test_a_type_that_is_not_in_the_registry_is_a_value_error_with_a_hint(
    queue: MemoryJobQueueAdapter,
) -> None:
    registry = {"email.send": object()}
    jobs = JobService(queue, job_types=registry)
    with pytest.raises(ValueError, match=r"did you mean 'email\.send'\? Known types: email\.send"):
        await jobs.create_job("email.sent", {})
    registry["email.sent"] = object()
    assert (await jobs.create_job("email.sent", {})).job_type == "email.sent"


async def test_a_second_job_with_the_same_id_is_refused(jobs: JobService) -> None:
    job = await jobs.create_job("a.b", {"n": 1})
    with pytest.raises(ConflictError):
        await jobs.create_job("a.b", {"n": 2}, job_id=job.id)
    stored = await jobs.get_job(job.id)
    assert stored is not None
    assert stored.payload == {"n": 1}


async def test_in_bulk_each_job_has_its_own_outcome(jobs: JobService) -> None:
    twin = uuid4()
    outcomes = await jobs.create_jobs(
        [
            {"job_type": "a.b", "payload": {"n": 1}, "job_id": twin},
            {"job_type": "a.b", "payload": {1}},
            {"job_type": "a.b", "payload": {"n": 2}, "job_id": str(twin)},
            {"payload": {}},
            {"job_type": "a.b", "payload": {"n": 3}, "priority": 7, "que": "x"},
            {"job_type": "a.b", "payload": {"n": 4}, "queue_name": "other"},
        ],
        return_exceptions=True,
    )
    assert [type(outcome.error).__name__ for outcome in outcomes] == [
        "NoneType", "ValidationError", "ConflictError", "ValidationError", "ValidationError",
        "NoneType",
    ]  # fmt: skip
    assert "job_type must be given" in str(outcomes[3].error)
    assert outcomes[0].job == await jobs.get_job(twin)
    assert {name: stats.total for name, stats in (await jobs.all_stats()).items()} == {
        "default": 1, "other": 1,
    }  # fmt: skip


async def test_a_bulk_of_nothing_is_nothing(jobs: JobService) -> None:
    assert await jobs.create_jobs([]) == []


async def test_a_waiting_job_can_be_cancelled_once(jobs: JobService) -> None:
    job = await jobs.create_job("a.b", {})
    assert await jobs.cancel_job(str(job.id)) is True
    assert await jobs.cancel_job(job.id) is False
    assert await jobs.cancel_job(uuid4(), running=True) is False


async def test_a_running_job_is_only_asked_to_stop_when_the_caller_says_so(
    queue: MemoryJobQueueAdapter, jobs: JobService
) -> None:
    job = await jobs.create_job("a.b", {})
    held = await lease(queue)
    assert await jobs.cancel_job(job.id) is False
    assert await jobs.cancel_job(job.id, running=True) is True
    assert [renewal.cancel for renewal in await queue.renew([held])] == [True]


async def test_a_result_is_there_once_the_job_is_completed(
    queue: MemoryJobQueueAdapter, jobs: JobService
) -> None:
    job = await jobs.create_job("a.b", {})
    assert await jobs.get_result(job.id) is None
    await complete(queue, b'{"n":1}')
    assert await jobs.get_result(job.id) == {"n": 1}


async def test_waiting_for_a_job_ends_when_it_ends(
    queue: MemoryJobQueueAdapter, jobs: JobService
) -> None:
    job = await jobs.create_job("a.b", {})
    waiting = asyncio.create_task(jobs.wait_for(job.id, 10))
    await complete(queue)
    assert (await waiting).status is JobStatus.COMPLETED


async def test_waiting_for_a_job_ends_at_its_timeout(jobs: JobService) -> None:
    job = await jobs.create_job("a.b", {})
    with pytest.raises(TimeoutError, match=rf"job {job.id} has not ended within 0.01 s; .*get_job"):
        await jobs.wait_for(job.id, 0.01)
    with pytest.raises(ResourceNotFoundError):
        await jobs.wait_for(uuid4())


async def test_jobs_are_counted_listed_inspected_redriven_and_purged(jobs: JobService) -> None:
    job = await jobs.create_job("a.b", {})
    await jobs.cancel_job(job.id)
    assert (await jobs.get_job_stats("default")).failed_count == 1
    page = await jobs.list_jobs(JobFilter(job_type="a.b"), 10)
    assert [listed.id for listed in page.jobs] == [job.id]
    record = await jobs.inspect(str(job.id))
    assert record is not None
    assert record.attempt == 0
    assert await jobs.redrive([str(job.id), uuid4()]) == [job.id]
    await jobs.cancel_job(job.id)
    assert await jobs.purge(JobFilter(statuses=[JobStatus.FAILED])) == 1
    assert await jobs.get_job(job.id) is None


async def test_as_a_context_manager_it_opens_and_closes_the_queue() -> None:
    async with JobService(MemoryJobQueueAdapter()) as jobs:
        assert (await jobs.create_job("a.b", {})).status is JobStatus.PENDING


def held(job: Job, attempt: int = 1) -> Lease:
    return Lease(
        job.id.bytes, b"", attempt, job.queue_name, job.job_type, b"{}", 0, 3, 0, None, 0, 0,
        job.created_by.bytes if job.created_by else None, b"{}", None, False,
    )  # fmt: skip


async def test_creation_and_cancellation_are_audited(queue: MemoryJobQueueAdapter) -> None:
    audit, user = MemoryAuditAdapter(), uuid4()
    jobs = JobService(queue, audit=audit)
    one = await jobs.create_job("a.b", {"secret": "x"}, created_by=user)
    (two,) = await jobs.create_jobs([{"job_type": "a.b", "payload": {}}])
    assert two.job is not None
    await jobs.cancel_job(one.id)
    cancelled, created = await audit.get_resource_history("job", str(one.id))
    assert (created.action, created.user_id, created.details["event"]) == (
        "create", user, "created",
    )  # fmt: skip
    assert cancelled.details["event"] == "cancelled"
    assert "secret" not in str(created)
    assert len(await audit.get_resource_history("job", str(two.job.id))) == 1


@pytest.mark.parametrize(
    ("status", "failure", "word", "success"),
    [
        (JobStatus.COMPLETED, None, "completed", True),
        (JobStatus.FAILED, Failure("ValueError", "no"), "failed", False),
        (JobStatus.FAILED, CANCELLED, "cancelled", True),
        (JobStatus.DEAD_LETTER, Failure("ValueError", "no"), "dead_lettered", False),
    ],
)
async def test_the_end_of_a_job_is_audited(
    jobs: JobService, status: JobStatus, failure: Failure | None, word: str, success: bool
) -> None:
    audit, user = MemoryAuditAdapter(), uuid4()
    job = await jobs.create_job("a.b", {}, created_by=user)
    await JobAudit(audit).settled(held(job), status, failure)
    (event,) = await audit.get_resource_history("job", str(job.id))
    assert (event.details["event"], event.success, event.user_id) == (word, success, user)
    assert event.error_message == (failure.message if failure else None)


async def test_an_attempt_that_does_not_end_its_job_is_not_audited(jobs: JobService) -> None:
    audit = MemoryAuditAdapter()
    job = await jobs.create_job("a.b", {})
    await JobAudit(audit).settled(held(job), JobStatus.RETRYING, Failure("E", "x"))
    assert await audit.search_events(AuditQuery()) == []


class BrokenAudit(MemoryAuditAdapter):
    async def log_event(self, event: AuditEvent) -> None:
        raise OSError("audit disk on fire")


class StuckAudit(MemoryAuditAdapter):
    async def log_event(self, event: AuditEvent) -> None:
        await asyncio.Event().wait()


@pytest.mark.parametrize("broken", [BrokenAudit(), StuckAudit()])
async def test_a_broken_audit_log_is_told_of_and_breaks_no_job(
    queue: MemoryJobQueueAdapter,
    broken: MemoryAuditAdapter,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("portico.kits.job.job_audit.PATIENCE", 0.01)
    job = await JobService(queue, audit=broken).create_job("a.b", {})
    assert job.status is JobStatus.PENDING
    assert isinstance(job.id, UUID)
    assert "audit event lost" in caplog.text


async def test_without_an_audit_log_nothing_is_told(jobs: JobService) -> None:
    job = await jobs.create_job("a.b", {})
    audit = JobAudit(None)
    await audit.created(job)
    await audit.cancelled(job.id)
    await audit.settled(held(job), JobStatus.COMPLETED, None)


@pytest.mark.parametrize("wrong", [{"status": "failed"}, "failed", 5, [JobFilter()]], ids=str)
async def test_what_is_no_filter_is_refused_with_the_way_out(jobs: JobService, wrong: Any) -> None:
    for ask in (jobs.list_jobs, jobs.purge):
        with pytest.raises(ValidationError, match=r"give a JobFilter.*statuses"):
            await ask(wrong)
    assert (await jobs.list_jobs(None)).jobs == []


@pytest.mark.parametrize("url", ["sqlite:///{}/jobs.db", "postgresql://h/d", "redis://h/0"])
async def test_a_service_that_is_not_open_says_how_to_open_it(url: str, tmp_path: Path) -> None:
    with pytest.raises(QueueConnectionError, match=r"not open: .*async with job_service\(\.\.\.\)"):
        await compose.job_service(url.format(tmp_path)).create_job("a.b", {})
