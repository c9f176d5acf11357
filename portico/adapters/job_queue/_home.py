"""Where an adapter is open: in one event loop of one process."""

from __future__ import annotations

import asyncio
import os
from typing import NamedTuple

from portico.exceptions import ConfigurationError

_WAY_OUT = (
    "open one in each loop and process that creates jobs, by `async with job_service(...) as jobs:`"
)


class _Place(NamedTuple):
    loop: asyncio.AbstractEventLoop
    pid: int


class Home:
    """Refuses whoever comes from elsewhere: connections, threads and whoever waits belong to it,
    and would answer nobody, or the wrong one."""

    def __init__(self) -> None:
        self._place: _Place | None = None

    def enter(self) -> bool:
        """Be open here; whether that is new.

        Raises:
            ConfigurationError: it is open elsewhere.
        """
        self.check()
        is_new = self._place is None
        self._place = self._place or _Place(asyncio.get_running_loop(), os.getpid())
        return is_new

    def leave(self) -> None:
        """Be open nowhere."""
        self._place = None

    def check(self) -> None:
        """Make sure that this is where it is open, if it is.

        Raises:
            ConfigurationError: it is open elsewhere; the message says what to do.
        """
        place = self._place
        if place is None:
            return
        if place.pid != os.getpid():
            raise ConfigurationError(
                f"this queue was opened in process {place.pid}, and this is process {os.getpid()}, "
                f"forked from it; {_WAY_OUT}"
            )
        if place.loop is not asyncio.get_running_loop():
            ended = " that has ended since" if place.loop.is_closed() else ""
            raise ConfigurationError(
                f"this queue was opened in another event loop{ended}, and not closed; {_WAY_OUT}"
            )
