"""Ledgers of a soak made by hand: one job, and what was done to it."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from benchmarks.soak.causes import Limits
from benchmarks.soak.ledger import Mark
from benchmarks.soak.nemesis import Action, Fault
from benchmarks.soak.verdict import Observed, Verdict, judge
from benchmarks.soak.witness import Change
from portico.ports.job import JobStatus
from portico.ports.leasing import JobRecord
from tests.support.jobs import make_job

ID = UUID(int=7)
JOB = str(ID)
LIMITS = Limits(lease=3.0, job_timeout=3.0)
SUPERVISOR, OTHER = 100, 200


def mark(event: str, at: float, pid: int = 1, retry: int = 0, owner: int = SUPERVISOR) -> Mark:
    return Mark(event, JOB, at, pid, owner, retry)


def created(at: float = 0.0) -> list[Mark]:
    return [Mark("TRYING", JOB, at, 9), Mark("RETURNED", JOB, at + 0.1, 9)]


def ran(at: float, pid: int = 1, retry: int = 0, owner: int = SUPERVISOR) -> list[Mark]:
    return [mark("BEGIN", at, pid, retry, owner), mark("END", at + 0.5, pid, retry, owner)]


def record(status: str = "completed", retries: int = 0, **counts: Any) -> JobRecord:
    """A record whose counters agree, unless told otherwise."""
    fields = {name: counts.pop(name) for name in ("max_retries",) if name in counts}
    job = make_job(
        id=ID, status=JobStatus(status), retry_count=retries, **{"max_retries": 30, **fields}
    )
    terminal = job.status.terminal
    running = job.status is JobStatus.RUNNING
    waiting_out = retries + sum(counts.get(c, 0) for c in ("release_count", "snooze_count"))
    values = {"attempt": waiting_out + terminal + running, "ended_by_attempt": terminal, **counts}
    return JobRecord(job=job, **values)


def change(how: str, new: str, at: float, old: str = "running", owner: int = SUPERVISOR) -> Change:
    return Change(JOB, at, old, new, 1, how, owner)


COMPLETED = change("complete", "completed", 9.0)
DEAD = change("crash", "dead_letter", 9.0)


def verdict(
    marks: list[Mark],
    found: JobRecord | None,
    *actions: Action,
    changes: list[Change] | None = None,
    **more: Any,
) -> Verdict:
    ends = {"completed": [COMPLETED], "dead_letter": [DEAD]}
    status = found.job.status.value if found else ""
    return judge(
        Observed(
            marks=marks,
            records={JOB: found} if found else {},
            changes=ends.get(status, []) if changes is None else changes,
            actions=actions,
            limits=LIMITS,
            **more,
        )
    )


def kinds(found: Verdict) -> set[str]:
    """What is wrong, apart from the faults that a ledger of one job cannot have seen."""
    return {violation.kind for violation in found.violations} - {"not exercised"}


def killed_worker(at: float, pid: int = 1) -> Action:
    return Action(Fault.KILL_WORKER, at, at, pid, SUPERVISOR)


def killed_supervisor(at: float, pid: int = SUPERVISOR) -> Action:
    return Action(Fault.KILL_SUPERVISOR, at, at, pid, pid)


def paused_supervisor(at: float, seconds: float = 4.5, pid: int = SUPERVISOR) -> Action:
    return Action(Fault.PAUSE_SUPERVISOR, at, at + seconds, pid, pid)
