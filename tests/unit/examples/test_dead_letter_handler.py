from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest

from portico.examples.dead_letter_handler import DeadLetterHandler, verdict_on
from portico.exceptions import ConflictError, QueueConnectionError, ValidationError
from portico.ports.job import Job, JobStatus, QueueStats
from portico.ports.worker_context import QueueView
from tests.support.jobs import make_job


class Graveyard(QueueView):
    """Holds one job, and redrives it on `enqueue`."""

    def __init__(self, job: Job | None = None, error: Exception | None = None) -> None:
        self.job = job
        self.error = error

    async def get_job(self, job_id: UUID | str) -> Job | None:
        return self.job if self.job is not None and str(self.job.id) == str(job_id) else None

    async def enqueue(self, job: Job) -> Job:
        if self.error is not None:
            raise self.error
        assert job == self.job
        self.job = replace(job, status=JobStatus.PENDING)
        return self.job

    async def get_result(self, job_id: UUID | str) -> dict[str, Any] | None:
        raise NotImplementedError

    async def get_queue_stats(self, queue_name: str) -> QueueStats:
        raise NotImplementedError

    async def redrive(self, job_ids: Sequence[UUID | str]) -> list[UUID]:
        raise NotImplementedError


def dead(message: str, status: JobStatus = JobStatus.DEAD_LETTER) -> Job:
    return make_job(status=status, error_message=message, max_retries=3, retry_count=3)


def request(job_id: object) -> Job:
    return make_job(job_type="system.deadletter.process", payload={"dead_job_id": str(job_id)})


async def test_a_transient_error_is_given_another_chance() -> None:
    queue = Graveyard(dead("connection refused"))
    assert queue.job is not None

    result = await DeadLetterHandler(queue).handle(request(queue.job.id))

    assert result.success
    assert result.result_data == {"analyzed": True, "requeued": True, "error_type": "transient"}
    assert queue.job.status is JobStatus.PENDING


async def test_a_permanent_error_is_left_where_it_is() -> None:
    queue = Graveyard(dead("KeyError: 'amount'"))
    assert queue.job is not None

    result = await DeadLetterHandler(queue).handle(request(queue.job.id))

    assert result.success
    assert result.result_data == {"analyzed": True, "requeued": False, "error_type": "permanent"}
    assert queue.job.status is JobStatus.DEAD_LETTER


async def test_a_job_that_is_gone_is_a_success() -> None:
    result = await DeadLetterHandler(Graveyard()).handle(request(uuid4()))

    assert result.success
    assert result.result_data == {"analyzed": False, "requeued": False}


@pytest.mark.parametrize("status", [JobStatus.PENDING, JobStatus.RUNNING, JobStatus.COMPLETED])
async def test_a_job_that_lives_again_is_a_success(status: JobStatus) -> None:
    queue = Graveyard(dead("timed out", status))
    assert queue.job is not None

    result = await DeadLetterHandler(queue).handle(request(queue.job.id))

    assert result.success
    assert result.result_data["requeued"] is False


async def test_a_job_that_someone_else_redrove_meanwhile_counts_as_theirs() -> None:
    queue = Graveyard(dead("timed out"), ConflictError("exists"))
    assert queue.job is not None

    result = await DeadLetterHandler(queue).handle(request(queue.job.id))

    assert result.success
    assert result.result_data["requeued"] is False


async def test_an_unreachable_store_is_raised_so_that_the_job_is_tried_again() -> None:
    queue = Graveyard(dead("timed out"), QueueConnectionError("down"))
    assert queue.job is not None

    with pytest.raises(QueueConnectionError):
        await DeadLetterHandler(queue).handle(request(queue.job.id))


@pytest.mark.parametrize("payload", [{}, {"dead_job_id": 7}, {"dead_job_id": "no-uuid"}])
async def test_a_payload_without_an_id_fails_for_good(payload: dict[str, Any]) -> None:
    result = await DeadLetterHandler(Graveyard()).handle(make_job(payload=payload))

    assert not result.success
    assert isinstance(result.error, ValidationError)
    assert "dead_job_id" in str(result.error)


@pytest.mark.parametrize(
    "message",
    [
        "connection refused",
        "[Errno 104] Connection reset by peer",
        "Read timed out.",
        "request timeout",
        "no delivery after 3 attempts: the server answered 503",
        "database is locked",
        "deadlock detected",
        "Temporary failure in name resolution",
        "429 Too Many Requests",
    ],
)
def test_what_passes_by_itself_is_transient(message: str) -> None:
    assert verdict_on(dead(message)) == "transient"


@pytest.mark.parametrize(
    "message",
    [
        "",
        "division by zero",
        "recipient is required",
        "the worker process was killed by SIGKILL (out of memory?)",
        "the job ran past its deadline of 300 s",
        "the server refused it with 404",
        "connection to 'file:///x' is not acceptable",
    ],
)
def test_everything_else_is_permanent(message: str) -> None:
    assert verdict_on(dead(message)) == "permanent"
