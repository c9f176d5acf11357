"""Whole supervisors, through thousands of histories; and supervisors with a defect, found out."""

from __future__ import annotations

import os

import pytest

from tests.simulation.many import coverage, missing, run_many, run_some
from tests.simulation.mutants import MUTANTS
from tests.simulation.scenario import simulate, stage

SEEDS = 20_000 if os.environ.get("CI") else 2_000
_A_FEW = 60
_ENOUGH_FOR_A_MUTANT = 1500


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_no_history_loses_a_job_or_runs_one_without_need():
    total = run_many(0, SEEDS, os.cpu_count() or 1)
    assert not total.wrong, "\n".join(f"SEED={seed}: {wrong}" for seed, wrong in total.wrong)
    assert not missing(total), coverage(total)


def test_a_few_histories_hold_every_promise():
    total = run_some(1_000_000, _A_FEW)
    assert not total.wrong, "\n".join(f"SEED={seed}: {wrong}" for seed, wrong in total.wrong)


def test_a_seed_replays_to_the_same_history():
    with stage():
        for seed in (11, 12, 13):
            first, second = simulate(seed, verbose=True), simulate(seed, verbose=True)
            assert first.history == second.history
            assert len(first.history) > 50


def test_what_is_watched_is_what_happens_unwatched():
    with stage():
        for seed in (21, 22):
            watched, unwatched = simulate(seed, verbose=True), simulate(seed)
            assert (watched.seconds, watched.fired) == (unwatched.seconds, unwatched.fired)


@pytest.mark.slow
@pytest.mark.parametrize("name", MUTANTS)
def test_a_supervisor_with_a_defect_is_found_out(name):
    with stage(), MUTANTS[name]():
        assert any(simulate(seed).wrong for seed in range(_ENOUGH_FOR_A_MUTANT)), name
