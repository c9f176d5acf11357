"""The JSON shapes that `--json` writes: stable, and named as the ports name things."""

from __future__ import annotations

import json
from dataclasses import fields
from datetime import UTC, datetime
from enum import Enum
from typing import Any
from uuid import UUID

import click

from portico.cli.streams import shows_unicode
from portico.ports.job import Job, JobStatus, QueueStats
from portico.ports.leasing import AttemptRecord, Glance, JobPage, JobRecord, Outlook
from portico.supervisor.crowds import Crowds
from portico.supervisor.trouble import Trouble
from portico.utils.log_lines import escaped_json


def write(document: Any) -> None:
    """Write one JSON document to stdout."""
    ascii_only = not shows_unicode()
    text = json.dumps(document, ensure_ascii=ascii_only, indent=2, default=_plain)
    click.echo(escaped_json(text))


def job_shape(job: Job) -> dict[str, Any]:
    """A job: its fields by their names."""
    return {field.name: getattr(job, field.name) for field in fields(job)}


def record_shape(record: JobRecord) -> dict[str, Any]:
    """A job and, beside its fields, what the store knows of its attempts."""
    rest = {field.name: getattr(record, field.name) for field in fields(record)}
    rest["attempts"] = [attempt_shape(attempt) for attempt in record.attempts]
    return job_shape(rest.pop("job")) | rest


def attempt_shape(attempt: AttemptRecord) -> dict[str, Any]:
    """One attempt that has ended, with what was seen of it."""
    rest = {field.name: getattr(attempt, field.name) for field in fields(attempt)}
    del rest["evidence"]
    return {**rest, **attempt.evidence._asdict()}


def page_shape(page: JobPage) -> dict[str, Any]:
    """One page of a list; `cursor` is null on the last."""
    glances = page.glances or [Glance()] * len(page.jobs)
    jobs = [
        job_shape(job) | glance._asdict() for job, glance in zip(page.jobs, glances, strict=True)
    ]
    return {"jobs": jobs, "cursor": page.cursor}


def queue_shape(stats: QueueStats, outlook: Outlook | None) -> dict[str, Any]:
    """The counts of a queue, by status, their sum, and how long its jobs wait, in seconds."""
    counts = {status.value: getattr(stats, f"{status.value}_count") for status in JobStatus}
    waits = (outlook or Outlook())._asdict()
    return {"queue_name": stats.queue_name, **counts, "total": stats.total, **waits}


def trouble_shape(trouble: Trouble) -> dict[str, Any]:
    """What a supervisor tells of a store that it cannot use."""
    return {
        "pid": trouble.pid,
        "since": datetime.fromtimestamp(trouble.since, UTC),
        "said": trouble.said,
        "results_waiting": trouble.results_waiting,
    }


def crowd_shape(crowds: Crowds) -> dict[str, Any]:
    """The job types of which as many run as may in one supervisor."""
    return {"pid": crowds.pid, "most_running": crowds.most_running}


def _plain(value: object) -> Any:
    match value:
        case datetime():
            return value.isoformat()
        case UUID():
            return str(value)
        case Enum():
            return value.value
    raise TypeError(f"{value!r} has no JSON form")
