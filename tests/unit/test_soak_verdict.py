"""The soak's verdict on ledgers made by hand: each kind of violation in one of them, and caught."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from benchmarks.soak import ledger, nemesis
from benchmarks.soak.causes import Cause
from benchmarks.soak.nemesis import Action, Fault
from benchmarks.soak.verdict import Observed, Verdict, judge
from tests.support.soak_ledgers import (
    COMPLETED,
    DEAD,
    JOB,
    LIMITS,
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


def test_job_that_ran_once_is_fine():
    found = verdict(created() + ran(1.0), record())
    assert kinds(found) == set()
    assert (found.executed, found.returned, sum(found.duplicates.values())) == (1, 1, 0)


# Lost and unexpected


def test_returned_enqueue_without_a_job_is_lost():
    assert kinds(verdict(created(), None)) == {"lost"}


@pytest.mark.parametrize("status", ["pending", "running", "retrying"])
def test_job_that_has_not_ended_is_lost(status):
    assert kinds(verdict(created(), record(status))) == {"lost"}


def test_failed_job_is_lost_for_nothing_here_fails_one():
    ended = [change("fail", "failed", 2.0)]
    assert kinds(verdict(created() + ran(1.0), record("failed"), changes=ended)) == {"lost"}


def test_dead_letter_within_its_limits_is_lost():
    found = verdict(
        [*created(), mark("BEGIN", 1.0)],
        record("dead_letter", crash_count=1),
        killed_worker(2.0),
        changes=[DEAD],
    )
    assert kinds(found) == {"lost"}


def test_dead_letter_after_the_third_crash_is_right():
    marks = created() + [mark("BEGIN", 1.0 + n, pid=n, retry=n) for n in range(3)]
    kills = [killed_worker(1.5 + n, pid=n) for n in range(3)]
    found = verdict(marks, record("dead_letter", 2, crash_count=3), *kills)
    assert kinds(found) == set()
    assert found.duplicates[Cause.WORKER_KILLED] == 2
    assert found.dead == 1


def test_dead_letter_whose_last_attempt_nobody_ended_is_unexplained():
    marks = created() + [mark("BEGIN", 1.0 + n, pid=n, retry=n) for n in range(3)]
    kills = [killed_worker(1.5 + n, pid=n) for n in range(2)]
    found = verdict(marks, record("dead_letter", 2, crash_count=3), *kills)
    assert kinds(found) == {"unexplained"}


def test_enqueue_that_never_returned_may_have_come_through():
    found = verdict([created()[0], *ran(1.0)], record())
    assert kinds(found) == set()
    assert found.recovered == 1


def test_enqueue_that_never_returned_may_have_failed():
    assert kinds(verdict(created()[:1], None)) == set()


def test_job_that_nobody_created_is_unexpected():
    assert kinds(verdict(ran(1.0), record())) == {"unexpected"}


def test_execution_of_a_job_that_does_not_exist_is_unexpected():
    assert kinds(verdict(ran(1.0), None)) == {"unexpected"}


# Executions and counters


def test_completed_without_an_end_is_caught():
    assert kinds(verdict([*created(), mark("BEGIN", 1.0)], record())) == {"completed without work"}


def test_completion_by_an_attempt_that_had_lost_its_lease_is_caught():
    """The first one's end is accepted, and the second one has not ended yet."""
    marks = [*created(), mark("BEGIN", 1.0), mark("END", 8.9), mark("BEGIN", 6.0, 2, 1, OTHER)]
    counts = record(retries=1, expiry_count=1)
    assert kinds(verdict(marks, counts, paused_supervisor(2.0))) == {"completed without work"}
    late = [*marks, mark("END", 9.5, 2, 1, OTHER)]
    assert kinds(verdict(late, counts, paused_supervisor(2.0))) == {"completed without work"}
    good = [*marks, mark("END", 8.8, 2, 1, OTHER)]
    assert kinds(verdict(good, counts, paused_supervisor(2.0))) == set()


def test_second_execution_that_nothing_counts_is_caught():
    found = verdict(created() + ran(1.0) + ran(2.0, pid=2), record(), killed_worker(1.4))
    assert kinds(found) == {"executed too often", "unexplained"}


def test_crashes_are_retries_and_explain_one_execution_only():
    marks = created() + ran(1.0) + ran(2.0, pid=2, retry=1) + ran(3.0, pid=3, retry=1)
    found = verdict(
        marks, record(retries=1, crash_count=1), killed_worker(1.5), killed_worker(2.5, pid=2)
    )
    assert "executed too often" in kinds(found)


def test_job_that_must_not_start_twice_and_did_is_caught():
    marks = created() + ran(1.0) + ran(2.0, pid=2)
    found = verdict(marks, record(max_retries=0, release_count=1))
    assert "executed too often" in kinds(found)


