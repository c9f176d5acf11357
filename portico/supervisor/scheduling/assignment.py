"""One job that a worker holds, or one `on_failure` that it is to run."""

from __future__ import annotations

from enum import Enum

from msgspec import Struct

from portico.ports.job_executor import Outcome
from portico.ports.leasing import Failure, Lease
from portico.ports.time_limits import TimeLimits


class Fate(Enum):
    """What was decided about an attempt before its end was reported."""

    FORFEITED = "its lease was lost"
    CANCELLED = "its cancellation was requested"
    OVERDUE = "it ran past its deadline"
    OVERSIZED = "its worker grew past the memory ceiling"


class Assignment(Struct, eq=False):
    """What a worker was given under one serial."""

    lease: Lease
    estimate: float | None
    """Seconds that it was to take; `None`: nobody knew."""
    since: float
    """When it was sent; from when on `on_failure` runs, once it does."""
    begun: float | None = None
    """When it was started, as far as that was seen."""
    limits: TimeLimits | None = None
    """How long it may take, once it was seen running."""
    fate: Fate | None = None
    outcome: Outcome | None = None
    """Known already, and held back until `on_failure` has ended."""
    failure: Failure | None = None
    """Set: this is no job but an `on_failure` for an attempt that ended elsewhere."""
    goes_on: bool = False
    """It has failed, and something that it started runs on: `on_failure` has not been begun, and
    its worker is killed first."""
    told_to_stop: float | None = None
    reason: str = ""
    """What its error will say, once it is to be killed for its own doing."""

    @classmethod
    def of_mourning(
        cls, lease: Lease, failure: Failure, outcome: Outcome | None, since: float
    ) -> Assignment:
        """An `on_failure` to run, and the outcome to report after it."""
        assignment = cls(lease, None, since)
        assignment.failure = failure
        assignment.outcome = outcome
        return assignment

    def stop(self, fate: Fate, now: float) -> bool:
        """Decide on its end, unless that is done; whether its worker is to be told.

        An attempt that has failed already is not cancelled any more: its `on_failure` goes on. Nor
        is one whose worker is about to be killed: only what is said of its end changes.
        """
        if self.fate is Fate.FORFEITED or self.fate is fate:
            return False
        doomed = self.fate in (Fate.OVERDUE, Fate.OVERSIZED)
        self.fate = fate
        if fate is Fate.CANCELLED and (doomed or self.outcome or self.failure):
            return False
        self.told_to_stop = self.told_to_stop or now
        return True

    def ended(self, outcome: Outcome, now: float) -> None:
        """Its handler has failed, and `on_failure` begins, with a deadline of its own."""
        self.outcome, self.since = outcome, now
        if self.fate is Fate.CANCELLED:
            self.told_to_stop = None
        elif self.fate is not Fate.FORFEITED:
            self.fate = None  # it was to be killed, and has come before that
