"""What made a second execution necessary: found where there is a cause, and only there."""

from __future__ import annotations

import pytest

from benchmarks.soak.causes import Cause
from benchmarks.soak.nemesis import Action, Fault
from tests.support.soak_ledgers import (
    COMPLETED,
    OTHER,
    SUPERVISOR,
    change,
    created,
    killed_supervisor,
    killed_worker,
    kinds,
    mark,
    paused_supervisor,
    ran,
    record,
    verdict,
)


@pytest.mark.parametrize(
    ("ends", "counts", "actions", "cause"),
    [
        ([mark("RAISED", 1.2)], {}, [], Cause.RAISED),
        ([mark("BLOCKING", 1.1)], {}, [], Cause.OVERDUE),
        ([mark("CANCELLED", 4.1)], {}, [], Cause.OVERDUE),
        ([mark("KILLING", 1.1)], {"crash_count": 1}, [], Cause.SUICIDE),
        ([], {"crash_count": 1}, [killed_worker(1.3)], Cause.WORKER_KILLED),
        ([], {"expiry_count": 1}, [killed_supervisor(1.3)], Cause.SUPERVISOR_KILLED),
        ([], {"expiry_count": 1}, [paused_supervisor(1.3)], Cause.SUPERVISOR_PAUSED),
    ],
)
def test_second_execution_is_put_down_to_its_cause(ends, counts, actions, cause):
    marks = [*created(), mark("BEGIN", 1.0), *ends, *ran(6.0, pid=2, retry=1)]
    found = verdict(marks, record(retries=1, **counts), *actions)
    assert kinds(found) == set()
    assert [one for one, number in found.duplicates.items() if number] == [cause]


@pytest.mark.parametrize(
    ("ends", "counts", "actions"),
    [
        ([], {}, []),
        ([], {"crash_count": 1}, []),
        ([], {"crash_count": 1}, [killed_worker(1.3, pid=5)]),
        ([], {"crash_count": 1}, [killed_worker(6.5)]),
        ([], {"crash_count": 1}, [killed_supervisor(1.3)]),
        ([], {"expiry_count": 1}, [killed_supervisor(1.3, pid=OTHER)]),
        ([], {"expiry_count": 1}, [paused_supervisor(-9.0)]),
        ([], {"expiry_count": 1}, [Action(Fault.LOCK, 1.0, 6.0)]),
        ([], {"expiry_count": 1}, [Action(Fault.PAUSE_WORKER, 1.0, 1.5, 1, SUPERVISOR)]),
        ([mark("CANCELLED", 1.5)], {}, []),
        ([mark("RAISED", 1.2)], {"crash_count": 1}, []),
        ([mark("RAISED", 1.2, pid=5)], {}, []),
    ],
)
def test_second_execution_without_a_cause_that_fits_is_unexplained(ends, counts, actions):
    marks = [*created(), mark("BEGIN", 1.0), *ends, *ran(6.0, pid=2, retry=1)]
    found = verdict(marks, record(retries=1, **counts), *actions)
    assert kinds(found) == {"unexplained"}
    assert found.count("unexplained") == 1


def test_one_event_explains_one_execution():
    """Both were hit by something that makes a lease run out, and it was counted once."""
    marks = [*created(), mark("BEGIN", 1.0), mark("BEGIN", 2.0, 2, 1), *ran(3.0, 3, 2)]
    found = verdict(marks, record(retries=2, expiry_count=1), paused_supervisor(0.5, seconds=0.4))
    assert found.count("unexplained") == 1


def test_causes_are_dealt_out_so_that_all_are_explained():
    """The first may be a crash or a retry, the second only a crash: so the first is the retry."""
    marks = [*created(), mark("BEGIN", 1.0), mark("RAISED", 1.1), mark("BEGIN", 2.0, 2, 1)]
    found = verdict(
        marks + ran(3.0, 3, 2),
        record(retries=2, crash_count=1),
        killed_worker(1.2),
        killed_worker(2.2, pid=2),
    )
    assert kinds(found) == set()
    assert found.duplicates[Cause.RAISED] == found.duplicates[Cause.WORKER_KILLED] == 1


def test_last_fault_is_taken_for_the_cause():
    marks = [*created(), mark("BEGIN", 1.0), *ran(8.0, pid=2, retry=1)]
    found = verdict(
        marks,
        record(retries=1, expiry_count=1),
        paused_supervisor(0.5, 1.0),
        killed_supervisor(4.0),
    )
    assert kinds(found) == set()
    assert found.delays[Cause.SUPERVISOR_KILLED] == [4.0]
    assert found.delays[Cause.SUPERVISOR_PAUSED] == []


def test_attempt_that_a_stopped_supervisor_s_worker_begins_late_is_the_earlier_one():
    """It waited behind another job; meanwhile its lease ran out, and a later attempt has ended."""
    marks = created() + ran(5.0, pid=2, retry=1, owner=OTHER) + ran(5.5, pid=1, retry=0)
    found = verdict(marks, record(retries=1, expiry_count=1), paused_supervisor(1.0))
    assert kinds(found) == set()
    assert found.duplicates[Cause.SUPERVISOR_PAUSED] == 1


# Events that nobody has caused


def test_more_crashes_than_deaths_are_caught():
    waiting = [change("crash", "retrying", 2.0), change("crash", "retrying", 3.0), COMPLETED]
    found = verdict(
        created() + ran(4.0, retry=2),
        record(retries=2, crash_count=2),
        killed_worker(1.5),
        changes=waiting,
    )
    assert kinds(found) == {"uncaused"}


@pytest.mark.parametrize(
    ("action", "lapsed"),
    [
        (killed_supervisor(1.0), True),
        (paused_supervisor(1.0), True),
        (killed_supervisor(3.0), False),
        (killed_supervisor(1.0, pid=OTHER), False),
        (paused_supervisor(-9.0), False),
        (Action(Fault.LOCK, 1.0, 6.0), False),
        (killed_worker(1.0), False),
    ],
)
def test_lease_that_runs_out_under_a_supervisor_that_lives_is_caught(action, lapsed):
    """Also when the job had never begun, and no execution has to be explained."""
    expiry = change("expire", "retrying", 2.0)
    found = verdict(
        created() + ran(4.0, retry=1),
        record(retries=1, expiry_count=1),
        action,
        changes=[expiry, COMPLETED],
    )
    assert kinds(found) == (set() if lapsed else {"uncaused"})
