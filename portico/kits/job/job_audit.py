"""What happens to jobs, told to an audit log that can fail without anyone noticing but the log."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from portico.ports.audit import AuditAction, AuditAdapter, AuditEvent
from portico.ports.cancellation import tells_cancellation
from portico.ports.creators import without_creator
from portico.ports.job import Job, JobStatus
from portico.ports.leasing import Failure, Lease
from portico.utils.logging import get_logger

log = get_logger(__name__)

PATIENCE = 5.0
"""Seconds that the audit log may take for one event before it is given up."""


class JobAudit:
    """Writes the turning points of jobs to an `AuditAdapter`, or nowhere when there is none.

    Every event has `resource_type="job"` and the job's id as `resource_id`; `details["event"]` is
    `created`, `cancelled`, `completed`, `failed` or `dead_lettered`. Payloads are not copied.
    Nothing here raises, and nothing takes longer than `PATIENCE`.
    """

    def __init__(self, adapter: AuditAdapter | None) -> None:
        self._adapter = adapter

    @property
    def kept(self) -> bool:
        """Whether there is anybody to tell."""
        return self._adapter is not None

    async def created(self, job: Job) -> None:
        """A job was stored."""
        if self._adapter is None:
            return
        details = _details("created", job.job_type, job.queue_name, job.priority)
        details["status"] = job.status.value
        if job.scheduled_at is not None:
            details["scheduled_at"] = job.scheduled_at.isoformat()
        user, told = _user(job.created_by)
        await self._log(AuditAction.CREATE, job.id, user, details | told)

    async def cancelled(self, job_id: UUID, *, running: bool = False) -> None:
        """A waiting job was cancelled, or, with `running`, asked to stop."""
        if self._adapter is not None:
            details = {"event": "cancelled", "running": running}
            await self._log(AuditAction.UPDATE, job_id, None, details)

    async def settled(self, lease: Lease, status: JobStatus, failure: Failure | None) -> None:
        """An attempt was settled and left the job in `status`; tells of terminal ones only."""
        if self._adapter is None or not status.terminal:
            return
        word = "dead_lettered" if status is JobStatus.DEAD_LETTER else status.value
        if tells_cancellation(failure):
            word = "cancelled"
        details = _details(word, lease.job_type, lease.queue_name, lease.priority)
        details |= {"status": status.value, "attempt": lease.attempt}
        if failure is not None:
            details["error_type"] = failure.type
        text, _ = without_creator(lease.metadata)
        user, told = _user(text or (UUID(bytes=lease.created_by) if lease.created_by else None))
        error = failure.message if failure is not None else None
        await self._log(AuditAction.UPDATE, lease.job_id, user, details | told, error)

    async def _log(
        self,
        action: AuditAction,
        job_id: UUID,
        user_id: UUID | None,
        details: Mapping[str, Any],
        error: str | None = None,
    ) -> None:
        assert self._adapter is not None
        event = AuditEvent(
            action=action,
            resource_type="job",
            resource_id=str(job_id),
            user_id=user_id,
            details=details,
            success=details["event"] not in {"failed", "dead_lettered"},
            error_message=error,
        )
        try:
            async with asyncio.timeout(PATIENCE):
                await self._adapter.log_event(event)
        except Exception:  # an audit log of any kind must not break a job
            log.exception("audit event lost", job_id=job_id, audit_event=details["event"])


def _details(event: str, job_type: str, queue_name: str, priority: int) -> dict[str, Any]:
    return {"event": event, "job_type": job_type, "queue_name": queue_name, "priority": priority}


def _user(creator: UUID | str | None) -> tuple[UUID | None, dict[str, Any]]:
    """The user of an event, who is a UUID; one that is a text is told in the details."""
    if isinstance(creator, str):
        return None, {"created_by": creator}
    return creator, {}
