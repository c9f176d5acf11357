"""The port through which application code creates jobs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from portico.ports.job import Job


class JobCreator(ABC):
    """Creates jobs. Implemented by `JobService`, and inside of workers by the link to their
    supervisor."""

    @abstractmethod
    async def create_job(
        self,
        job_type: str,
        payload: Mapping[str, Any],
        queue_name: str = "default",
        priority: int = 0,
        **options: Any,
    ) -> Job:
        """Create a job and return when the store has it.

        Args:
            job_type: dotted name of the handler that is to run it.
            payload: a JSON object of at most 1 MiB.
            queue_name: the queue to put it in.
            priority: higher runs first, within a queue.
            **options: `scheduled_at` (a datetime; a naive one is taken as local time),
                `max_retries` (default 3), `created_by` (UUID), `metadata` (a JSON object of at
                most 64 KiB), `job_id` (UUID; a new one when left out), `job_timeout` and
                `kill_grace` (seconds: the deadlines of this one job, kept in its metadata).

        Returns:
            The job as stored: PENDING, or SCHEDULED when `scheduled_at` is in the future.

        Raises:
            ValidationError: a value is not acceptable; the message names the field.
            ConflictError: a job with this `job_id` exists; it is left as it was.
            QueueConnectionError: the store cannot be reached; nothing was created.
        """
