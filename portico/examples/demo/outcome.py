"""What a run has brought: figures per job type, and whatever went wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from portico.examples.demo.plan import IMPORT, ROWS, Plan
from portico.ports.job import Job, JobStatus


class Ended(NamedTuple):
    """A job in its last state; `result` is empty unless it completed."""

    job: Job
    result: dict[str, Any]

    @property
    def seconds(self) -> float:
        """How long its last attempt ran."""
        end = self.job.completed_at or self.job.failed_at
        if self.job.started_at is None or end is None:
            return 0.0
        return (end - self.job.started_at).total_seconds()


class Timing(NamedTuple):
    """The jobs of one type; times in seconds, `wall` from the first start to the last end."""

    job_type: str
    jobs: int
    wall: float
    mean: float
    longest: float
    rows: int


def timings(run: Sequence[Ended]) -> list[Timing]:
    """A line per job type, in the order in which they began."""
    completed = [ended for ended in run if ended.job.status is JobStatus.COMPLETED]
    kinds = dict.fromkeys(ended.job.job_type for ended in sorted(completed, key=_start))
    return [_timing(kind, [e for e in completed if e.job.job_type == kind]) for kind in kinds]


def problems(plan: Plan, run: Sequence[Ended]) -> list[str]:
    """What is not as it must be, in words; empty when all is well."""
    found = [
        f"{job.job_type} {job.id} is {job.status.value}: {job.error_message or 'no message'}"
        for job, _ in run
        if job.status is not JobStatus.COMPLETED
    ]
    counts = Counter(ended.job.job_type for ended in run)
    found += [
        f"{job_type}: {counts[job_type]} jobs instead of {expected}"
        for job_type, expected in plan.expected.items()
        if counts[job_type] != expected
    ]
    imported = Counter[str]()
    for ended in run:
        if ended.job.job_type == IMPORT and ended.result:
            imported[ended.result["dataset"]] += ended.result["records_imported"]
    found += [
        f"{dataset}: {imported[dataset]:,} rows imported instead of {rows:,}"
        for dataset, rows in ROWS.items()
        if imported[dataset] != rows
    ]
    return found


def _timing(job_type: str, run: Sequence[Ended]) -> Timing:
    first = min(_start(ended) for ended in run)
    last = max(_start(ended) + ended.seconds for ended in run)
    rows = "records_imported" if job_type == IMPORT else "rows"
    return Timing(
        job_type=job_type,
        jobs=len(run),
        wall=last - first,
        mean=sum(ended.seconds for ended in run) / len(run),
        longest=max(ended.seconds for ended in run),
        rows=sum(ended.result.get(rows, 0) for ended in run),
    )


def _start(ended: Ended) -> float:
    return ended.job.started_at.timestamp() if ended.job.started_at else 0.0
