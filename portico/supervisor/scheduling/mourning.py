"""Each `on_failure` that is to run because the process of its attempt is gone."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection

from portico.ports.leasing import Lease, LeaseKey
from portico.supervisor.scheduling.assignment import Assignment, Fate


class Mourning(deque[Assignment]):
    """They wait for a worker, in this order."""

    def stop(self, keys: Collection[LeaseKey], fate: Fate) -> None:
        """What to do with those for these: none for a lost lease, whose next attempt may run."""
        for assignment in list(self):
            if assignment.lease.key in keys:
                assignment.fate = fate
                if fate is Fate.FORFEITED:
                    self.remove(assignment)

    def take_next(self, but_for: Collection[str] | None) -> Assignment | None:
        """Take out the next one, of any type but for these; `None` when there is none."""
        for assignment in self:
            if not but_for or assignment.lease.job_type not in but_for:
                self.remove(assignment)
                return assignment
        return None

    def of_types(self, types: Collection[str]) -> list[Lease]:
        """The attempts of these types whose `on_failure` waits."""
        return [one.lease for one in self if one.lease.job_type in types]

    def take_all(self) -> list[Assignment]:
        """Take out every one."""
        mourning = list(self)
        self.clear()
        return mourning
