"""What a worker sends or writes to its page cannot harm the supervisor."""

from __future__ import annotations

import os
import sys
from typing import Any

import pytest

from portico.exceptions import ValidationError
from portico.ports.document import MAX_PAYLOAD
from portico.supervisor import framing, wire
from portico.supervisor.link import Link
from portico.supervisor.running_page import RunningPage
from portico.supervisor.scheduling.assignment import Assignment
from portico.supervisor.scheduling.claims import may_end
from portico.supervisor.scheduling.dispatch import MOST_JOBS, Load, RunTimes, demand


def test_a_run_time_of_next_to_nothing_does_not_break_the_count_of_what_to_lease():
    times = RunTimes()
    times.learn("any", [5e-324])
    assert demand([Load(slots=1, open=True)], times, 0) == 2 * MOST_JOBS


def test_a_slot_that_has_never_started_anything_does_not_hide_the_next_one():
    page = RunningPage.create(2)
    page.begin(1, 7)
    assert list(page.started()) == [7]
    page.close()


@pytest.mark.skipif(sys.platform != "linux", reason="seals are Linux's")
def test_a_worker_can_neither_cut_off_nor_grow_the_page_that_its_supervisor_reads():
    page = RunningPage.create()
    size = os.fstat(page.fd).st_size
    for other in (0, size - 1, size + 1):
        with pytest.raises(PermissionError):
            os.ftruncate(page.fd, other)
    with pytest.raises(PermissionError):
        os.pwrite(page.fd, b"more", size)
    page.close()


async def test_a_request_that_fits_no_frame_is_an_error_of_the_handler_and_not_of_the_worker():
    class Outbox:
        def send(self, message: Any) -> None:
            raise AssertionError("it was sent")

    link = Link(Outbox())  # type: ignore[arg-type]
    with pytest.raises(ValidationError, match="over the limit"):
        await link.ask("insert", b"x" * framing.MAX_FRAME, object)


def test_an_attempt_may_end_well_once_it_was_started_and_with_a_result_within_the_limit():
    held = Assignment(None, None, 0.0)  # type: ignore[arg-type]
    assert may_end(held, 7, MAX_PAYLOAD, 9)
    assert not may_end(held, 7, MAX_PAYLOAD + 1, 9)
    assert not may_end(held, 7, 2, 6), "it was never started"


@pytest.mark.parametrize("frame", [
    wire.Unready("x" * (wire.MAX_REASON + 1), ""),
    wire.Unready("", "x" * (wire.MAX_REASON + 1)),
    wire.Ready(wire.VERSION, ["a"] * (wire.MAX_TYPES + 1), []),
])  # fmt: skip
def test_what_a_worker_says_of_its_application_is_bounded(frame: Any):
    with pytest.raises(framing.FrameError):
        list(wire.reader_of_worker().feed(wire.frame(frame)))
