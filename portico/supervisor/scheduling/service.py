"""How much a worker serves in its life, and that it is replaced then. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from portico.supervisor.scheduling.assignment import Assignment
from portico.supervisor.scheduling.events import Command, Recycle
from portico.supervisor.scheduling.seat import Seat


def served(seat: Seat, ended: Sequence[Assignment], now: float) -> list[Command]:
    """So much has ended here now: one that has served enough is replaced."""
    seat.ended_at, seat.load.blocked = now, False
    if ended:
        seat.ended.append(ended)
    if seat.retire_after is None or not ended:
        return []
    seat.retire_after -= len(ended)
    return [Recycle(seat, "max jobs")] if seat.retire_after <= 0 else []


def gave_back(seat: Seat, count: int) -> list[Command]:
    """So much comes back that was never started here: that may be given to it in place of it."""
    if not seat.single:
        seat.load.left += count
    return [Recycle(seat, "it gave its one job back")] if seat.spent else []
