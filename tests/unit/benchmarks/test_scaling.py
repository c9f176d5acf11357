from __future__ import annotations

import pytest

from benchmarks.commands.scaling import Run
from benchmarks.timed import spin


def test_a_speed_up_is_held_against_one_process_and_against_as_many():
    run = Run(10.0, 100.0, {1: 100.0, 2: 160.0}, {1: 98.0, 2: 152.0}, busy={})

    assert run.of_ideal(2) == pytest.approx(0.76)
    assert run.of_plain(2) == pytest.approx(0.95)
    assert run.of_ideal(1) == run.of_plain(1) == pytest.approx(0.98)


def test_the_work_of_a_job_depends_on_nothing_but_its_steps():
    assert spin(3) == (((0 * 31 + 0) * 31 + 1) * 31 + 2) % 1_000_003
