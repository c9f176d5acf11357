from __future__ import annotations

import pytest

from portico.kits.job.retry import RetryPolicies, RetryPolicy
from portico.kits.job.settlement import settle
from portico.ports.job_executor import (
    Completed,
    Crashed,
    Failed,
    Interrupted,
    Outcome,
    Quarantined,
    Released,
    Suspected,
    Unroutable,
)
from portico.ports.leasing import Failure, Settlement, Transition
from tests.unit.kits.parts import make_lease

WHY = Failure("ValueError", "no", "Traceback ...")
POLICIES = RetryPolicies()


def settled(verdict, **lease):
    return settle(Outcome(make_lease(**lease), verdict), POLICIES, lambda: 0.0)


def test_a_completed_attempt_brings_its_result():
    lease = make_lease()
    settlement = settle(Outcome(lease, Completed(b'{"n":1}')), POLICIES)
    assert settlement == Settlement(lease.id, lease.token, Transition.COMPLETE, b'{"n":1}')


@pytest.mark.parametrize(
    ("verdict", "transition", "failure", "delay", "patience"),
    [
        (Failed(WHY, retryable=True), Transition.RETRY, WHY, 8.0, None),
        (Failed(WHY, retryable=False), Transition.FAIL, WHY, 0.0, None),
        (Unroutable(WHY), Transition.SNOOZE, WHY, 30.0, 3600.0),
        (Quarantined(WHY), Transition.QUARANTINE, WHY, 0.0, None),
        (Crashed(WHY), Transition.CRASH, WHY, 4.0, None),
        (Suspected(WHY), Transition.SUSPECT, WHY, 0.0, None),
        (Interrupted(WHY), Transition.INTERRUPT, WHY, 0.0, None),
        (Released(), Transition.RELEASE, None, 0.0, None),
    ],
)
def test_every_other_verdict_has_its_transition(verdict, transition, failure, delay, patience):
    settlement = settled(verdict, retry_count=2)
    assert settlement.transition is transition
    assert settlement.failure == failure
    assert (settlement.delay, settlement.patience) == (delay, patience)
    assert settlement.result is None


def test_crashes_are_tried_again_after_five_minutes_at_most():
    assert settled(Crashed(WHY), retry_count=0).delay == 1
    assert settled(Crashed(WHY), retry_count=10_000).delay == 300


def test_the_delay_is_that_of_the_job_type():
    policies = RetryPolicies(by_type={"test.slow": RetryPolicy(base_delay=100)})
    outcome = Outcome(make_lease(job_type="test.slow"), Failed(WHY, retryable=True))
    assert settle(outcome, policies, lambda: 0.0).delay == 100
