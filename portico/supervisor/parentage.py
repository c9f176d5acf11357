"""Which job of several in one worker has started a process: noted when that happens.

Where a worker runs one job at a time, the time of a process's birth tells as much, and nothing is
noted. What is started past the ways that are watched here is nobody's for certain.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Callable
from typing import Any

from portico.kits.job.threads import Work, current_work

_MANY = 1000
"""So many are noted before those are forgotten that have been collected."""

Spawn = Callable[..., Any]


class Parentage:
    """The children of this process, and for which attempt each was started."""

    def __init__(self) -> None:
        self._work: dict[int, Work | None] = {}

    def note(self, pid: int) -> None:
        """A child was started just now, by the caller; `None` stands for the application."""
        if len(self._work) >= _MANY:
            self._work = {pid: work for pid, work in self._work.items() if _exists(pid)}
        self._work[pid] = current_work()

    def known(self, pid: int) -> bool:
        """Whether it was seen who started it."""
        return pid in self._work

    def of(self, pid: int, work: Work | None) -> bool:
        """Whether it was started for this attempt."""
        return work is not None and self._work.get(pid) is work

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Note from now on what subprocess, the loop and `os.fork` start."""
        begin, fork = subprocess.Popen.__init__, os.fork

        def watched_begin(child: Any, *args: Any, **options: Any) -> None:
            begin(child, *args, **options)
            self.note(child.pid)

        def watched_fork() -> int:
            pid = fork()
            if pid:
                self.note(pid)
            return pid

        subprocess.Popen.__init__ = watched_begin  # type: ignore[assignment, method-assign]
        os.fork = watched_fork
        for name in ("subprocess_exec", "subprocess_shell"):
            setattr(loop, name, self._watched(getattr(loop, name)))

    def _watched(self, spawn: Spawn) -> Spawn:
        async def watched(*args: Any, **options: Any) -> Any:
            transport, protocol = await spawn(*args, **options)
            if (pid := transport.get_pid()) is not None:
                self.note(pid)
            return transport, protocol

        return watched


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True
