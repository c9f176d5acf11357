from __future__ import annotations

import pytest

from portico.supervisor.scheduling import dispatch
from portico.supervisor.scheduling.dispatch import QUANTUM, Load, RunTimes, demand, level


def ready(slots: int = 1) -> Load:
    return Load(slots, open=True)


def accepts(load: Load, estimate: float | None, size: int, level: float) -> bool:
    return load.room(estimate, level) > 0 and load.fits(size)


def learned(seconds: float, size: int = 100) -> RunTimes:
    times = RunTimes()
    times.learn("a", [seconds])
    times.weigh([size])
    return times


def test_a_job_of_unknown_length_goes_alone() -> None:
    load = ready()
    assert accepts(load, None, 10, QUANTUM)
    load.add(None, 10)
    assert not accepts(load, None, 10, QUANTUM)
    assert not accepts(load, 0.0001, 10, QUANTUM)


def test_short_jobs_fill_a_worker_up_to_the_level_and_no_further() -> None:
    load = ready()
    assert load.room(0.001, QUANTUM) == 10
    for _ in range(11):
        load.add(0.001, 10)
    assert load.room(0.001, QUANTUM) == 0


def test_one_job_of_about_a_quantum_waits_behind_another_and_no_more() -> None:
    load = ready()
    load.add(1.2 * QUANTUM, 10)
    assert load.room(1.2 * QUANTUM, QUANTUM) == 1
    load.add(1.2 * QUANTUM, 10)
    assert load.room(1.2 * QUANTUM, QUANTUM) == 0


def test_nothing_waits_behind_or_as_a_job_of_several_quanta() -> None:
    load, other = ready(), ready()
    load.add(5 * QUANTUM, 10)
    assert load.room(0.5 * QUANTUM, QUANTUM) == 0
    other.add(0.5 * QUANTUM, 10)
    assert other.room(5 * QUANTUM, QUANTUM) == 0


def test_a_long_job_takes_a_worker_for_itself() -> None:
    load = ready()
    load.add(0.5, 10)
    assert not accepts(load, 0.001, 10, QUANTUM)


def test_a_worker_with_several_slots_takes_as_many_jobs_of_any_length() -> None:
    load = ready(slots=4)
    for _ in range(4):
        assert accepts(load, None, 10, QUANTUM)
        load.add(None, 10)
    assert not accepts(load, None, 10, QUANTUM)


def test_nothing_goes_to_a_worker_that_is_closed_or_runs_a_suspect() -> None:
    assert not accepts(Load(1), 0.001, 1, QUANTUM)
    alone = ready()
    alone.alone = True
    assert not accepts(alone, 0.001, 1, QUANTUM)


def test_a_worker_whose_job_turned_out_long_gets_nothing_behind_it() -> None:
    load = ready()
    load.add(0.0001, 10)
    load.late = True
    assert not accepts(load, 0.0001, 10, QUANTUM)


def test_large_payloads_are_not_piled_up_in_front_of_a_busy_worker() -> None:
    load = ready()
    load.add(0.0001, dispatch.MOST_BYTES)
    assert not accepts(load, 0.0001, 1, QUANTUM)


def test_what_is_added_and_removed_leaves_an_empty_load() -> None:
    load = ready()
    for estimate in (0.1, None, 0.2):
        load.add(estimate, 5)
    load.remove([0.2, None], 10)
    load.remove([0.1], 5)
    assert not load.fresh
    load.fresh = True
    assert load == ready()


def test_before_anything_is_known_one_job_per_slot_is_asked_for() -> None:
    assert demand([ready(), ready(2)], RunTimes(), 0) == 3


def test_tiny_jobs_are_asked_for_in_hundreds_and_a_round_ahead() -> None:
    assert demand([ready(), ready()], learned(1e-6), 0) == 4 * dispatch.MOST_JOBS


def test_what_waits_here_already_is_not_asked_for_again() -> None:
    assert demand([ready()], learned(0.002), 0) - demand([ready()], learned(0.002), 3) == 3


def test_one_round_ahead_is_fetched_for_jobs_that_end_soon() -> None:
    busy = ready()
    busy.add(0.2, 10)
    assert demand([busy], learned(0.2), 0) == 1


def test_nothing_is_fetched_ahead_of_jobs_that_take_long() -> None:
    busy = ready()
    busy.add(30.0, 10)
    assert demand([busy], learned(30.0), 0) == 0


def test_nothing_is_fetched_for_a_worker_that_is_stuck() -> None:
    busy = ready()
    busy.add(0.2, 10)
    busy.late = busy.stuck = True
    assert demand([busy], learned(0.2), 0) == 0


def test_large_payloads_are_leased_within_a_budget_of_bytes() -> None:
    megabyte = 1024 * 1024
    assert demand([ready()], learned(1e-6, megabyte), 0) == 32


def test_work_is_spread_evenly_over_the_workers() -> None:
    assert level([ready(), ready()], 0.008) == 0.004


def test_nobody_is_filled_beyond_a_quantum() -> None:
    assert level([ready(), ready()], 5.0) == QUANTUM


def test_run_times_that_come_together_count_as_much_as_one_after_the_other() -> None:
    together, apart = learned(0.001), learned(0.001)
    together.learn("a", [0.1, 0.1, 0.1])
    for _ in range(3):
        apart.learn("a", [0.1])
    estimates = (together.estimate("a"), apart.estimate("a"))
    assert estimates[0] == pytest.approx(estimates[1])
    assert together.mean == pytest.approx(apart.mean)


def test_what_cannot_be_a_run_time_teaches_nothing() -> None:
    times = learned(0.001)
    times.learn("a", [float("nan"), float("inf"), -1.0])
    assert times.estimate("a") == 0.001


def test_run_times_follow_a_type_that_changes() -> None:
    times = RunTimes()
    for _ in range(50):
        times.learn("a", [0.001])
    for _ in range(50):
        times.learn("a", [0.5])
    estimate = times.estimate("a")
    assert estimate is not None
    assert estimate > 0.45
    assert times.estimate("b") is None
