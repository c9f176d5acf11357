from __future__ import annotations

import json

import pytest

from benchmarks import noop
from benchmarks.samples import Summary, Timeline, percentile
from portico.ports.draft import Draft


def timeline_of(*marks, total):
    timeline = Timeline(total)
    for now, count in marks:
        timeline.add(now, count)
    return timeline


def test_rate_leaves_the_first_tenth_out():
    timeline = timeline_of((50.0, 10), (51.0, 40), (52.0, 50), total=100)

    assert timeline.rate() == pytest.approx(90 / 2)


def test_timeline_is_complete_when_all_jobs_are_done():
    timeline = timeline_of((0.0, 99), total=100)
    assert not timeline.complete

    timeline.add(1.0, 1)

    assert timeline.complete


def test_rate_of_one_single_step_is_refused():
    with pytest.raises(ValueError, match="too few"):
        timeline_of((1.0, 100), total=100).rate()


def test_summary_has_the_median_and_the_spread():
    summary = Summary.of([90.0, 100.0, 140.0])

    assert (summary.median, summary.lowest, summary.highest) == (100.0, 90.0, 140.0)
    assert summary.spread == pytest.approx(0.5)


def test_a_percentile_is_the_smallest_value_that_so_many_do_not_exceed():
    values = [40.0, 10.0, 30.0, 20.0]

    assert [percentile(values, p) for p in (0, 25, 50, 51, 99)] == [10.0, 10.0, 20.0, 30.0, 40.0]
    assert percentile([float(n) for n in range(1, 201)], 99) == 198.0


def test_payload_of_the_no_op_job_has_120_bytes():
    drafts = noop.drafts(3)

    assert all(isinstance(draft, Draft) for draft in drafts)
    assert {len(draft.payload) for draft in drafts} == {120}
    assert json.loads(drafts[0].payload) == noop.PAYLOAD
    assert len({draft.id for draft in drafts}) == 3
