"""Jobs that ended well, taken in batch by batch: nearly every job comes through here."""

from __future__ import annotations

from collections.abc import Sequence

from portico.ports.job_executor import Completed, Outcome
from portico.supervisor import wire
from portico.supervisor.scheduling import claims
from portico.supervisor.scheduling.assignment import Assignment
from portico.supervisor.scheduling.reports import Reports
from portico.supervisor.scheduling.seat import Seat


def taken_back(
    seat: Seat, ends: Sequence[wire.End], latest: int, reports: Reports
) -> tuple[list[Assignment], str | None]:
    """What has ended, in order and reported, up to the first end that cannot be true.

    Args:
        seat: the worker that says so.
        ends: what it says.
        latest: the largest serial on its page.
        reports: where the outcomes go.

    Returns:
        What the worker holds no more, and what is wrong with the next end, if anything.
    """
    inflight, waiting = seat.inflight, reports.waiting
    ended: list[Assignment] = []
    for serial, result, elapsed in ends:
        held = inflight.get(serial)
        if held is None or not claims.may_end(held, serial, len(result), latest):
            return ended, claims.no_such_end(serial, len(result))
        del inflight[serial]
        ended.append(held)
        outcome = Outcome(held.lease, Completed(result), elapsed)
        if held.fate is None:
            waiting.append(outcome)
        else:
            reports.add(outcome, held.fate)
    return ended, None
