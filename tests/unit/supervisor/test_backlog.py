from __future__ import annotations

from itertools import count
from typing import Any
from uuid import uuid4

import pytest

from portico.ports.job_executor import Outcome
from portico.ports.leasing import Lease
from portico.supervisor import wire
from portico.supervisor.scheduling.backlog import Backlog
from portico.supervisor.scheduling.dispatch import Load
from portico.supervisor.scheduling.seat import Seat

keys = count(1)
reported: list[Outcome] = []


@pytest.fixture(autouse=True)
def _nothing_reported_yet() -> None:
    reported.clear()


def lease(*, suspect: bool = False, payload: bytes = b"{}") -> Lease:
    return Lease(
        uuid4().bytes, uuid4().bytes, 1, "default", "a.b", payload, 0, 3, 0, None, 1, 1, None,
        b"{}", None, suspect,
    )  # fmt: skip


class Taker(Seat):
    """A worker as the backlog sees it."""

    def __init__(self, busy_with: int = 0) -> None:
        super().__init__(next(keys), 1)
        self.load = Load(1, open=True)
        for _ in range(busy_with):
            self.load.add(None, 1)
        self.sent: list[Any] = []

    @property
    def given(self) -> list[Lease]:
        return [a.lease for a in self.inflight.values()]


def assign(backlog: Backlog, *takers: Taker) -> None:
    for send in backlog.assign(takers, now=0.0):
        assert isinstance(send.seat, Taker)
        send.seat.sent.append(send.message)


def test_a_suspect_gets_a_worker_for_itself() -> None:
    backlog, first, second = Backlog(reported.append), Taker(), Taker()
    suspect, other = lease(suspect=True), lease()
    backlog.add([other, suspect], 0.0)
    assign(backlog, first, second)
    assert first.given == [suspect]
    assert first.load.alone
    assert second.given == [other]


def test_a_suspect_that_waits_for_a_worker_does_not_hold_up_the_others() -> None:
    backlog, busy, busier = Backlog(reported.append), Taker(busy_with=1), Taker(busy_with=1)
    backlog.times.learn("a.b", [0.0001])
    busy.load = Load(1, open=True)
    busy.load.add(0.0001, 1)
    busier.load = Load(1, open=True)
    busier.load.add(0.0002, 1)
    suspect, other = lease(suspect=True), lease()
    backlog.add([suspect, other], 0.0)
    assign(backlog, busy, busier)
    assert busy.given == [], "kept free for the suspect"
    assert busier.given == [other]
    assert backlog.jobs == [suspect]


def test_what_comes_back_is_next_again() -> None:
    backlog, taker = Backlog(reported.append), Taker()
    first, second = lease(), lease()
    backlog.add([second], 0.0)
    backlog.put_back(first)
    assign(backlog, taker)
    assert taker.given == [first]


def test_large_payloads_travel_in_frames_of_bounded_size() -> None:
    backlog, taker = Backlog(reported.append), Taker()
    taker.load = Load(8, open=True)
    backlog.add([lease(payload=b"x" * 600_000) for _ in range(8)], 0.0)
    assign(backlog, taker)
    assert len(taker.given) == 8
    assert len(taker.sent) == 4
    assert all(isinstance(frame, wire.Run) and len(frame.leases) == 2 for frame in taker.sent)
    assert [frame.first for frame in taker.sent] == [1, 3, 5, 7]


def test_jobs_are_taken_out_by_token() -> None:
    backlog = Backlog(reported.append)
    one, other = lease(), lease(suspect=True)
    backlog.add([one, other], 0.0)
    assert backlog.take({(other.id, other.token)}) == [other]
    assert backlog.take_all() == [one]
    assert len(backlog) == 0


def test_a_job_that_no_frame_holds_is_refused_and_those_leased_with_it_wait() -> None:
    backlog = Backlog(reported.append)
    small, huge = lease(), lease(payload=b"x" * (wire.MAX_BODY + 1))
    huge = huge._replace(token=small.token)  # jobs that are leased together may have one token
    backlog.add([small, huge], 0.0)
    [refused] = reported
    assert refused.lease == huge
    assert backlog.jobs == [small]
