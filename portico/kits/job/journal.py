"""What became of the jobs: counted, written to the log, and told to the audit log.

A completed job costs a comparison and an addition. Everything else is rare and is told in full:
which job, which attempt, what was wrong, and what happens next.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import Any

from portico.kits.job.audit_feed import Audit, AuditFeed
from portico.kits.job.completions import Completions, facts_of, run_of
from portico.ports.cancellation import tells_cancellation
from portico.ports.job import JobStatus
from portico.ports.job_executor import Outcome
from portico.ports.job_queue import JobQueueAdapter
from portico.ports.leasing import (
    Answer,
    Failure,
    Lease,
    Receipt,
    Settlement,
    Transition,
)
from portico.utils.logging import get_logger
from portico.utils.texts import shortened

LONGEST_ERROR, LONGEST_TRACEBACK = 1024, 4096
"""Bytes of an error and of its traceback in the log: of more the middle is left out."""

logger = get_logger(__name__)

_COUNTER = {
    JobStatus.COMPLETED: "completed",
    JobStatus.RETRYING: "retried",
    JobStatus.FAILED: "failed",
    JobStatus.DEAD_LETTER: "dead_lettered",
    JobStatus.PENDING: "released",
    JobStatus.SCHEDULED: "snoozed",
}
_CANCELLED = "cancelled"


@dataclass(slots=True)
class Progress:
    """Counts since the start; attempts, not jobs."""

    leased: int = 0
    completed: int = 0
    retried: int = 0
    failed: int = 0
    cancelled: int = 0
    """Stopped while they ran, because someone had asked for it; not among those that failed."""
    dead_lettered: int = 0
    released: int = 0
    snoozed: int = 0
    recovered: int = 0
    lost: int = 0
    """Settlements that the store refused: the lease was no longer ours, or the job is gone."""


class Journal:
    """Takes note of what the store has answered."""

    def __init__(self, audit: Audit | None = None, clock: Callable[[], float] = monotonic) -> None:
        self.progress = Progress()
        self._completions = Completions(clock)
        self.audit = None if audit is None else AuditFeed(audit)
        self._loss_told = False

    def opened(self, queue: JobQueueAdapter) -> None:
        """Work begins on this queue: say what it cannot promise."""
        if limitations := queue.limitations():
            name = type(queue).__name__
            logger.warning("queue_adapter_is_limited", adapter=name, limitations=limitations)

    def settled(
        self,
        outcomes: Sequence[Outcome],
        settlements: Sequence[Settlement],
        receipts: Sequence[Receipt],
    ) -> None:
        """These attempts were settled, or not: the receipt says which."""
        completed = 0
        terse = self.audit is None and not self._completions.told
        done, ok = JobStatus.COMPLETED, Answer.OK
        for outcome, settlement, receipt in zip(outcomes, settlements, receipts, strict=True):
            if terse and receipt.status is done and receipt.answer is ok:
                completed += 1
            else:
                self._settled(outcome, settlement, receipt)
        self.progress.completed += completed
        if self._loss_told or completed < len(receipts):
            self._tell_loss(sum(receipt.answer is Answer.NOT_FOUND for receipt in receipts))

    def recovered(self, lease: Lease, status: JobStatus, reason: Failure) -> None:
        """An attempt of another owner, whose lease ran out, was settled."""
        self.progress.recovered += 1
        logger.warning("job_recovered", **facts_of(lease), status=status.value)
        self._tell_audit(lease, status, reason)

    def lease_lost(self, lease: Lease) -> None:
        """A lease that was held is no longer: another owner may be running the job."""
        logger.error("lease_lost", **facts_of(lease))

    def cancel_requested(self, lease: Lease) -> None:
        """Someone asked to stop a job that is held."""
        logger.info("job_cancel_requested", **facts_of(lease))

    async def flush(self, seconds: float) -> None:
        """Tell what is left to tell, and let the audit log take its part, for so long at most."""
        self._completions.flush()
        if self.audit is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self.audit.flushed()

    def _tell_loss(self, missing: int) -> None:
        """Jobs that ran here are gone: the store has lost them, for what runs is never purged.

        Told once, until a batch of settlements finds all of its jobs again.
        """
        if missing and not self._loss_told:
            logger.error(
                "store_data_loss",
                jobs=missing,
                note="the store does not know jobs that it leased to us: it was restarted without "
                "its data, restored from a backup, failed over, or somebody deleted rows",
                next="new jobs are run as ever; find out what the store keeps (for Redis: "
                "appendonly yes), and enqueue again what is missing",
            )
        self._loss_told = missing > 0

    def _settled(self, outcome: Outcome, settlement: Settlement, receipt: Receipt) -> None:
        lease = outcome.lease
        if receipt.status is None or receipt.answer in (Answer.LOST, Answer.NOT_FOUND):
            self.progress.lost += 1
            logger.error(
                "settlement_refused",
                **facts_of(lease),
                transition=settlement.transition.value,
                answer=receipt.answer.value,
            )
            return
        if receipt.answer is Answer.ALREADY:
            logger.warning(
                "ack_ambiguous_resolved",
                **facts_of(lease),
                transition=settlement.transition.value,
                note="the store's answer had got lost; it has this outcome, once",
            )
        cancelled = tells_cancellation(settlement.failure)
        counter = (
            _CANCELLED if cancelled else _COUNTER.get(receipt.status)
        )  # an ALREADY may be answered long after the fact
        if counter is not None:
            setattr(self.progress, counter, getattr(self.progress, counter) + 1)
        if receipt.status is JobStatus.COMPLETED:
            self._completions.tell([outcome])
        else:
            _log(outcome, settlement, receipt.status)
        self._tell_audit(lease, receipt.status, settlement.failure)

    def _tell_audit(self, lease: Lease, status: JobStatus, failure: Failure | None) -> None:
        if self.audit is not None and status.terminal:
            self.audit.put(lease, status, failure)


def next_step(lease: Lease, settlement: Settlement, status: JobStatus) -> str:
    """What happens to the job now, in words."""
    match status:
        case JobStatus.COMPLETED:
            return "completed"
        case JobStatus.FAILED if tells_cancellation(settlement.failure):
            return "cancelled: it is not to be run again"
        case JobStatus.FAILED:
            return "failed for good: it is not to be retried"
        case JobStatus.DEAD_LETTER:
            return f"dead-lettered: {_end(lease, settlement.transition)}"
        case JobStatus.PENDING:
            return "released: it keeps its place and no retry is used up"
        case _:
            return f"will run again in {settlement.delay:.1f} s"


def _end(lease: Lease, transition: Transition) -> str:
    match transition:
        case Transition.QUARANTINE:
            return "it cannot be decoded, so no attempt can succeed"
        case Transition.SNOOZE:
            return "nobody has served its type for too long"
        case Transition.INTERRUPT | Transition.SUSPECT:
            return "its outcome is unknown, and it must not be started twice (max_retries=0)"
        case Transition.CRASH if lease.retry_count < lease.max_retries:
            return "it has crashed its worker too often"
        case _:
            return f"its retries are used up ({lease.retry_count} of {lease.max_retries})"


def _log(outcome: Outcome, settlement: Settlement, status: JobStatus) -> None:
    lease, failure, job = outcome.lease, settlement.failure, run_of(outcome)
    facts: dict[str, Any] = {} if failure is None else _reason(failure)
    facts["next"] = next_step(lease, settlement, status)
    match status:
        case JobStatus.FAILED if tells_cancellation(failure):
            logger.info("job_cancelled", **job, next=facts["next"])
        case JobStatus.FAILED:
            logger.error("job_failed", **job, **facts)
        case JobStatus.DEAD_LETTER:
            logger.error("job_dead_lettered", **job, **facts)
        case JobStatus.RETRYING:
            logger.warning("job_will_retry", **job, **facts)
        case JobStatus.SCHEDULED if failure is None:  # a flood of one type has very many of them
            logger.debug("job_deferred", **job)
        case JobStatus.SCHEDULED:
            logger.warning("job_put_off", **job, **facts)
        case _ if failure is None:  # never started: a shutdown may release a thousand of them
            logger.debug("job_released", **job, **facts)
        case _:
            logger.warning("job_interrupted", **job, **facts)


def _reason(failure: Failure) -> dict[str, Any]:
    """What went wrong, in a line of bounded length; the job's record has the whole of it."""
    reason = {"error_type": failure.type, "error": _logged(failure.message, LONGEST_ERROR)}
    if not failure.traceback:
        return reason
    return {**reason, "traceback": _logged(failure.traceback, LONGEST_TRACEBACK)}


def _logged(text: str, limit: int) -> str:
    return shortened(text.encode("utf-8", "backslashreplace"), limit)
