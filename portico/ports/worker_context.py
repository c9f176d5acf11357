"""What an application's factory can reach when it builds its handlers inside of a worker.

A worker never opens the store. What it asks for travels over its pipe to the supervisor, which
answers when the store has answered.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from portico.ports.job import Job, QueueStats
from portico.ports.job_creator import JobCreator


class QueueView(ABC):
    """The read side of the queue, and redrive: what a handler of dead letters needs.

    Every method may raise `QueueConnectionError` when the store cannot be reached, and
    `NotSupportedError` when the adapter does not offer it.
    """

    @abstractmethod
    async def get_job(self, job_id: UUID | str) -> Job | None:
        """The job as it is now."""

    @abstractmethod
    async def get_result(self, job_id: UUID | str) -> dict[str, Any] | None:
        """The `result_data` of a COMPLETED job; `None` for any other."""

    @abstractmethod
    async def get_queue_stats(self, queue_name: str) -> QueueStats:
        """How many jobs of the queue are in each status."""

    @abstractmethod
    async def redrive(self, job_ids: Sequence[UUID | str]) -> list[UUID]:
        """FAILED and DEAD_LETTER → PENDING with fresh counters; returns what was changed."""

    @abstractmethod
    async def enqueue(self, job: Job) -> Job:
        """Store a job; one that reads FAILED or DEAD_LETTER is redriven instead.

        Raises:
            ConflictError: a job with this id exists and is not to be redriven.
        """


@dataclass(frozen=True)
class WorkerContext:
    """Given to an app factory that takes one argument.

    Attributes:
        job_creator: creates jobs; returns when the store has them.
        job_queue: reads jobs and redrives them.
        worker: the worker's number, from 1; kept by its replacement.
        logger: bound with the worker's number.
    """

    job_creator: JobCreator
    job_queue: QueueView
    worker: int
    logger: Any
