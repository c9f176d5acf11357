"""Jobs whose workers die before they start anything: charged in the end. Pure.

Such a death says nothing of who is to blame: it may have been the first job, or another that came
in the same frame, or nobody here. What a worker has not started goes to another one, uncharged;
but a job that has been there twice runs alone, and one whose third worker dies of that alone has
crashed it.
"""

from __future__ import annotations

from collections.abc import Sequence

from portico.ports.job_executor import Crashed, Outcome
from portico.ports.leasing import Evidence, Failure, LeaseKey
from portico.supervisor.scheduling.inquest import Conclusion, Death, Ruling

NOT_STARTED = "it did not start its job"
"""Why a worker was killed that has begun nothing of what it was given."""
ALONE_AFTER = 2
MOST = 3
"""Deaths of workers that held a job and had started nothing."""
_REMEMBERED = 4096
"""Jobs, at most."""


class Unstarted:
    """Remembers who was there when a worker died that had started nothing."""

    def __init__(self) -> None:
        self._deaths: dict[LeaseKey, int] = {}

    def weigh(self, conclusions: Sequence[Conclusion], death: Death) -> list[Conclusion]:
        """The conclusions from a death, and what follows from those before it."""
        started = any(one.ruling is not Ruling.ELSEWHERE for one in conclusions)
        if started or death.killed_for not in (None, NOT_STARTED):
            return list(conclusions)
        jobs = [one for one in conclusions if one.assignment.failure is None]
        return [
            self._weighed(one, death, alone=len(jobs) == 1) if one in jobs else one
            for one in conclusions
        ]

    def _weighed(self, one: Conclusion, death: Death, *, alone: bool) -> Conclusion:
        held = one.assignment
        deaths = self._deaths[held.lease.key] = self._deaths.pop(held.lease.key, 0) + 1
        while len(self._deaths) > _REMEMBERED:
            del self._deaths[next(iter(self._deaths))]
        if held.fate is not None:
            return one
        if deaths >= MOST and alone:
            del self._deaths[held.lease.key]
            failure = _failure(deaths, death)
            return Conclusion(held, Ruling.MOURN, Outcome(held.lease, Crashed(failure)), failure)
        if deaths >= ALONE_AFTER:
            held.lease = held.lease._replace(suspect=True)
        return one


def _failure(deaths: int, death: Death) -> Failure:
    status = death.exit
    return Failure(
        "WorkerLostError",
        f"{deaths} workers that were given this job ended before they started anything, the last "
        f"of them with it alone: it {(death.killed_for and 'was killed') or status}",
        evidence=Evidence(
            pid=status.pid,
            exit_code=status.code,
            signal=status.signal_name,
            oom_suspected=status.oom_suspected,
        ),
    )
