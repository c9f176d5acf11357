"""Whether the process that holds a lease still lives, without comparing two clocks."""

from __future__ import annotations

import os
import socket
import sys
from collections import deque
from pathlib import Path
from typing import NamedTuple


class Process(NamedTuple):
    """A process of this host, told apart from a later one with the same number."""

    boot: str
    namespace: str
    """Numbers of processes mean nothing outside of their namespace."""
    pid: int
    started: str


def this_process() -> Process:
    """The process that calls."""
    pid = os.getpid()
    return Process(_boot(), _namespace(), pid, _started(pid) or "")


def process_name() -> str:
    """This process, for people to read."""
    return f"{socket.gethostname()}:{os.getpid()}"


def gone(process: Process) -> bool:
    """Whether a process certainly lives no more; `False` when that cannot be told from here."""
    if process.boot != _boot():
        return True
    return process.namespace == _namespace() and _started(process.pid) != process.started


class Sightings:
    """When the heartbeat counters of owners were seen to change, by this process's own clock.

    What was granted or renewed when a counter was first seen, or before, has that counter or a
    lower one. So the leases that have run out are those up to the newest counter that was first
    seen a lease length ago.
    """

    def __init__(self) -> None:
        self._seen: dict[int, deque[tuple[int, float]]] = {}

    def clear(self) -> None:
        """Forget all: whoever could not renew gets a whole lease length to do so."""
        self._seen.clear()

    def keep(self, owners: set[int]) -> None:
        """Forget who is not among these."""
        for owner in self._seen.keys() - owners:
            del self._seen[owner]

    def overdue(self, owner: int, beat: int, lease_seconds: float, now: float) -> int | None:
        """The highest counter of this owner whose leases have run out; `None`: none has."""
        seen = self._seen.setdefault(owner, deque())
        if not seen or seen[-1][0] != beat:
            seen.append((beat, now))
        while len(seen) > 1 and seen[1][1] <= now - lease_seconds:
            seen.popleft()
        oldest, since = seen[0]
        return oldest if since <= now - lease_seconds else None


def _boot() -> str:
    if sys.platform == "linux":
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    else:  # noqa: RET505 - the type checker skips the other system's branch only in this form
        import psutil

        return f"{psutil.boot_time():.0f}"


def _namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _started(pid: int) -> str | None:
    """When a process started, in its host's own words; `None` when it does not live."""
    if sys.platform == "linux":
        try:
            status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None
        state, *rest = status.rpartition(")")[2].split()
        return None if state in "ZX" else rest[18]
    else:  # noqa: RET505
        import psutil

        try:
            return f"{psutil.Process(pid).create_time():.2f}"
        except psutil.Error:
            return None
