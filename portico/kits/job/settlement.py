"""What becomes of an attempt: its outcome turned into the settlement that the store is asked for.

Pure. Whether RETRY means RETRYING or DEAD_LETTER is not decided here: the store knows the counts.
"""

from __future__ import annotations

import random as _random
from typing import assert_never

from portico.kits.job.retry import Random, RetryPolicies, RetryPolicy
from portico.ports.job_executor import (
    Completed,
    Crashed,
    Deferred,
    Failed,
    Interrupted,
    Outcome,
    Quarantined,
    Released,
    Suspected,
    Unroutable,
    Verdict,
)
from portico.ports.leasing import Failure, Settlement, Transition

SNOOZE_DELAY = 30.0
"""Seconds until a job that nobody here can run is tried again."""
SNOOZE_PATIENCE = 3600.0
"""Seconds of that after which it is dead-lettered."""
CRASH_POLICY = RetryPolicy(base_delay=1.0, max_delay=300.0, jitter=0.0)

_complete = Transition.COMPLETE


def settle(
    outcome: Outcome,
    policies: RetryPolicies,
    random: Random = _random.random,
    *,
    keeps_place: bool = False,
) -> Settlement:
    """The settlement of one attempt.

    Args:
        outcome: how it ended.
        policies: when to retry.
        random: drawn from for retries only.
        keeps_place: whether a job that has to wait for its turn need not be put off for it.
    """
    lease, verdict, _ = outcome
    if type(verdict) is Completed:  # nearly all of them, and cheaper than a match
        values = (lease.id, lease.token, _complete, verdict.result, None, 0.0, None)
        return tuple.__new__(Settlement, values)  # past the named tuple's own, slower __new__
    transition, failure = _transition(verdict)
    delay, patience = 0.0, None
    if transition is Transition.RETRY:
        delay = policies.of(lease.job_type).delay(lease.retry_count, random)
    elif transition is Transition.CRASH:
        delay = CRASH_POLICY.delay(lease.retry_count)
    elif type(verdict) is Deferred and keeps_place:
        transition = Transition.RELEASE
    elif type(verdict) is Deferred:
        delay = verdict.delay
    elif transition is Transition.SNOOZE:
        delay, patience = SNOOZE_DELAY, SNOOZE_PATIENCE
    return Settlement(lease.id, lease.token, transition, None, failure, delay, patience)


def _transition(verdict: Verdict) -> tuple[Transition, Failure | None]:  # noqa: PLR0911 - a table
    match verdict:
        case Completed():
            return Transition.COMPLETE, None
        case Failed(failure, retryable):
            return (Transition.RETRY if retryable else Transition.FAIL), failure
        case Crashed(failure):
            return Transition.CRASH, failure
        case Suspected(failure):
            return Transition.SUSPECT, failure
        case Interrupted(failure):
            return Transition.INTERRUPT, failure
        case Quarantined(failure):
            return Transition.QUARANTINE, failure
        case Deferred():
            return Transition.SNOOZE, None
        case Unroutable(failure):
            return Transition.SNOOZE, failure
        case Released():
            return Transition.RELEASE, None
        case _:
            assert_never(verdict)
