"""The port through which application code creates jobs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, Unpack

from portico.exceptions import ConflictError, ValidationError
from portico.ports import bulk
from portico.ports.bulk import Created
from portico.ports.job import Job
from portico.ports.job_options import JobOptions, spelled_out


class JobCreator(ABC):
    """Creates jobs. Implemented by `JobService`, and inside of workers by the link to their
    supervisor."""

    @abstractmethod
    @spelled_out
    async def create_job(
        self,
        job_type: str,
        payload: Mapping[str, Any],
        queue_name: str = "default",
        priority: int = 0,
        **options: Unpack[JobOptions],
    ) -> Job:
        """Create a job and return when the store has it.

        Args:
            job_type: dotted name of the handler that is to run it.
            payload: a JSON object of at most 1 MiB; see `document` for what becomes one.
            queue_name: the queue to put it in.
            priority: higher runs first, within a queue.
            **options: `scheduled_at` (a datetime; a naive one is taken as local time), or `delay`
                (seconds or a timedelta, by the store's clock), `max_retries` (default 3),
                `created_by` (UUID or text), `metadata` (a JSON object of at most 64 KiB), `job_id`
                (UUID; a new one when left out), `job_timeout` and `kill_grace` (seconds: the
                deadlines of this one job, kept in its metadata).
                `JobOptions` says more of each.

        Returns:
            The job as stored: PENDING, or SCHEDULED when `scheduled_at` is in the future.

        Raises:
            ValidationError: a value is not acceptable, or there is no such option; the message
                names it, and the nearest that there is.
            ConflictError: a job with this `job_id` exists; it is left as it was.
            QueueConnectionError: the store cannot be reached; nothing was created.
        """

    async def create_jobs(
        self, jobs: Iterable[Mapping[str, Any]], *, return_exceptions: bool = False
    ) -> list[Created]:
        """Create many jobs; one that is refused does not keep the others out.

        Args:
            jobs: for each job the arguments of `create_job` by name, `job_type` and `payload`
                required.
            return_exceptions: return what became of each, also when some were refused.

        Returns:
            Per job, in order, the job as stored; with `return_exceptions` that, or the error that
            kept it out.

        Raises:
            ExceptionGroup: some were refused, the others are created. It holds an error for each,
                whose `details["index"]` is the place in `jobs`, from 0.
            QueueConnectionError: the store cannot be reached.
        """
        created = [await self._created(arguments) for arguments in jobs]
        return bulk.told(created, return_exceptions=return_exceptions)

    async def _created(self, arguments: Mapping[str, Any]) -> Created:
        try:
            return Created(await self.create_job(**arguments))
        except (ValidationError, ConflictError) as error:
            return Created(None, error)
