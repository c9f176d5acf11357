"""What is wrong with what a worker says: pure. A worker runs code that nobody has vetted, so each
of its frames is held against what it was given and what its page says."""

from __future__ import annotations

from collections.abc import Sequence

from portico.ports.document import MAX_PAYLOAD
from portico.supervisor import wire
from portico.supervisor.scheduling.events import Started
from portico.supervisor.scheduling.seat import Seat


def flaw(seat: Seat, message: wire.FromWorker, started: Started, latest: int) -> str | None:
    """Why this message cannot be true; `None` when it can."""
    held = seat.inflight
    if type(message) is wire.Done:  # nearly every one: no pattern is tried for it
        serial, size = message.serial, len(message.result)
        if size <= MAX_PAYLOAD and _may_end(seat, serial, latest):
            return None
        return f"no such end: {size:,} bytes of {serial}"
    match message:
        case wire.Ended(serial, kind):
            if not _may_end(seat, serial, latest) or message.verdict() is None:
                return f"no such end: {kind[:100]} of {serial}"
        case wire.Mourned(serial):
            if serial not in held or not (held[serial].outcome or held[serial].failure):
                return f"no attempt of serial {serial} has failed"
        case wire.Recalled(serials) if serials:
            return _recall_flaw(seat, serials, started)
        case wire.Ready() | wire.Unready():
            return "it has been ready before"
    return None


def _may_end(seat: Seat, serial: int, latest: int) -> bool:
    """Whether an attempt of this serial may end now: started, not ended, and no mere mourning."""
    held = seat.inflight.get(serial)
    return held is not None and serial <= latest and held.outcome is None and held.failure is None


def _recall_flaw(seat: Seat, serials: Sequence[int], started: Started) -> str | None:
    recalled = set(serials)
    if len(recalled) < len(serials) or not recalled <= seat.inflight.keys():
        return "it gave back what it does not hold"
    if not recalled.isdisjoint(started):
        return "it gave back what it had started"
    return None
