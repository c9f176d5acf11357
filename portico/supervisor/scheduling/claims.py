"""What is wrong with what a worker says: pure.

A worker runs code that nobody has vetted, so each of its frames is held against what it was given
and what its page says. Jobs that ended well are too many for `flaw`: who takes them in asks
`may_end` for each.
"""

from __future__ import annotations

from collections.abc import Sequence

from portico.ports.document import MAX_PAYLOAD
from portico.supervisor import wire
from portico.supervisor.scheduling import sightings
from portico.supervisor.scheduling.assignment import Assignment
from portico.supervisor.scheduling.events import Started
from portico.supervisor.scheduling.seat import Seat

_UNCHARGED = ("Released", "Interrupted")
"""Ends that cost a job nothing: one that could give itself one would run again for ever."""


def flaw(
    seat: Seat, message: wire.FromWorker, started: Started, latest: int, now: float
) -> str | None:
    """Why this message cannot be true; `None` when it can."""
    held = seat.inflight
    match message:
        case wire.Ended(serial, kind):
            may_end = serial in held and may_have_ended(held[serial], serial, latest)
            if not may_end or message.verdict() is None:
                return f"no such end: {kind[:100]} of {serial}"
            if kind in _UNCHARGED and not _was_told_to_stop(seat, held[serial]):
                return f"nobody has told {serial} to stop, and it says {kind}"
        case wire.Mourned(serial):
            if serial not in held or not (held[serial].outcome or held[serial].failure):
                return f"no attempt of serial {serial} has failed"
        case wire.Recalled(serials) if serials:
            return _recall_flaw(seat, serials, sightings.begun(seat, started, now))
        case wire.Ready() | wire.Unready():
            return "it has been ready before"
    return None


def _was_told_to_stop(seat: Seat, held: Assignment) -> bool:
    return seat.told_to_stop or held.told_to_stop is not None or held.fate is not None


def may_have_ended(held: Assignment, serial: int, latest: int) -> bool:
    """Whether an attempt that a worker holds may have ended: started, and no mere mourning."""
    return serial <= latest and held.outcome is None and held.failure is None


def may_end(held: Assignment, serial: int, size: int, latest: int) -> bool:
    """Whether it may have ended well, with a result of so many bytes."""
    return size <= MAX_PAYLOAD and may_have_ended(held, serial, latest)


def no_such_end(serial: int, size: int) -> str:
    """What is wrong with the end of an attempt that cannot have ended."""
    return f"no such end: {size:,} bytes of {serial}"


def _recall_flaw(seat: Seat, serials: Sequence[int], started: Started) -> str | None:
    recalled = {serial for serial in serials if serial in seat.inflight}
    unknown = [serial for serial in serials if serial not in seat.inflight]
    if len(set(serials)) < len(serials) or any(one > seat.withdrawn for one in unknown):
        return "it gave back what it does not hold"
    if not recalled.isdisjoint(started):
        return "it gave back what it had started"
    return None
