"""What a worker may say of an attempt that was not told to stop, and how often it may lie."""

from __future__ import annotations

import pytest

from portico.ports.leasing import Failure
from portico.supervisor import wire
from portico.supervisor.scheduling import claims, events
from portico.supervisor.scheduling.assignment import Assignment, Fate
from portico.supervisor.scheduling.scheduler import Scheduler
from portico.supervisor.scheduling.seat import Seat
from tests.unit.supervisor.test_scheduler import LIMITS

pytestmark = pytest.mark.security("S4")


def holding(serial: int = 1) -> Seat:
    seat = Seat(1, 1)
    seat.inflight[serial] = Assignment(None, None, 0.0)  # type: ignore[arg-type]
    return seat


def ended(kind: str, serial: int = 1) -> wire.Ended:
    return wire.Ended(serial, kind, Failure("", ""), False, 0.1, True, ["a thread"])


@pytest.mark.parametrize("kind", ["Released", "Interrupted"])
def test_an_attempt_that_nobody_has_told_to_stop_cannot_end_without_a_charge(kind: str) -> None:
    """Or it would run again for ever."""
    flaw = claims.flaw(holding(), ended(kind), {}, 1, 2.0)
    assert flaw is not None
    assert "nobody has told 1 to stop" in flaw


@pytest.mark.parametrize("kind", ["Released", "Interrupted"])
@pytest.mark.parametrize("fate", [Fate.CANCELLED, Fate.FORFEITED, Fate.OVERDUE])
def test_one_that_was_told_to_stop_may_end_so(kind: str, fate: Fate) -> None:
    seat = holding()
    seat.inflight[1].stop(fate, 1.0)
    assert claims.flaw(seat, ended(kind), {}, 1, 2.0) is None


@pytest.mark.parametrize("kind", ["Released", "Interrupted"])
def test_at_a_shutdown_everything_may_end_so(kind: str) -> None:
    seat = holding()
    assert events.cancel([seat])
    assert claims.flaw(seat, ended(kind), {}, 1, 2.0) is None


def test_a_worker_that_lies_again_and_again_is_killed_once() -> None:
    scheduler, seat = Scheduler(LIMITS), Seat(1, 1)
    scheduler.step(events.Joined(seat, frozenset()), 0.0)
    lies: list[wire.FromWorker] = [wire.Mourned(7)] * 50
    told = scheduler.step(events.Said(seat, lies, {}, 0), 1.0)
    told += scheduler.step(events.Said(seat, lies, {}, 0), 1.0)
    assert [type(one) for one in told] == [events.Discredit]
