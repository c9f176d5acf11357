"""What memory allows: a worker that has grown is replaced, one that outgrows the ceiling is killed,
and while the machine has too little left, nothing more is started."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from portico.supervisor.scheduling import sightings
from portico.supervisor.scheduling.assignment import Fate
from portico.supervisor.scheduling.events import (
    Command,
    Note,
    Recycle,
    ShowStack,
    Started,
    Weighed,
    condemn,
)
from portico.supervisor.scheduling.seat import Seat

_MIB = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Bytes; `None` sets no bound."""

    ceiling: int | None = None
    """Resident size, of a worker and what it has started, at which it is killed, with what it
    runs."""
    reserve: int | None = None
    """What the machine must have left for another job to be started."""


class Memory:
    """The bounds, and whether dispatch is held back for them."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self.short_since: float | None = None
        """Since when nothing more is started, because the machine has too little left."""

    def weigh(self, seats: Collection[Seat], weighed: Weighed, now: float) -> list[Command]:
        """What is to be done about these sizes."""
        commands = self._reserve(weighed.available, now)
        for seat in seats:
            resident = weighed.resident.get(seat.key, 0)
            if seat.condemned:
                continue  # it is dying already, for a reason of its own
            family = weighed.families.get(seat.key, 0)
            if self._bounds.ceiling is not None and resident + family > self._bounds.ceiling:
                # What its jobs have left in memory would be charged to the next one.
                seat.outgrown, seat.load.open = True, False
                page = weighed.started.get(seat.key, {})
                begun = sightings.begun(seat, page, now)
                size = f"{(resident + family) // _MIB} MiB"
                size += " with what it has started" if family else ""
                commands += self._outgrown(seat, begun, size)
            elif seat.outgrown:
                commands.append(Recycle(seat, "it had passed the memory ceiling"))
            elif seat.retire_above is not None and resident > seat.retire_above:
                commands.append(Recycle(seat, f"resident size {resident // _MIB} MiB"))
        return commands

    def _reserve(self, available: int | None, now: float) -> list[Command]:
        reserve = self._bounds.reserve
        if available is None or reserve is None:
            return []
        facts: dict[str, object] = {
            "available_mib": available // _MIB,
            "reserve_mib": reserve // _MIB,
        }
        if available < reserve and self.short_since is None:
            self.short_since = now
            facts["note"] = "no more jobs are started until memory is free; see --min-free-memory"
            return [Note("warning", "dispatch_held_back", None, facts)]
        if available >= reserve and self.short_since is not None:
            facts["seconds"], self.short_since = round(now - self.short_since, 1), None
            return [Note("info", "dispatch_resumed", None, facts)]
        return []

    def _outgrown(self, seat: Seat, started: Started, size: str) -> list[Command]:
        """Charge what runs; it is killed at the next look, after it has shown where it stands."""
        running = [a for serial, a in seat.inflight.items() if serial in started]
        if not running:
            return [Recycle(seat, f"resident size {size}")]
        jobs = [a for a in running if a.fate is None and a.outcome is None and a.failure is None]
        if not jobs:  # what runs is an `on_failure`, or has been stopped already
            fated = any(a.fate is Fate.OVERSIZED and a.outcome is None for a in running)
            return [] if fated else condemn(seat, f"it grew to {size}")
        ceiling = f"{(self._bounds.ceiling or 0) // _MIB} MiB"
        reason = f"its worker grew to {size}, past the ceiling of {ceiling}, and was killed"
        for assignment in jobs:
            assignment.fate, assignment.reason = Fate.OVERSIZED, reason
        ids = [str(a.lease.job_id) for a in jobs]
        return [ShowStack(seat), Note("error", "worker_outgrown", seat, {
            "resident": size,
            "ceiling": ceiling,
            "jobs": ids[:5],
            "action": "it is killed; a job that ran alone counts as failed, others run again alone",
        })]  # fmt: skip
