"""What ended and is not yet known to the store."""

from __future__ import annotations

from collections.abc import Sequence

from portico.kits.job.retry import RetryPolicies
from portico.kits.job.settlement import settle
from portico.ports.job_executor import Outcome
from portico.ports.leasing import Settlement

_BATCH = 1024
"""Settlements per exchange: an outage may have gathered more than one transaction should hold."""


class Outbox:
    """Outcomes and what is to become of them, in the order in which they came."""

    def __init__(self, policies: RetryPolicies) -> None:
        self._policies = policies
        self._outcomes: list[Outcome] = []
        self._settlements: list[Settlement] = []

    def __len__(self) -> int:
        return len(self._settlements)

    def add(self, outcomes: list[Outcome]) -> None:
        """Decide what becomes of these attempts; delays count from when the store is told."""
        if not outcomes:
            return
        policies = self._policies
        self._outcomes += outcomes
        self._settlements += [settle(outcome, policies) for outcome in outcomes]

    def batch(self) -> tuple[Sequence[Outcome], Sequence[Settlement]]:
        """What to tell the store next; stays here until it is `told`."""
        return self._outcomes[:_BATCH], self._settlements[:_BATCH]

    def told(self, count: int) -> None:
        """The store has answered to the oldest so many."""
        del self._outcomes[:count], self._settlements[:count]
