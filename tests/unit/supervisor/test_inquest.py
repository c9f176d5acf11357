from __future__ import annotations

from uuid import uuid4

import pytest

from portico.ports.job_executor import Crashed, Failed, Interrupted, Outcome, Released, Suspected
from portico.ports.leasing import Failure, Lease
from portico.supervisor.assignment import Assignment, Fate
from portico.supervisor.inquest import Death, Ruling, conclude


def held(fate: Fate | None = None) -> Assignment:
    lease = Lease(
        uuid4().bytes, uuid4().bytes, 1, "default", "a.b", b"{}", 0, 3, 0, None, 1, 1, None,
        b"{}", None, False,
    )  # fmt: skip
    assignment = Assignment(lease, None)
    assignment.fate = fate
    return assignment


def death(killed_for: str | None = None) -> Death:
    return Death(
        "was killed by SIGSEGV", killed_for, "ran past its deadline", lambda at: f"at {at}"
    )


def test_the_only_running_job_crashed_its_worker_and_the_rest_runs_elsewhere() -> None:
    waiting, running, behind = held(), held(), held()
    found = conclude({1: waiting, 2: running, 3: behind}, {2: 5.0}, death())
    assert [c.ruling for c in found] == [Ruling.ELSEWHERE, Ruling.MOURN, Ruling.ELSEWHERE]
    outcome = found[1].outcome
    assert outcome is not None
    assert isinstance(outcome.verdict, Crashed)
    assert outcome.verdict.failure.traceback == "at 5.0"


def test_several_running_jobs_are_suspects() -> None:
    found = conclude({1: held(), 2: held()}, {1: 1.0, 2: 2.0}, death())
    assert all(isinstance(c.outcome and c.outcome.verdict, Suspected) for c in found)
    assert {c.ruling for c in found} == {Ruling.REPORT}


def test_an_overdue_job_has_failed_and_its_neighbour_is_interrupted() -> None:
    overdue, neighbour = held(Fate.OVERDUE), held()
    found = conclude({1: overdue, 2: neighbour}, {1: 1.0, 2: 2.0}, death("a deadline"))
    first, second = (c.outcome.verdict for c in found if c.outcome)
    assert isinstance(first, Failed)
    assert first.retryable
    assert first.failure.type == "JobTimeoutError"
    assert isinstance(second, Interrupted)


@pytest.mark.parametrize("fate", [Fate.CANCELLED, Fate.FORFEITED])
def test_a_job_that_was_to_stop_is_reported_as_stopped(fate: Fate) -> None:
    (found,) = conclude({1: held(fate)}, {1: 1.0}, death("it was to stop"))
    assert found.ruling is Ruling.REPORT
    assert isinstance(found.outcome and found.outcome.verdict, Released)


def test_a_death_in_on_failure_leaves_the_failure_as_it_was() -> None:
    mourning = held()
    mourning.outcome = Outcome(mourning.lease, Failed(Failure("ValueError", "no"), retryable=True))
    (found,) = conclude({1: mourning}, {1: 1.0}, death())
    assert found.ruling is Ruling.HOOK_LOST
    assert found.outcome is mourning.outcome
