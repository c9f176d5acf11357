"""One job that a worker holds, or one `on_failure` that it is to run."""

from __future__ import annotations

from enum import Enum
from time import monotonic

from portico.ports.job_executor import Outcome
from portico.ports.leasing import Failure, Lease


class Fate(Enum):
    """What was decided about an attempt before its end was reported."""

    FORFEITED = "its lease was lost"
    CANCELLED = "its cancellation was requested"
    OVERDUE = "it ran past its deadline"


class Assignment:
    """What a worker was given under one serial."""

    __slots__ = ("estimate", "failure", "fate", "lease", "outcome", "since", "told_to_stop")

    def __init__(self, lease: Lease, estimate: float | None) -> None:
        self.lease = lease
        self.estimate = estimate
        self.fate: Fate | None = None
        self.outcome: Outcome | None = None
        """Known already, and held back until `on_failure` has ended."""
        self.failure: Failure | None = None
        """Set: this is no job but an `on_failure` for an attempt that ended elsewhere."""
        self.since = monotonic()
        """When it was sent; from when on `on_failure` runs, once it does."""
        self.told_to_stop: float | None = None

    @classmethod
    def of_mourning(cls, lease: Lease, failure: Failure, outcome: Outcome | None) -> Assignment:
        """An `on_failure` to run, and the outcome to report after it."""
        assignment = cls(lease, None)
        assignment.failure = failure
        assignment.outcome = outcome
        return assignment
