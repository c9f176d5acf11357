"""One job, shown to people with all that happened to it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from portico.cli import tables
from portico.cli.moments import moment, span
from portico.cli.tables import first_line, fitting, folded
from portico.ports.job import JobStatus
from portico.ports.leasing import AttemptRecord, Evidence, JobRecord, Transition

_COUNTERS = (
    ("retry_count", "retried"), ("release_count", "released"), ("snooze_count", "put off"),
    ("crash_count", "crashed"), ("expiry_count", "lease expired"),
)  # fmt: skip

_INDENT = 5
"""Where the lines below the head of an attempt begin."""
_SUCCESS = Transition.COMPLETE.value


def write_record(record: JobRecord, why: str | None = None) -> None:
    """Write a job, its payload, result, history, last error and traceback; for one that waits,
    why, where that is known."""
    job = record.job
    ended = job.completed_at or job.failed_at
    tables.facts(
        [
            ("id", job.id),
            ("type", job.job_type),
            ("queue", job.queue_name),
            ("status", job.status.value),
            ("waiting", why if job.status is JobStatus.PENDING else None),
            ("priority", job.priority),
            ("attempts", _attempts(record)),
            ("retries", f"{job.retry_count} of {job.max_retries} used"),
            ("created", moment(job.created_at)),
            ("created by", job.created_by),
            ("scheduled", moment(job.scheduled_at)),
            ("due", moment(record.due_at)),
            ("started", moment(job.started_at)),
            ("ended", moment(ended)),
            ("run time", _seconds(record) if ended else None),
            ("running for", _running_for(record)),
            ("held by", record.owner),
            ("stop asked", "yes" if record.cancel_requested else None),
            ("runs alone", "yes, its worker died beside it" if record.suspect else None),
        ]
    )
    _document("Payload", job.payload)
    _document("Metadata", job.metadata)
    _document("Result", record.result)
    if any(attempt.ended_as != _SUCCESS for attempt in record.attempts):
        tables.block("History", "\n".join(map(_told, record.attempts)))
    if job.error_message:
        kind = f"{record.error_type}: " if record.error_type else ""
        tables.block("Error", f"{kind}{job.error_message}")
    if record.traceback and record.traceback not in [a.traceback for a in record.attempts]:
        tables.block("Traceback", record.traceback)
    told: dict[str, int] = {}
    for attempt in record.attempts:
        _forensics(attempt, told)


def _forensics(attempt: AttemptRecord, told: dict[str, int]) -> None:
    """Where an attempt stood when it ended, and what its worker had printed by then.

    `told` has the attempts of the tracebacks that were written before: each is written once.
    """
    if attempt.traceback:
        first = told.setdefault(attempt.traceback, attempt.attempt)
        again = first != attempt.attempt
        text = f"the same as of attempt {first}" if again else attempt.traceback
        tables.block(f"Traceback of attempt {attempt.attempt}", text)
    if attempt.evidence.output:
        title = f"Last output of the worker in attempt {attempt.attempt}"
        tables.block(title, attempt.evidence.output)


def _told(attempt: AttemptRecord) -> str:
    """One attempt: what became of it, and below that what was seen of it."""
    head = [str(attempt.attempt), attempt.ended_as, moment(attempt.ended_at) or ""]
    kind = f"{attempt.error_type}: " if attempt.error_type else ""
    error = fitting(f"{kind}{first_line(attempt.error_message)}", _INDENT)
    lines = ["  ".join(head), error, *folded(", ".join(_seen(attempt)), _INDENT)]
    return "\n   ".join(line for line in lines if line)


def _seen(attempt: AttemptRecord) -> Iterator[str]:
    seen = attempt.evidence
    if seen.run_seconds is not None:
        yield f"ran {seen.run_seconds:.3f} s"
    if seen.pid is not None:
        yield f"worker {seen.pid}{_exit(seen)}"
    if seen.worker_cpu_seconds is not None:
        yield f"CPU {seen.worker_cpu_seconds:.2f} s in its life"
    if seen.worker_peak_rss is not None:
        yield f"peak memory {seen.worker_peak_rss / 2**20:.0f} MiB"
    if seen.oom_suspected:
        yield "out of memory suspected"
    if attempt.owner:
        yield f"held by {attempt.owner}"


def _exit(seen: Evidence) -> str:
    if seen.signal is not None:
        return f" (killed by {seen.signal})"
    return "" if seen.exit_code is None else f" (exit code {seen.exit_code})"


def _attempts(record: JobRecord) -> str:
    counts = {
        "retry_count": record.job.retry_count,
        "release_count": record.release_count,
        "snooze_count": record.snooze_count,
        "crash_count": record.crash_count,
        "expiry_count": record.expiry_count,
    }
    told = ", ".join(f"{word} {counts[name]}" for name, word in _COUNTERS if counts[name])
    return f"{record.attempt} ({told})" if told else str(record.attempt)


def _seconds(record: JobRecord) -> str | None:
    ended = record.job.completed_at or record.job.failed_at
    if ended is None or record.job.started_at is None or not record.ended_by_attempt:
        return None
    return f"{(ended - record.job.started_at).total_seconds():.3f} s"


def _running_for(record: JobRecord) -> str | None:
    if record.job.status is not JobStatus.RUNNING or record.job.started_at is None:
        return None
    return span((datetime.now(UTC) - record.job.started_at).total_seconds())


def _document(title: str, document: Mapping[str, Any] | None) -> None:
    if document:
        tables.block(title, json.dumps(document, ensure_ascii=False, indent=2))
