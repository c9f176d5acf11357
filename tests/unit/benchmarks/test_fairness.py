from __future__ import annotations

import pytest

from benchmarks.fairness.mix import Mix, plan
from benchmarks.fairness.models import Arrival, central, prefetching
from benchmarks.fairness.run import Served, waits_of


def arrivals(*pairs):
    return [Arrival(*pair) for pair in pairs]


def test_a_central_queue_lets_the_first_free_worker_take_the_oldest_job():
    # Worker 1 runs A from 0 to 10; worker 2 runs B from 1 to 3, C from 3 to 5, D from 6 to 7.
    jobs = arrivals((0, 10), (1, 2), (2, 2), (6, 1))

    assert central(jobs, 2) == [0, 0, 1, 0]


def test_a_central_queue_of_one_worker_is_a_line():
    assert central(arrivals((0, 4), (1, 2), (2, 3), (20, 1)), 1) == [0, 3, 4, 0]


def test_a_fixed_prefetch_keeps_jobs_behind_a_long_one_though_a_worker_is_free():
    # In turn: A to 1 (0 to 10), B to 2 (1 to 2), C to 1 behind A, D to 2 at once.
    jobs = arrivals((0, 10), (1, 1), (2, 1), (3, 1))

    assert prefetching(jobs, 2, 8) == [0, 0, 8, 0]


def test_a_full_worker_is_passed_over_and_full_workers_are_waited_for():
    # Each holds 2. 1: A (0 to 10), C (10 to 11). 2: B (0 to 4), D (4 to 5). Full until 4, when B
    # leaves room for E (5 to 6); F finds room there at 5 (6 to 7), for 1 is full until 10.
    jobs = arrivals((0, 10), (0, 4), (1, 1), (1, 1), (2, 1), (3, 1))

    assert prefetching(jobs, 2, 2) == [0, 0, 9, 3, 3, 3]


def test_a_prefetch_of_one_is_a_central_queue():
    mix = Mix(jobs=500, workers=3)
    jobs = [Arrival(one.at, mix.long if one.long else mix.short) for one in plan(mix, 5)]

    assert prefetching(jobs, 3, 1) == pytest.approx(central(jobs, 3))


def test_a_plan_has_the_share_and_the_load_that_were_asked_for():
    mix = Mix(jobs=4000, workers=2, utilisation=0.5)
    planned = plan(mix, 3)

    work = sum(mix.long if one.long else mix.short for one in planned)
    assert sum(one.long for one in planned) == 400
    assert planned == sorted(planned)
    assert work / (2 * planned[-1].at) == pytest.approx(0.5, rel=0.1)


def test_a_plan_is_its_seed():
    mix = Mix(jobs=50, workers=2)

    assert plan(mix, 1) == plan(mix, 1)
    assert plan(mix, 1) != plan(mix, 2)


def test_a_run_is_held_against_the_models_by_its_own_arrivals_and_run_times():
    # The long job kept one worker from 0 to 10; the second short one waited behind it for nothing.
    run = [
        Served(2.0, 10.0, 11.0, long=False),
        Served(0.0, 0.0, 10.0, long=True),
        Served(1.0, 1.5, 2.0, long=False),
    ]

    waits = waits_of(run, workers=2, prefetch=8)

    assert waits.portico == [0.5, 8.0]
    assert waits.central == [0.0, 0.0]
    assert waits.prefetching == [0.0, 8.0]
