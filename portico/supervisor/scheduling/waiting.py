"""What is leased and waits, in the order in which it should start, and where it has to wait."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterator, Sequence

from portico.ports.leasing import Lease, LeaseKey
from portico.supervisor.scheduling.confinement import Confinement
from portico.supervisor.scheduling.lone import Lone


class Waiting:
    """Leased jobs: most wait for any worker, some for one of a certain kind, or for their turn."""

    def __init__(self, confinement: Confinement, lone: Lone) -> None:
        self._confinement = confinement
        self._lone = lone
        self.jobs: deque[Lease] = deque()
        """For whom any worker will do."""
        self.suspects: deque[Lease] = deque()
        """Each wants a worker for itself."""
        self.confined: deque[Lease] = deque()
        """Of the types that are confined to one worker."""
        self.lone: deque[Lease] = deque()
        """Of the types that share a worker with nothing."""
        self.aside: dict[str, deque[Lease]] = {}
        """Of the types of which no more may run at present; no empty ones."""

    def __iter__(self) -> Iterator[Lease]:
        """All, in order; suspects first, for they have waited once already."""
        for part in (self.suspects, *self.aside.values(), self.jobs, self.confined, self.lone):
            yield from part

    @property
    def ahead(self) -> int:
        """How many take the place of others that might be leased."""
        return len(self.jobs) + len(self.suspects)

    def __len__(self) -> int:
        aside = sum(map(len, self.aside.values())) if self.aside else 0
        return self.ahead + len(self.confined) + len(self.lone) + aside

    def of_types(self, types: Collection[str]) -> Counter[str]:
        """How many there are of each of these types."""
        return Counter(lease.job_type for lease in self if lease.job_type in types)

    def add(self, leases: Sequence[Lease]) -> None:
        """New ones, behind those that wait."""
        special = self._confinement.types or self._lone.types
        if special or any(lease.suspect for lease in leases):
            for lease in leases:
                self._place(lease).append(lease)
        else:
            self.jobs += leases

    def put_back(self, lease: Lease) -> None:
        """One that was given away and not started is next again."""
        self._place(lease).appendleft(lease)

    def sort_out(self) -> None:
        """Other types are confined or lone than before: let each job wait in its place."""
        leases = [*self.suspects, *self.confined, *self.lone, *self.jobs]
        for part in (self.suspects, self.confined, self.lone, self.jobs):
            part.clear()
        for lease in leases:
            self._place(lease).append(lease)

    def set_aside(self, most: int) -> bool:
        """The next of `jobs` waits until one of its type has ended; whether it may, beside others.

        Args:
            most: how many of its type may wait so.
        """
        line = self.aside.setdefault(self.jobs[0].job_type, deque())
        if len(line) >= most:
            return False
        line.append(self.jobs.popleft())
        return True

    def call_up(self, job_type: str) -> None:
        """One of this type has ended: the next of those that wait for that comes before others."""
        if line := self.aside.get(job_type):
            self.jobs.appendleft(line.popleft())
            if not line:
                del self.aside[job_type]

    def call_all_up(self) -> None:
        """Other limits hold than before: let each find out anew whether it may run."""
        for line in self.aside.values():
            self.jobs.extendleft(reversed(line))
        self.aside.clear()

    def take_stuck(self) -> list[Lease]:
        """Take out what waits for any worker, or for one of its own, and gets none."""
        leases = [*self.suspects, *self.jobs]
        self.suspects.clear()
        self.jobs.clear()
        return leases

    def take_all(self) -> list[Lease]:
        """Take out every job."""
        leases = list(self)
        for part in (self.suspects, self.jobs, self.confined, self.lone, self.aside):
            part.clear()
        return leases

    def take(self, keys: Collection[LeaseKey]) -> list[Lease]:
        """Take out the jobs of these leases."""
        taken = [lease for lease in self if lease.key in keys]
        if taken:
            parts = (self.suspects, self.jobs, self.confined, self.lone, *self.aside.values())
            for part in parts:
                for lease in taken:
                    if lease in part:
                        part.remove(lease)
            self.aside = {kind: line for kind, line in self.aside.items() if line}
        return taken

    def _place(self, lease: Lease) -> deque[Lease]:
        if self._confinement.holds(lease.job_type):
            return self.confined
        if lease.job_type in self._lone.types:
            return self.lone
        return self.suspects if lease.suspect else self.jobs
