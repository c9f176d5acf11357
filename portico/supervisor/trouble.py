"""What a supervisor tells of a store that it cannot use, in a file that `portico status` reads.

The store cannot hold it, for it is what is away.
"""

from __future__ import annotations

import os
import time
from typing import Annotated

from msgspec import Meta

from portico.supervisor import state_files
from portico.supervisor.state_files import Said, StateFile
from portico.utils.log_lines import masked_urls

_KIND = "trouble"
_FARTHEST = 2**36
"""Seconds since 1970, of which every system can tell the time of day."""


class Trouble(Said, frozen=True):
    """A store that one supervisor cannot use. Instants are seconds since 1970."""

    since: Annotated[float, Meta(ge=0, le=_FARTHEST)]
    said: str
    results_waiting: int

    def __str__(self) -> str:
        since = time.strftime("%H:%M:%S", time.localtime(self.since))
        seconds = max(0, round(time.time() - self.since))
        waiting = f"{self.results_waiting:,} result{'s' * (self.results_waiting != 1)}"
        return (
            f"supervisor {self.pid} leases nothing since {since} ({seconds} s): {self.said}; jobs "
            f"that run go on, and {waiting} of what has ended cannot be stored yet"
        )


class Notice:
    """The file of this process."""

    def __init__(self, queue_url: str) -> None:
        self._file = StateFile(queue_url, _KIND)
        self._since: float | None = None

    def put(self, *, seconds: float, said: str, waiting: int) -> None:
        """The store cannot be used for so many seconds now; as often as it is known anew."""
        file = self._file
        if self._since is None:
            self._since = time.time() - seconds
        since, words = self._since, masked_urls(said)
        file.put(Trouble(file.store, os.getpid(), file.born, since, words, waiting))

    def clear(self) -> None:
        """All is well, or this process ends."""
        self._since = None
        self._file.clear()


def troubles(queue_url: str) -> list[Trouble]:
    """What the living supervisors of this host and user tell of this store."""
    return state_files.told(queue_url, _KIND, Trouble)
