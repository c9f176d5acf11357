"""What a supervisor tells of job types of which as many run as may, in a file that commands read.

The jobs that wait for that are PENDING in the store, which knows no reason.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from portico.supervisor import state_files
from portico.supervisor.state_files import Said, StateFile

_KIND = "crowds"


class Crowds(Said, frozen=True):
    """The job types of one supervisor of which as many run as may, and how many these are."""

    most_running: dict[str, int]

    @property
    def lines(self) -> list[str]:
        """One for each type, for people."""
        return [f"{kind}: {self.of(kind)}" for kind in sorted(self.most_running)]

    def of(self, job_type: str) -> str | None:
        """Why the next one of a type does not begin, if that is so."""
        most = self.most_running.get(job_type)
        known = most is not None
        return (
            f"as many run as may in supervisor {self.pid} (max_running {most})" if known else None
        )


class Board:
    """The file of this process."""

    def __init__(self, queue_url: str) -> None:
        self._file = StateFile(queue_url, _KIND)

    def put(self, most_running: Mapping[str, int]) -> None:
        """These are the types now."""
        file = self._file
        if most_running:
            file.put(Crowds(file.store, os.getpid(), file.born, dict(most_running)))
        else:
            file.clear()


def crowds(queue_url: str) -> list[Crowds]:
    """What the living supervisors of this host and user tell of this store's jobs."""
    return state_files.told(queue_url, _KIND, Crowds)
