"""What a pool holds. Pure."""

from __future__ import annotations

from collections.abc import Collection

from portico.ports.leasing import Lease
from portico.supervisor.scheduling.assignment import Fate
from portico.supervisor.scheduling.backlog import Backlog
from portico.supervisor.scheduling.reports import Reports
from portico.supervisor.scheduling.seat import Seat


def leases_held(backlog: Backlog, seats: Collection[Seat], reports: Reports) -> list[Lease]:
    """The leases to renew: of what waits, of what workers have, and of what is not told yet."""
    given = [a for seat in seats for a in seat.inflight.values()]
    return [
        *backlog.jobs,
        *(
            a.lease
            for a in [*backlog.mourning, *given]
            if a.fate is not Fate.FORFEITED and (a.failure is None or a.outcome)
        ),
        *reports.leases(),
    ]
