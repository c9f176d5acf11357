"""What to conclude from a worker's death about each thing it held: pure.

| it held | and | so |
|---|---|---|
| anything | had not started it | it is given to another worker |
| a job that had failed already | died in its `on_failure` | that failure stands, `on_failure` is not run again |
| a job past its deadline | was killed for that | it failed, with a JobTimeoutError |
| a job that was to stop | was killed for that | its fate is as decided |
| a job | was killed for a reason that is not the job's | interrupted, uncharged |
| one job | died by itself | that job crashed it |
| several jobs | died by itself | each is a suspect, and runs again alone |
"""  # noqa: E501 - a table

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import Enum
from typing import NamedTuple

from portico.ports.job_executor import (
    Crashed,
    Failed,
    Interrupted,
    Outcome,
    Released,
    Suspected,
)
from portico.ports.leasing import Failure
from portico.supervisor.assignment import Assignment, Fate


class Ruling(Enum):
    """What is to be done about one thing that a dead worker held."""

    ELSEWHERE = "give it to another worker"
    REPORT = "report the outcome"
    MOURN = "run on_failure in another worker, then report the outcome"
    HOOK_LOST = "report the outcome; on_failure was cut short and is not run again"


class Conclusion(NamedTuple):
    """One ruling, with the outcome to report."""

    assignment: Assignment
    ruling: Ruling
    outcome: Outcome | None = None
    failure: Failure | None = None


def conclude(
    inflight: Mapping[int, Assignment],
    started: Collection[int],
    death: str,
    killed_for: str | None,
    overdue: str,
) -> list[Conclusion]:
    """Judge what a dead worker held, in the order in which it held it.

    Args:
        inflight: what had not been reported, by serial.
        started: the serials that its shared page names.
        death: how it ended, in words that follow "the worker".
        killed_for: why we killed it, when we did.
        overdue: the message of a job that was killed at its deadline.
    """
    alone = sum(serial in started for serial in inflight) == 1
    conclusions = []
    for serial, held in inflight.items():
        if serial not in started:
            conclusions.append(Conclusion(held, Ruling.ELSEWHERE))
        elif held.outcome is not None or held.failure is not None:
            conclusions.append(Conclusion(held, Ruling.HOOK_LOST, held.outcome))
        else:
            conclusions.append(_of_running(held, death, killed_for, overdue, alone=alone))
    return conclusions


def _of_running(
    held: Assignment, death: str, killed_for: str | None, overdue: str, *, alone: bool
) -> Conclusion:
    lease = held.lease
    if held.fate is Fate.OVERDUE:
        failure = Failure("JobTimeoutError", overdue)
        outcome = Outcome(lease, Failed(failure, retryable=True))
        return Conclusion(held, Ruling.MOURN, outcome, failure)
    if held.fate is not None:
        return Conclusion(held, Ruling.REPORT, Outcome(lease, Released()))
    if killed_for is not None:
        failure = Failure("WorkerLostError", f"its worker was killed: {killed_for}")
        return Conclusion(held, Ruling.REPORT, Outcome(lease, Interrupted(failure)))
    if alone:
        failure = Failure("WorkerLostError", f"the worker {death} while it ran this job")
        return Conclusion(held, Ruling.MOURN, Outcome(lease, Crashed(failure)), failure)
    failure = Failure("WorkerLostError", f"the worker {death} while it ran this job and others")
    return Conclusion(held, Ruling.REPORT, Outcome(lease, Suspected(failure)))
