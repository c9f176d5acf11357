"""What the log says while jobs succeed: a line each for people who watch, and never a flood."""

from __future__ import annotations

import io
import json
import os
import pty
from collections.abc import Iterator
from contextlib import closing
from uuid import UUID

import pytest

from portico.kits.job.completions import LINES_PER_SECOND, Completions
from portico.ports.job_executor import Completed, Outcome
from portico.utils.logging import configure_logging, reset_logging
from tests.unit.kits.parts import make_lease


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    reset_logging()


class Terminal:
    """A terminal to which the log writes, and what a person has seen on it."""

    def __init__(self) -> None:
        self._ours, theirs = pty.openpty()
        self._stream = os.fdopen(theirs, "w")
        configure_logging(stream=self._stream)

    def shown(self) -> str:
        """All of it; nothing is shown afterwards."""
        reset_logging()
        self._stream.write("\0")
        self._stream.close()
        text = b""
        while not text.endswith(b"\0"):
            text += os.read(self._ours, 4096)
        return text.decode()

    def close(self) -> None:
        os.close(self._ours)
        self._stream.close()


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    with closing(Terminal()) as terminal:
        yield terminal


def outcome(seconds: float | None = 1.23456, job_type: str = "report.generate") -> Outcome:
    return Outcome(make_lease(job_type=job_type), Completed(b"{}"), seconds)


def test_on_a_terminal_each_job_has_a_line_with_its_run_time(terminal: Terminal) -> None:
    done = outcome()
    Completions(lambda: 0.0).tell([done])
    shown = terminal.shown()
    assert "INFO" in shown
    assert "job_completed" in shown
    assert f"job_id={UUID(bytes=done.lease.id)}" in shown
    assert "seconds=1.235" in shown


def test_elsewhere_the_lines_are_for_debugging() -> None:
    stream = io.StringIO()
    configure_logging("INFO", "json", stream=stream)
    completions = Completions(lambda: 0.0)
    assert not completions.told
    configure_logging("DEBUG", "json", stream=stream)
    assert completions.told
    completions.tell([outcome()])
    line = json.loads(stream.getvalue())
    assert (line["level"], line["event"], line["seconds"]) == ("debug", "job_completed", 1.235)


def test_a_terminal_is_not_flooded_and_what_is_left_out_is_counted(terminal: Terminal) -> None:
    now = 0.0
    completions = Completions(lambda: now)
    completions.tell([outcome() for _ in range(LINES_PER_SECOND + 5)])
    completions.tell([outcome() for _ in range(7)])
    now = 1.0
    completions.tell([outcome()])
    completions.flush()
    lines = terminal.shown().splitlines()
    assert sum("job_completed" in line for line in lines) == LINES_PER_SECOND + 1
    (summary,) = [line for line in lines if "jobs_completed" in line]
    assert "more=12" in summary


def test_what_was_left_out_last_is_told_at_the_end(terminal: Terminal) -> None:
    completions = Completions(lambda: 0.0)
    completions.tell([outcome() for _ in range(LINES_PER_SECOND + 3)])
    completions.flush()
    assert "jobs_completed more=3" in terminal.shown()


@pytest.mark.parametrize("odd", [None, float("nan"), float("inf"), -1.0])
def test_a_run_time_that_cannot_be_one_is_left_out(odd: float | None, terminal: Terminal) -> None:
    Completions(lambda: 0.0).tell([outcome(odd)])
    shown = terminal.shown()
    assert "job_completed" in shown
    assert "seconds" not in shown
