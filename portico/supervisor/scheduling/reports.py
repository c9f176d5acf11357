"""Outcomes on their way to whoever fetches them, each seen in the light of what was decided about
its attempt before it ended."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from portico.ports.job_executor import Completed, Failed, Outcome, Released
from portico.ports.leasing import CANCELLED, Lease, LeaseKey
from portico.supervisor.scheduling.assignment import Fate


class Reports:
    """What has ended and was not fetched yet."""

    def __init__(self) -> None:
        self.waiting: list[Outcome] = []

    def add(self, outcome: Outcome | None, fate: Fate | None = None) -> None:
        """Report how an attempt ended; nothing, where there is nothing to say or nobody asks."""
        if outcome is None or fate is Fate.FORFEITED:
            return
        if fate is Fate.CANCELLED and not isinstance(outcome.verdict, Completed):
            said = getattr(outcome.verdict, "failure", CANCELLED)
            failure = CANCELLED._replace(traceback=said.traceback, evidence=said.evidence)
            outcome = outcome._replace(verdict=Failed(failure, retryable=False))
        self.waiting.append(outcome)

    def release(self, leases: Iterable[Lease], fate: Fate | None = None) -> None:
        """Report jobs that were never started."""
        for lease in leases:
            self.add(Outcome(lease, Released()), fate)

    def take(self) -> list[Outcome]:
        """The outcomes since the last call."""
        outcomes, self.waiting = self.waiting, []
        return outcomes

    def leases(self) -> list[Lease]:
        """Whose outcomes wait."""
        return [outcome.lease for outcome in self.waiting]

    def forget(self, keys: Collection[LeaseKey]) -> None:
        """Drop the outcomes of these leases."""
        self.waiting = [o for o in self.waiting if o.lease.key not in keys]
