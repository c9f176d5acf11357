"""A small application as one writes it, for type checkers: it is checked, and not run."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from portico import (
    ConflictError,
    Job,
    JobFilter,
    JobHandler,
    JobResult,
    JobService,
    JobStatus,
    NonRetryableError,
    WorkerContext,
    WorkerManager,
    get_logger,
    job_queue,
    job_service,
)
from portico.ports.job_creator import JobCreator
from portico.testing import perform

logger = get_logger(__name__)


class OrderGone(NonRetryableError):
    """There is no such order."""


@dataclass
class Orders:
    open: dict[str, int]


class SendInvoice(JobHandler):
    """With class attributes."""

    job_type = "invoice.send"
    job_timeout = 30.0
    kill_grace = 2.0
    max_running = 4

    def __init__(self, orders: Orders) -> None:
        self._orders = orders

    async def handle(self, job: Job) -> JobResult:
        order: str = job.payload["order"]
        if order not in self._orders.open:
            raise OrderGone(f"order {order} is gone", {"order": order})
        if job.retry_count == job.max_retries:
            return JobResult(success=False, error=ValueError("not today"), retryable=True)
        return JobResult(success=True, result_data={"cents": self._orders.open[order]})

    async def on_failure(self, job: Job, error: Exception) -> None:
        logger.warning("invoice_not_sent", job_id=job.id, error=str(error))


class Remind(JobHandler):
    """With properties, and with jobs that it creates."""

    def __init__(self, creator: JobCreator, after: timedelta) -> None:
        self._creator = creator
        self._after = after

    @property
    def job_type(self) -> str:
        return "invoice.remind"

    @property
    def job_timeout(self) -> float | None:
        return None

    @property
    def max_running(self) -> int:
        return 2

    async def handle(self, job: Job) -> JobResult:
        later = datetime.now(UTC) + self._after
        again = await self._creator.create_job(self.job_type, job.payload, scheduled_at=later)
        many = await self._creator.create_jobs([{"job_type": "invoice.send", "payload": {}}])
        return JobResult(True, result_data={"next": str(again.id), "made": len(many)})


class Annotated(JobHandler):
    job_type: str = "invoice.annotated"

    async def handle(self, job: Job) -> JobResult:
        return JobResult(success=True)


@asynccontextmanager
async def app(context: WorkerContext) -> AsyncGenerator[list[JobHandler]]:
    orders = Orders({"a1": 1000})
    yield [SendInvoice(orders), Remind(context.job_creator, timedelta(days=7)), Annotated()]


def types_of(handlers: list[JobHandler]) -> set[str]:
    return {handler.job_type for handler in handlers}


async def order(jobs: JobService, number: str) -> Job | None:
    try:
        job = await jobs.create_job(
            "invoice.send",
            {"order": number, "at": datetime.now(UTC), "tags": {"new"}},
            queue_name="mail",
            priority=5,
            scheduled_at=None,
            max_retries=5,
            created_by=uuid4(),
            metadata={"tenant": "acme"},
            job_id=uuid4(),
            job_timeout=None,
            kill_grace=1.5,
        )
    except ConflictError:
        return None
    outcomes = await jobs.create_jobs(
        [{"job_type": "invoice.remind", "payload": {}, "priority": 1}], return_exceptions=True
    )
    stored = [outcome.job for outcome in outcomes if outcome.job is not None]
    page = await jobs.list_jobs(JobFilter(statuses=(JobStatus.FAILED,), job_type="invoice.send"))
    await jobs.redrive([each.id for each in page.jobs])
    await jobs.cancel_job(stored[0].id, running=True)
    done = await jobs.wait_for(job.id, timeout=30)
    result = await jobs.get_result(done.id)
    return done if result is not None and done.status is JobStatus.COMPLETED else None


def in_a_transaction(jobs: JobService, connection: sqlite3.Connection) -> Job:
    with connection:
        return jobs.within_sync(connection).create_job("invoice.send", {}, max_retries=0)


async def main() -> None:
    async with job_service("sqlite:///portico.db", job_types={"invoice.send"}) as jobs:
        await order(jobs, "a1")
    handlers: list[JobHandler] = [SendInvoice(Orders({}))]
    async with WorkerManager(job_queue("memory://"), handlers, concurrency=4):
        await asyncio.sleep(1)
    attempt = await perform(handlers[0], {"order": "a1"}, retry_count=1)
    print(attempt.status, types_of(handlers), attempt.result or {})
