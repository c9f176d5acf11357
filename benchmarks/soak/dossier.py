"""The story of one job, from everybody who had to do with it: made for finding a mistake."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

from benchmarks.soak.fleet import log_lines
from benchmarks.soak.verdict import Observed, Violation
from portico.ports.leasing import JobRecord

_NEAR = 5.0
"""Seconds before and after a job's life in which faults are shown."""
_FIRST = 5


def tell(violations: list[Violation], observed: Observed, folder: Path) -> Iterator[str]:
    """The first violations, each with the story of its job."""
    told: set[str] = set()
    for violation in violations[:_FIRST]:
        yield f"\n{violation.kind}: {violation.text}"
        if violation.job_id and violation.job_id not in told:
            told.add(violation.job_id)
            yield f"job {violation.job_id}"
            yield from story(violation.job_id, observed, folder)
    if len(violations) > _FIRST:
        yield f"\n... and {len(violations) - _FIRST} more"


def story(job_id: str, observed: Observed, folder: Path) -> Iterator[str]:
    """All that is known of a job, in the order in which it happened."""
    record = observed.records.get(job_id)
    yield "  record: " + (_shown(record) if record else "none")
    lines = [(m.at, f"ledger    {m}") for m in observed.marks if m.job_id == job_id]
    lines += [(c.at, f"store     {c}") for c in observed.changes if c.job_id == job_id]
    if lines:
        first, last = min(lines)[0] - _NEAR, max(lines)[0] + _NEAR
        pids = {m.pid for m in observed.marks if m.job_id == job_id}
        for action in observed.actions:
            met = action.pid in {0, action.supervisor, *pids}
            if met and action.end >= first and action.start <= last:
                lines.append((action.start, f"nemesis   {action}"))
    for at, text in sorted(lines):
        yield f"  {at:.3f}  {text}"
    for name, event in log_lines(folder):
        if job_id in str(event.get("job_id")) or job_id in str(event.get("jobs")):
            yield f"  {name}  {json.dumps(event)}"


def _shown(record: JobRecord) -> str:
    """A record's fields that say something."""
    values = {
        **{f"job.{name}": value for name, value in vars(record.job).items()},
        **{f.name: getattr(record, f.name) for f in dataclasses.fields(record) if f.name != "job"},
    }
    return ", ".join(f"{name}={value}" for name, value in values.items() if value)
