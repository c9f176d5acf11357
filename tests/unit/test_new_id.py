"""Ids of new jobs."""

from __future__ import annotations

from uuid import RFC_4122

from portico.kits.job import new_job
from portico.kits.job.new_job import new_id


def test_new_ids_are_of_version_7_and_all_different() -> None:
    ids = [new_id() for _ in range(1000)]
    assert {(one.version, one.variant) for one in ids} == {(7, RFC_4122)}
    assert len(set(ids)) == 1000


def test_new_ids_begin_with_the_time_and_sort_by_it(monkeypatch) -> None:
    instants = iter([1_700_000_000_000_000_000, 1_700_000_000_001_000_000])
    monkeypatch.setattr(new_job.time, "time_ns", lambda: next(instants))
    first, second = new_id(), new_id()
    monkeypatch.undo()
    assert first < second < new_id()
    assert first.int >> 80 == 1_700_000_000_000
