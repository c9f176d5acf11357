from __future__ import annotations

import pytest

from benchmarks.plotting import reading
from benchmarks.plotting.reading import Curve, Peer


def test_only_the_documents_of_one_benchmark_are_taken():
    contents = [{"benchmark": "scaling"}, {"benchmark": "fairness"}, [1], "text", None]

    assert reading.documents(contents, "fairness") == [{"benchmark": "fairness"}]


def test_ratios_are_summed_up_by_queue_and_files_without_any_left_out():
    found = [
        {"queue": "sqlite://", "ratios": [0.5, 0.7, 0.6]},
        {"queue": "memory://"},
        {"queue": "redis://", "ratios": "many"},
    ]

    [bar] = reading.ratios(found)

    assert (bar.name, bar.ratio.median, bar.ratio.highest) == ("sqlite://", 0.6, 0.7)


def test_waits_of_all_runs_and_files_make_one_curve_each():
    found = [
        {"names": {"a": "A"}, "waits": [{"a": [1, 2], "b": [3.0]}, {"a": [4], "b": []}]},
        {"waits": [{"b": [5, None]}]},
        {},
    ]

    assert reading.waits(found) == [Curve("A", [1.0, 2.0, 4.0]), Curve("b", [3.0, 5.0])]


def test_speed_ups_are_held_against_the_sequential_rate_of_their_own_run():
    run = {
        "milliseconds": 10.0, "sequential": 100.0, "plain": {"1": 100.0, "2": 190.0},
        "portico": {"2": 180.0},
    }  # fmt: skip
    slower = {**run, "sequential": 50.0, "portico": {"2": 96.0}}

    lines = {line.name: line.points for line in reading.speed_ups([{"runs": [run, slower]}])}

    assert lines["Portico, jobs of 10 ms"][2].median == pytest.approx((1.8 + 1.92) / 2)
    assert list(lines["plain processes, jobs of 10 ms"]) == [1, 2]


def test_latencies_are_found_by_the_names_of_the_fields():
    found = [
        {"queue": "sqlite://", "fields": ["started", "sent"], "runs": [[[5.0, 4.0]], [[9.0, 6.0]]]},
        {"queue": "redis://", "runs": [[[5.0, 4.0]]]},
    ]

    assert reading.latencies(found) == [Curve("sqlite://", [1.0, 3.0])]


@pytest.mark.parametrize("wrap", [lambda r: r, lambda r: {"rows": r}, lambda r: {"a": {"b": r}}])
def test_rows_of_systems_are_found_wherever_they_are_the_fastest_first(wrap):
    rows = [
        {"system": "Slow", "store": "Redis", "rate": 10, "more": 1},
        {"system": "Fast", "rate": 20.5},
        {"system": "Broken", "store": "Redis", "rate": None},
        {"store": "Redis", "rate": 3},
    ]

    found = reading.peers([wrap(rows)])

    assert found == [Peer("Fast", "", 20.5), Peer("Slow", "Redis", 10.0)]
