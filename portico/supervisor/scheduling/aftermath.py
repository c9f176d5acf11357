"""Workers in which something of a failed attempt goes on: they are killed as soon as that hurts no
other job, and only then is `on_failure` run, elsewhere, and the next attempt begun. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from portico.ports.job_executor import Outcome
from portico.supervisor.scheduling.assignment import Assignment
from portico.supervisor.scheduling.events import Command, Note, condemn
from portico.supervisor.scheduling.seat import Seat

_REASON = "what a failed job had started went on"


def failed(
    seat: Seat, assignment: Assignment, outcome: Outcome, goes_on: Sequence[str], now: float
) -> list[Command]:
    """Take in how an attempt has failed; what is to be done about that of it which goes on."""
    assignment.ended(outcome, now)
    if not goes_on:
        return []
    assignment.goes_on, seat.load.open = True, False
    lease = assignment.lease
    told = Note("error", "attempt_goes_on", seat, {
        "job_id": lease.job_id,
        "job_type": lease.job_type,
        "goes_on": list(goes_on),
        "action": "its worker takes no more jobs, and is killed when those beside this one have "
        "ended; on_failure and the next attempt wait for that",
    })  # fmt: skip
    return [told, *end(seat, [assignment] if seat.load.slots == 1 else seat.inflight.values())]


def end(seat: Seat, running: Iterable[Assignment]) -> list[Command]:
    """Kill the worker once nothing runs there but what cannot be ended."""
    left = [assignment.goes_on for assignment in running]
    return condemn(seat, _REASON) if left and all(left) else []
