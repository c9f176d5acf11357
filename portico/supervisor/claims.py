"""What is wrong with what a worker says: pure. A worker runs code that nobody has vetted, so each
of its frames is held against what it was given and what its page says."""

from __future__ import annotations

from collections.abc import Sequence

from portico.ports.document import MAX_PAYLOAD
from portico.supervisor import wire
from portico.supervisor.member import Member


def flaw(member: Member, message: wire.FromWorker) -> str | None:
    """Why this message cannot be true; `None` when it can."""
    held = member.inflight
    if type(message) is wire.Done:  # nearly every one: no pattern is tried for it
        if message.serial in held and len(message.result) <= MAX_PAYLOAD:
            return None
        return f"no such end: {len(message.result):,} bytes of {message.serial}"
    match message:
        case wire.Ended(serial, kind):
            if serial not in held or message.verdict() is None:
                return f"no such end: {kind[:100]} of {serial}"
        case wire.Mourned(serial):
            if serial not in held or not (held[serial].outcome or held[serial].failure):
                return f"no attempt of serial {serial} has failed"
        case wire.Recalled(serials) if serials:
            return _recall_flaw(member, serials)
    return None


def _recall_flaw(member: Member, serials: Sequence[int]) -> str | None:
    recalled = set(serials)
    if len(recalled) < len(serials) or not recalled <= member.inflight.keys():
        return "it gave back what it does not hold"
    if not recalled.isdisjoint(member.process.page.started()):
        return "it gave back what it had started"
    return None
