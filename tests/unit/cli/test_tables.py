"""Tables: what fits on a terminal, and what is written into a pipe."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portico.cli.listing import write_page
from portico.cli.moments import Moment, since, span, took
from portico.cli.record import write_record
from portico.cli.tables import Column, fitted, table
from portico.ports.job import Job, JobStatus
from portico.ports.leasing import AttemptRecord, Evidence, Glance, JobFilter, JobPage, JobRecord
from tests.support.terminals import on_terminal

NOW = datetime.now(UTC)
COLUMNS = (
    Column("id"),
    Column("queue", 8, spare=True),
    Column("took", spare=True),
    Column("x", 12),
)


def job(number: int = 1, **fields: object) -> Job:
    given = {"queue_name": "default", "job_type": "report.generate", "payload": {}, **fields}
    return Job(id=UUID(int=number), **given)  # type: ignore[arg-type]


DEAD = job(
    status=JobStatus.DEAD_LETTER, retry_count=3, error_message="column 7 of row 81 is empty\nmore",
    created_at=NOW, started_at=NOW - timedelta(hours=3), failed_at=NOW - timedelta(hours=2.5),
)  # fmt: skip
RUNNING = job(2, status=JobStatus.RUNNING, started_at=NOW - timedelta(hours=12.5))
LATER = job(3, status=JobStatus.SCHEDULED, scheduled_at=NOW + timedelta(days=3.5))
PAGE = JobPage([DEAD, RUNNING, LATER], None, [Glance("ValueError"), Glance(), Glance()])


def test_what_fits_is_as_wide_as_it_needs() -> None:
    assert fitted(COLUMNS, [36, 7, 4, 20], 80) == [36, 7, 4, 20]


def test_the_last_columns_are_cut_first_and_none_below_its_floor() -> None:
    assert fitted(COLUMNS, [36, 12, 4, 20], 70) == [36, 12, 4, 12]
    assert fitted(COLUMNS, [36, 12, 4, 20], 67) == [36, 9, 4, 12]


def test_spare_columns_are_left_out_from_the_last_on() -> None:
    assert fitted(COLUMNS, [36, 12, 4, 20], 64) == [36, 12, None, 12]
    assert fitted(COLUMNS, [36, 12, 4, 20], 56) == [36, None, None, 18]


def test_without_spare_columns_the_others_are_cut_further() -> None:
    assert fitted(COLUMNS, [36, 12, 4, 20], 47) == [36, None, None, 9]


def test_an_id_is_never_cut_though_the_line_is_wider_than_the_terminal() -> None:
    assert fitted(COLUMNS, [36, 12, 4, 20], 20) == [36, None, None, 8]


@given(st.lists(st.integers(0, 60), min_size=4, max_size=4), st.integers(1, 200))
def test_a_line_fits_wherever_it_can(needs: list[int], room: int) -> None:
    widths = fitted(COLUMNS, needs, room)
    kept = [width for width in widths if width is not None]
    least = [needs[0], min(needs[3], 8)]
    possible = sum(least) + 2 * (sum(width > 0 for width in least) - 1) <= room
    assert not possible or sum(kept) + 2 * (len(kept) - 1) <= room
    assert widths[0] in (needs[0], None)
    assert all(width is None or width <= need for width, need in zip(widths, needs, strict=True))


def test_a_row_is_one_line_of_a_terminal_with_its_whole_id_and_both_ends_of_its_error() -> None:
    heading, *rows = on_terminal(lambda: write_page(PAGE, JobFilter()))
    assert all(len(row) <= 80 for row in rows)
    assert heading.split() == ["id", "type", "status", "when", "error"]
    assert [row.split()[0] for row in rows] == [str(one.id) for one in PAGE.jobs]
    assert "dead_letter  2h ago" in rows[0]
    assert rows[0].endswith("pty")
    assert "running      for 12h" in rows[1]
    assert "scheduled    in 3d" in rows[2]


def test_what_was_asked_for_is_not_repeated_on_a_terminal() -> None:
    wanted = JobFilter(job_type="report.generate", statuses=(JobStatus.DEAD_LETTER,))
    page = JobPage([DEAD], None, [Glance("ValueError")])
    heading, row = on_terminal(lambda: write_page(page, wanted))
    assert heading.split() == ["id", "queue", "when", "took", "error"]
    assert row.split()[1:5] == ["default", "2h", "ago", "30m"]
    assert len(row) <= 80


def test_a_pipe_gets_every_column_whole_and_instants_as_such(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    write_page(PAGE, JobFilter(statuses=(JobStatus.DEAD_LETTER,)))
    heading, *rows = capsys.readouterr().out.splitlines()
    names = ["id", "queue", "type", "status", "when", "took", "retries", "error"]
    assert heading.split() == names
    instant = (NOW - timedelta(hours=2.5)).astimezone().isoformat(timespec="seconds")
    assert rows[0].split(maxsplit=7) == [
        str(DEAD.id), "default", "report.generate", "dead_letter", instant, "1800.000s", "3/3",
        "ValueError: column 7 of row 81 is empty",
    ]  # fmt: skip
    assert rows[1].split()[5:] == ["-", "0/3", "-"]


def test_wide_characters_take_their_two_places() -> None:
    columns, rows = (Column("a", 8), Column("b")), [["漢字" * 40, "x" * 40]]
    _, row = on_terminal(lambda: table(columns, rows))
    shown = row[: row.index("x")].rstrip()
    assert shown.startswith("漢字漢字")
    assert shown.endswith("漢字")
    assert "…" in shown


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(-1, "0s"), (0.4, "0s"), (99, "99s"), (100, "1m"), (5999, "99m"), (6000, "1h"),
     (172_799, "47h"), (172_800, "2d"), (1e9, "11574d")],
)  # fmt: skip
def test_a_span_is_told_in_a_unit_that_tells_enough(seconds: float, told: str) -> None:
    assert span(seconds) == told


def test_the_time_beside_a_status_goes_on_after_it() -> None:
    ago = NOW - timedelta(minutes=5)
    for status, fields, due, told in (
        (JobStatus.PENDING, {"created_at": ago}, None, "for 5m"),
        (JobStatus.SCHEDULED, {"scheduled_at": ago}, None, "for 5m"),
        (JobStatus.RETRYING, {}, NOW + timedelta(seconds=9), "in 9s"),
        (JobStatus.COMPLETED, {"completed_at": ago}, None, "5m ago"),
        (JobStatus.FAILED, {"failed_at": ago}, None, "5m ago"),
    ):
        moment = since(job(status=status, **fields), due, NOW)
        assert moment is not None
        assert moment.told == told
    assert since(job(status=JobStatus.RETRYING), None, NOW) is None


def test_what_an_attempt_took_is_not_told_of_a_job_that_was_cancelled_while_it_waited() -> None:
    ended = {"started_at": NOW, "failed_at": NOW + timedelta(seconds=1.25)}
    assert took(job(status=JobStatus.FAILED, **ended)) == Moment("1.2s", "1.250s")
    assert took(job(status=JobStatus.FAILED, **ended, error_message="Job cancelled")) is None


def test_what_was_seen_of_an_attempt_fits_a_terminal_and_is_a_line_in_a_pipe(
    capsys: pytest.CaptureFixture[str],
) -> None:
    seen = Evidence(run_seconds=6.1, pid=1234, signal="SIGKILL", worker_cpu_seconds=1.5,
                    worker_peak_rss=2**30)  # fmt: skip
    attempt = AttemptRecord(
        attempt=1,
        ended_as="dead_letter",
        started_at=NOW,
        ended_at=NOW,
        owner="host:1",
        evidence=seen,
    )
    record = JobRecord(job=DEAD, attempt=1, attempts=(attempt,))
    lines = on_terminal(lambda: write_record(record))
    write_record(record)
    assert all(len(line) <= 80 for line in lines)
    whole = "ran 6.100 s, worker 1234 (killed by SIGKILL), CPU 1.50 s in its life, peak memory"
    assert whole in " ".join(line.strip() for line in lines)
    assert f"     {whole} 1024 MiB, held by host:1\n" in capsys.readouterr().out
