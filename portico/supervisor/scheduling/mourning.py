"""Each `on_failure` that is to run because the process of its attempt is gone."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection

from portico.ports.leasing import LeaseKey
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

    def take_all(self) -> list[Assignment]:
        """Take out every one."""
        mourning = list(self)
        self.clear()
        return mourning
