"""What others may see of a scheduler at a glance."""

from __future__ import annotations

from portico.supervisor.scheduling.backlog import Backlog
from portico.supervisor.scheduling.reports import Reports
from portico.supervisor.scheduling.seat import Seat


class Overview:
    """Counts, and the names of job types that are held back."""

    _backlog: Backlog
    _reports: Reports
    _seats: dict[int, Seat]

    @property
    def waiting(self) -> int:
        """Leased jobs that no worker has been given yet."""
        return self._backlog.waiting

    @property
    def confined(self) -> list[str]:
        """The job types that are confined to one worker."""
        return self._backlog.confinement.types

    @property
    def at_limit(self) -> dict[str, int]:
        """The job types of which as many run as may, and how many these are."""
        return self._backlog.turns.at_limit

    @property
    def running(self) -> int:
        """Jobs that workers hold."""
        return sum(len(seat.inflight) for seat in self._seats.values())

    @property
    def collected(self) -> bool:
        """Whether every outcome was fetched."""
        return not self._reports.waiting

    @property
    def empty(self) -> bool:
        """Whether no worker holds anything, nor is to."""
        return not len(self._backlog) and not any(s.inflight for s in self._seats.values())
