"""What to conclude from a worker's death about each thing it held: pure.

| it held | and | so |
|---|---|---|
| anything | had not started it | it is given to another worker; see `unstarted` |
| a job that had failed already | died in its `on_failure` | that failure stands, `on_failure` is not run again |
| a job that had failed, and left something that goes on | was killed for that | that failure stands, and `on_failure` is run |
| a job past its deadline | was killed for that | it failed, with a JobTimeoutError |
| one job | outgrew the memory ceiling, and was killed for that | it failed, with a MemoryCeilingError |
| several jobs | outgrew it together | each is a suspect, and runs again alone |
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
from portico.ports.leasing import CANCELLED, Evidence, Failure
from portico.supervisor.exit import Exit
from portico.supervisor.scheduling.assignment import Assignment, Fate
from portico.supervisor.scheduling.last_words import taken_apart


class Ruling(Enum):
    """What is to be done about one thing that a dead worker held."""

    ELSEWHERE = "give it to another worker"
    REPORT = "report the outcome"
    MOURN = "run on_failure in another worker, then report the outcome"
    HOOK_LOST = "report the outcome; on_failure was cut short and is not run again"


class Death(NamedTuple):
    """How a worker ended, as far as it matters to what it held."""

    exit: Exit
    at: float
    """When it was noticed (`time.monotonic()`)."""
    killed_for: str | None
    """Why we killed it, when we did."""
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
        started: the serials that were seen running, or stand on its page, and since when.
        death: how it ended.
    """
    alone = sum(serial in started for serial in inflight) == 1
    conclusions = []
    for serial, held in inflight.items():
        if serial not in started:
            conclusions.append(Conclusion(held, Ruling.ELSEWHERE))
        elif held.goes_on:
            conclusions.append(_of_failed(held))
        elif held.outcome is not None or held.failure is not None:
            conclusions.append(Conclusion(held, Ruling.HOOK_LOST, held.outcome))
        else:
            conclusions.append(_of_running(held, death, started[serial], alone=alone))
    return conclusions


def _of_failed(held: Assignment) -> Conclusion:
    """Its end is known; nothing of it runs any more, now that its worker is gone."""
    verdict = held.outcome.verdict if held.outcome is not None else None
    if isinstance(verdict, Failed) and held.fate is not Fate.FORFEITED:
        return Conclusion(held, Ruling.MOURN, held.outcome, verdict.failure)
    return Conclusion(held, Ruling.REPORT, held.outcome)


def _of_running(held: Assignment, death: Death, since: float, *, alone: bool) -> Conclusion:
    lease, seen = held.lease, _seen(death, since)
    if held.fate is Fate.OVERDUE:
        failure = seen._replace(type="JobTimeoutError", message=held.reason)
        outcome = Outcome(lease, Failed(failure, retryable=True))
        return Conclusion(held, Ruling.MOURN, outcome, failure)
    if held.fate is Fate.OVERSIZED:
        failure = seen._replace(type="MemoryCeilingError", message=held.reason)
        if not alone:
            return Conclusion(held, Ruling.REPORT, Outcome(lease, Suspected(failure)))
        outcome = Outcome(lease, Failed(failure, retryable=True))
        return Conclusion(held, Ruling.MOURN, outcome, failure)
    if held.fate is Fate.CANCELLED:
        failure = seen._replace(type=CANCELLED.type, message=CANCELLED.message)
        return Conclusion(held, Ruling.REPORT, Outcome(lease, Failed(failure, retryable=False)))
    if held.fate is not None:
        return Conclusion(held, Ruling.REPORT, Outcome(lease, Released()))
    if death.killed_for is not None:
        failure = seen._replace(message=f"its worker was killed: {death.killed_for}")
        return Conclusion(held, Ruling.REPORT, Outcome(lease, Interrupted(failure)))
    if alone:
        failure = seen._replace(message=f"the worker {death.exit} while it ran this job")
        return Conclusion(held, Ruling.MOURN, Outcome(lease, Crashed(failure)), failure)
    failure = seen._replace(message=f"the worker {death.exit} while it ran this job and others")
    return Conclusion(held, Ruling.REPORT, Outcome(lease, Suspected(failure)))


def _seen(death: Death, since: float) -> Failure:
    """The failure of what was running, but for its words."""
    said, status = taken_apart(death.output_since(since)), death.exit
    seen = Evidence(
        pid=status.pid,
        exit_code=status.code,
        signal=status.signal_name,
        oom_suspected=status.oom_suspected,
        run_seconds=max(0.0, death.at - since),
        worker_cpu_seconds=status.cpu_seconds,
        worker_peak_rss=status.peak_rss,
        output=said.output,
    )
    return Failure("WorkerLostError", "", said.stack, seen)
