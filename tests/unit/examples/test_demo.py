from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from portico.examples.demo.outcome import Ended, problems, timings
from portico.examples.demo.plan import IMPORT, REPORT, ROWS, Plan
from portico.examples.demo.progress import Board
from portico.ports.job import Job, JobStatus
from tests.support.jobs import make_job

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return Plan(tmp_path, chunk_size=400_000, reports=(("overview", ""), ("carrier", "UA")))


def ended(job_type: str, start: float, end: float, **result: Any) -> Ended:
    job = make_job(
        job_type=job_type,
        status=JobStatus.COMPLETED,
        started_at=START + timedelta(seconds=start),
        completed_at=START + timedelta(seconds=end),
    )
    return Ended(job, result)


@pytest.fixture
def good_run() -> list[Ended]:
    imports = [
        ended(IMPORT, n, n + 1, dataset=dataset, records_imported=rows)
        for n, (dataset, rows) in enumerate(ROWS.items())
    ]
    return [*imports, ended(REPORT, 5, 7, rows=10), ended(REPORT, 6, 9, rows=20)]


def test_the_whole_demo_makes_a_report_on_every_airline_airport_and_month(tmp_path: Path) -> None:
    plan = Plan(tmp_path)

    assert len(plan.reports) == 1 + 3 + 16 + 12
    assert plan.expected == {IMPORT: 1 + 1 + 1 + 3 + 34, REPORT: 32}


def test_only_the_flights_enqueue_reports_and_they_start_last(plan: Plan) -> None:
    jobs = plan.jobs()

    assert {job["payload"]["dataset"]: len(job["payload"]["then"]) for job in jobs} == {
        "airlines": 0, "airports": 0, "planes": 0, "weather": 0, "flights": 2,
    }  # fmt: skip
    assert min(jobs, key=lambda job: job["priority"])["payload"]["dataset"] == "flights"


def test_a_good_run_has_no_problems(plan: Plan, good_run: list[Ended]) -> None:
    assert problems(plan, good_run) == []


def test_a_job_that_did_not_complete_is_a_problem_with_its_message(
    plan: Plan, good_run: list[Ended]
) -> None:
    job = replace(good_run[-1].job, status=JobStatus.DEAD_LETTER, error_message="disk full")

    assert problems(plan, [*good_run[:-1], Ended(job, {})]) == [
        f"report.generate {job.id} is dead_letter: disk full"
    ]


def test_jobs_and_rows_that_are_missing_are_problems(plan: Plan, good_run: list[Ended]) -> None:
    assert problems(plan, good_run[1:-1]) == [
        "data.import: 4 jobs instead of 5",
        "report.generate: 1 jobs instead of 2",
        "airlines: 0 rows imported instead of 16",
    ]


def test_timings_are_told_per_job_type(good_run: list[Ended]) -> None:
    imports, reports = timings(good_run)

    assert (imports.job_type, imports.jobs, imports.wall, imports.mean) == (IMPORT, 5, 5, 1)
    assert imports.rows == sum(ROWS.values())
    assert (reports.wall, reports.mean, reports.longest, reports.rows) == (4, 2.5, 3, 30)


def jobs_in(*statuses: JobStatus) -> list[Job]:
    return [make_job(job_type=REPORT, status=status) for status in statuses]


def test_without_a_terminal_progress_is_plain_lines_at_a_modest_rate() -> None:
    text = StringIO()
    with Board(Console(file=text, width=120), {REPORT: 4}) as board:
        for _ in range(50):
            board.show(jobs_in(JobStatus.COMPLETED, JobStatus.RUNNING, JobStatus.PENDING))
        board.show(jobs_in(*[JobStatus.COMPLETED] * 4), last=True)

    first, second = text.getvalue().splitlines()
    assert "report.generate 1/4 (1 running)" in first
    assert "report.generate 4/4 (0 running)" in second


def test_on_a_terminal_progress_is_a_bar_per_job_type() -> None:
    text = StringIO()
    console = Console(file=text, width=120, force_terminal=True)
    with Board(console, {IMPORT: 2, REPORT: 4}) as board:
        board.show(jobs_in(JobStatus.COMPLETED, JobStatus.RUNNING))
        board.show(jobs_in(*[JobStatus.COMPLETED] * 4), last=True)

    assert "data.import" in text.getvalue()
    assert "4/4" in text.getvalue()
