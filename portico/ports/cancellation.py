"""How a job ends that someone has cancelled."""

from __future__ import annotations

from portico.ports.leasing import CANCELLED, Failure


def tells_cancellation(failure: Failure | None) -> bool:
    """Whether an attempt ended because someone had asked for it."""
    return failure is not None and failure[:2] == CANCELLED[:2]