def test_attempts_that_do_not_add_up_are_caught():
    assert kinds(verdict(created() + ran(1.0), record(attempt=3))) == {"miscounted"}


def test_more_retries_than_allowed_are_caught():
    assert "miscounted" in kinds(verdict(created() + ran(1.0), record(retries=2, max_retries=1)))


def test_crash_that_uses_up_no_retry_is_caught():
    assert "miscounted" in kinds(verdict(created() + ran(1.0), record(crash_count=1)))


@pytest.mark.parametrize("counts", [{"crash_count": 4}, {"expiry_count": 11}])
def test_counts_over_a_limit_are_caught(counts):
    assert "miscounted" in kinds(verdict(created() + ran(1.0), record(retries=12, **counts)))


# One end


def test_terminal_status_written_twice_is_caught():
    found = verdict(created() + ran(1.0), record(), changes=[COMPLETED, COMPLETED])
    assert kinds(found) == {"ended twice"}


def test_terminal_status_that_is_left_is_caught():
    back = change("", "pending", 9.5, old="completed")
    found = verdict(created() + ran(1.0), record(), changes=[COMPLETED, back, COMPLETED])
    assert kinds(found) == {"ended twice"}


def test_status_that_no_change_has_written_is_caught():
    dead = change("expire", "dead_letter", 2.0)
    found = verdict(created() + ran(1.0), record(), killed_supervisor(1.0), changes=[dead])
    assert kinds(found) == {"ended twice"}


# Around the jobs


def test_what_is_left_over_is_a_violation():
    assert kinds(verdict(created() + ran(1.0), record(), residue=["zombie 5"])) == {"residue"}


def test_log_line_that_no_fault_excuses_is_a_violation():
    found = verdict(created() + ran(1.0), record(), events={"frame_invalid": 1})
    assert kinds(found) == {"log"}


def exercised(**other: Any) -> Verdict:
    """A run that saw everything, as far as one job can tell."""
    actions = [Action(fault, 1.0, 1.0, SUPERVISOR, SUPERVISOR) for fault in Fault] * 2
    hows = [change(how, "retrying", 2.0) for how in ("crash", "expire", "retry")]
    values = {
        "actions": actions, "seconds": 120.0, "events": {"lease_lost": 1}, **other,
    }  # fmt: skip
    observed = Observed(
        marks=created() + ran(1.0),
        records={JOB: record()},
        changes=[*hows, COMPLETED],
        limits=LIMITS,
        **{name: value for name, value in values.items() if name != "changes"},
    )
    return judge(replace(observed, changes=values.get("changes", observed.changes)))


def test_soak_that_has_exercised_everything_says_nothing_of_it():
    assert exercised().count("not exercised") == 0


@pytest.mark.parametrize("missing", list(Fault))
def test_soak_without_a_kind_of_fault_has_not_shown_what_it_claims(missing):
    actions = [Action(fault, 1.0, 1.0, SUPERVISOR, SUPERVISOR) for fault in Fault] * 2
    actions.remove(next(action for action in actions if action.fault is missing))
    assert exercised(actions=actions).count("not exercised") == 1


def test_long_soak_without_a_lost_lease_has_not_shown_what_it_claims():
    assert exercised(events={}).count("not exercised") == 1
    assert exercised(events={"settlement_refused": 1}).count("not exercised") == 0
    assert exercised(events={}, seconds=40.0).count("not exercised") == 0


def test_soak_without_a_crash_or_an_expiry_has_not_shown_what_it_claims():
    assert exercised(changes=[COMPLETED]).count("not exercised") == 3


# The ledger and the plan


def test_ledger_reads_what_was_written(tmp_path):
    pen = ledger.Pen(tmp_path / "ledger")
    pen.write(ledger.BEGIN, JOB, supervisor=3, retry_count=2, detail="a job\nof mine")
    pen.write(ledger.END, JOB)
    first, second = ledger.read(tmp_path / "ledger")
    assert (first.event, first.job_id, first.supervisor, first.retry_count) == ("BEGIN", JOB, 3, 2)
    assert first.detail == "a_job_of_mine"
    assert second.event == "END"
    assert first.at <= second.at


def test_plan_is_the_same_for_a_seed_and_has_every_fault_twice():
    plan = nemesis.schedule(5, 40.0, 3.0)
    assert plan == nemesis.schedule(5, 40.0, 3.0) != nemesis.schedule(6, 40.0, 3.0)
    for fault in Fault:
        assert sum(planned.fault is fault for planned in plan) >= 2
    assert all(0 <= planned.at < 40.0 for planned in plan)


@pytest.mark.parametrize("seed", range(50))
def test_shortest_soak_has_every_fault_twice_whatever_the_seed(seed):
    found = [planned.fault for planned in nemesis.schedule(seed, 20.0, 3.0)]
    assert all(found.count(fault) >= 2 for fault in Fault)
