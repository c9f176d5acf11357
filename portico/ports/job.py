"""The domain model: what a job is, how an attempt ends, and what a queue holds.

Standard-library dataclasses, frozen and without slots: application code copies them with
`dataclasses.replace(job, ...)` and with `Job(**{**job.__dict__, ...})`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeAlias
from uuid import UUID

if TYPE_CHECKING:
    Creator: TypeAlias = UUID | str
else:  # what decodes jobs by their types takes no union of what is text, see `creators.portable`
    Creator = UUID


class JobStatus(str, Enum):
    """Where a job stands. Members compare equal to their string.

    COMPLETED, FAILED and DEAD_LETTER are terminal: only a redrive or a purge leaves them.
    """

    PENDING = "pending"
    SCHEDULED = "scheduled"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    RETRYING = "retrying"
    DEAD_LETTER = "dead_letter"

    @property
    def terminal(self) -> bool:
        """Whether a job in this status stays in it until someone redrives or purges it."""
        return self in TERMINAL


TERMINAL = frozenset({JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.DEAD_LETTER})
WAITING = frozenset({JobStatus.PENDING, JobStatus.SCHEDULED, JobStatus.RETRYING})

CANCELLED_MESSAGE = "Job cancelled"
"""`error_message` of a job that was cancelled; its status is FAILED."""


@dataclass(frozen=True)
class Job:
    """One unit of background work.

    Attributes:
        id: identifies the job for ever; a handler's idempotency key.
        queue_name: the queue that it waits in.
        job_type: dotted name of the handler that runs it, such as `email.send`.
        payload: the handler's input, a JSON object.
        priority: higher runs first, within a queue.
        max_retries: how often it may run again after an attempt that did not succeed; 0 is a
            promise that it is never started twice.
        retry_count: how often it has been given back for another attempt so far.
        scheduled_at: not to be started before this instant.
        started_at: start of the newest attempt.
        completed_at: when it became COMPLETED.
        failed_at: when it became FAILED or DEAD_LETTER.
        status: PENDING on a job that is not in a queue yet; the queue decides on enqueue.
        error_message: what the newest failed attempt said.
        created_by: the user behind it, for audit and lists: a UUID, or a text of up to 200
            characters; a text that is a UUID's comes back as that UUID.
        created_at: set by the queue on enqueue.
        metadata: the application's own notes, a JSON object; Portico does not read it.

    Instants are aware datetimes.
    """

    id: UUID
    queue_name: str
    job_type: str
    payload: dict[str, Any]
    priority: int = 0
    max_retries: int = 3
    retry_count: int = 0
    scheduled_at: datetime | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    failed_at: datetime | None = None
    status: JobStatus = JobStatus.PENDING
    error_message: str | None = None
    created_by: Creator | None = None
    created_at: datetime | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class JobResult:
    """What a handler returns.

    Attributes:
        success: whether the job is done.
        error: why not; stays in the process that ran the handler, the store keeps its type,
            message and traceback as text.
        result_data: a JSON object, kept with the job.
        retryable: with `success=False`, asks for another attempt; without it a returned failure
            is final. `result_data["retry_recommended"] = True` means the same.
    """

    success: bool
    error: Exception | None = None
    result_data: dict[str, Any] = field(default_factory=dict)
    retryable: bool = False

    def __init__(
        self,
        success: bool,  # noqa: FBT001 - documented as it is
        error: Exception | None = None,
        result_data: dict[str, Any] | None = None,
        retryable: bool = False,  # noqa: FBT001, FBT002
    ) -> None:
        fields = self.__dict__  # past the frozen __setattr__: one is made for every job
        fields["success"] = success
        fields["error"] = error
        fields["result_data"] = {} if result_data is None else result_data
        fields["retryable"] = retryable


@dataclass(frozen=True)
class QueueStats:
    """How many jobs of one queue are in each status; the seven counts add up to all of them."""

    queue_name: str
    pending_count: int
    running_count: int
    completed_count: int
    failed_count: int
    dead_letter_count: int
    scheduled_count: int = 0
    retrying_count: int = 0

    @property
    def total(self) -> int:
        """All jobs that the queue holds."""
        return self.waiting + self.running_count + self.finished

    @property
    def waiting(self) -> int:
        """Jobs that will be started when they are due and a worker is free."""
        return self.pending_count + self.scheduled_count + self.retrying_count

    @property
    def finished(self) -> int:
        """Jobs in a terminal status."""
        return self.completed_count + self.failed_count + self.dead_letter_count
