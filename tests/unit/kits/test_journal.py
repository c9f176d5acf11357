"""What the log says of attempts that did not succeed."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import pytest

from portico.kits.job.journal import LONGEST_ERROR, LONGEST_TRACEBACK, Journal
from portico.ports.job import JobStatus
from portico.ports.job_executor import Failed, Outcome
from portico.ports.leasing import Answer, Failure, Receipt, Settlement, Transition
from portico.utils.logging import configure_logging, reset_logging
from tests.unit.kits.parts import make_lease


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    configure_logging("DEBUG", "json", stream=stream)
    yield stream
    reset_logging()


def test_a_line_of_an_error_is_bounded_and_keeps_its_end(log: io.StringIO) -> None:
    long = Failure("ValueError", f"first{'é' * 9000}last", f"Traceback{'x' * 15_000}the end")
    lease = make_lease()
    outcome = Outcome(lease, Failed(long, retryable=True), 1.25)
    settlement = Settlement(lease.id, lease.token, Transition.RETRY, None, long, 2.0, None)
    Journal().settled([outcome], [settlement], [Receipt(Answer.OK, JobStatus.RETRYING)])
    (line,) = map(json.loads, log.getvalue().splitlines())
    assert (line["event"], line["seconds"]) == ("job_will_retry", 1.25)
    assert line["error"].startswith("firsté")
    assert line["error"].endswith("élast")
    assert len(line["error"].encode()) <= LONGEST_ERROR
    assert line["traceback"].endswith("the end")
    assert len(line["traceback"].encode()) <= LONGEST_TRACEBACK


def test_a_short_error_is_told_whole(log: io.StringIO) -> None:
    lease, short = make_lease(), Failure("ValueError", "bad row 7", "")
    outcome = Outcome(lease, Failed(short, retryable=False))
    settlement = Settlement(lease.id, lease.token, Transition.FAIL, None, short, 0.0, None)
    Journal().settled([outcome], [settlement], [Receipt(Answer.OK, JobStatus.FAILED)])
    (line,) = map(json.loads, log.getvalue().splitlines())
    assert (line["error_type"], line["error"]) == ("ValueError", "bad row 7")
    assert "traceback" not in line
