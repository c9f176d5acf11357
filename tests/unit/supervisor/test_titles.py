"""The title of a worker: never of a type that it does not run, and seldom changed."""

from __future__ import annotations

import pytest
import setproctitle

from portico.supervisor import titles as titles_module
from portico.supervisor.titles import WorkerTitle


@pytest.fixture
def titles(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    seen: list[str] = []
    monkeypatch.setattr(titles_module, "_setter", lambda: seen.append)
    return seen


def test_it_names_what_runs_until_nothing_does(titles: list[str]) -> None:
    title = WorkerTitle(3)
    title.running("report.generate")
    assert title.shown == "report.generate"
    title.idle()
    title.idle()
    assert titles == ["portico worker 3", "portico worker 3: report.generate", "portico worker 3"]


def test_types_that_take_turns_too_fast_are_not_named_until_the_next_turn(
    titles: list[str],
) -> None:
    title = WorkerTitle(3)
    for n in range(1000):
        title.running(f"type.{n % 2}")
    assert len(titles) < 12
    assert titles[-1] == "portico worker 3"
    assert title.shown is None
    title.turn()
    title.running("type.7")
    assert titles[-1] == "portico worker 3: type.7"


def test_where_several_jobs_run_at_a_time_none_is_named(titles: list[str]) -> None:
    title = WorkerTitle(3, concurrency=2)
    title.running("report.generate")
    title.turn()
    title.running("report.generate")
    title.idle()
    assert titles == ["portico worker 3"]


@pytest.mark.parametrize(
    ("job_type", "shown"),
    [
        ("a\0b", r"a\x00b"),
        ("a\nb\x1b[2J", r"a\nb\x1b[2J"),
        ("\udcff", r"\udcff"),
        ("", ""),
        ("é", "é"),
    ],
)
def test_no_type_is_too_odd_for_a_title(job_type: str, shown: str) -> None:
    before = setproctitle.getproctitle()
    try:
        WorkerTitle(3).running(job_type)  # the library itself takes no NUL, and no half of a pair
        assert setproctitle.getproctitle() == f"portico worker 3: {shown}"[: len(before)]
    finally:
        setproctitle.setproctitle(before)
