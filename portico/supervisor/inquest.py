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

from collections.abc import Callable, Mapping
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


class Death(NamedTuple):
    """How a worker ended, as far as it matters to what it held."""

    status: str
    """In words that follow "the worker"."""
    killed_for: str | None
    """Why we killed it, when we did."""
    overdue: str
    """The message of a job that was killed at its deadline."""
    output_since: Callable[[float], str]
    """What it printed after an instant: its fault handler's stack among it."""


class Conclusion(NamedTuple):
    """One ruling, with the outcome to report."""

    assignment: Assignment
    ruling: Ruling
    outcome: Outcome | None = None
    failure: Failure | None = None


def conclude(
    inflight: Mapping[int, Assignment], started: Mapping[int, float], death: Death
) -> list[Conclusion]:
    """Judge what a dead worker held, in the order in which it held it.

    Args:
        inflight: what had not been reported, by serial.
        started: the serials that its shared page names, and when they were started.
        death: how it ended.
    """
    alone = sum(serial in started for serial in inflight) == 1
    conclusions = []
    for serial, held in inflight.items():
        if serial not in started:
            conclusions.append(Conclusion(held, Ruling.ELSEWHERE))
        elif held.outcome is not None or held.failure is not None:
            conclusions.append(Conclusion(held, Ruling.HOOK_LOST, held.outcome))
        else:
            evidence = death.output_since(started[serial])
            conclusions.append(_of_running(held, death, evidence, alone=alone))
    return conclusions


def _of_running(held: Assignment, death: Death, evidence: str, *, alone: bool) -> Conclusion:
    lease, lost = held.lease, "WorkerLostError"
    if held.fate is Fate.OVERDUE:
        failure = Failure("JobTimeoutError", death.overdue, evidence)
        outcome = Outcome(lease, Failed(failure, retryable=True))
        return Conclusion(held, Ruling.MOURN, outcome, failure)
    if held.fate is not None:
        return Conclusion(held, Ruling.REPORT, Outcome(lease, Released()))
    if death.killed_for is not None:
        failure = Failure(lost, f"its worker was killed: {death.killed_for}", evidence)
        return Conclusion(held, Ruling.REPORT, Outcome(lease, Interrupted(failure)))
    if alone:
        failure = Failure(lost, f"the worker {death.status} while it ran this job", evidence)
        return Conclusion(held, Ruling.MOURN, Outcome(lease, Crashed(failure)), failure)
    message = f"the worker {death.status} while it ran this job and others"
    failure = Failure(lost, message, evidence)
    return Conclusion(held, Ruling.REPORT, Outcome(lease, Suspected(failure)))
