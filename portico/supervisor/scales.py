"""What workers weigh, and what the machine has left, in bytes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import psutil

_EVERY = 0.25
"""Seconds between two weighings: a worker that grows by 1 GiB a second is seen 256 MiB late."""
_GROUP = Path("/sys/fs/cgroup")


class Scales:
    """Weighs at most so often; a machine without a limit of its own is not asked for one."""

    def __init__(self, *, machine: bool, workers: bool) -> None:
        """Say what is to be weighed: what the machine has left, the workers, both or nothing."""
        self._machine = machine
        self._workers = workers
        self._next = 0.0

    def stale(self, now: float) -> bool:
        """Whether it is time to weigh again."""
        return now >= self._next and (self._machine or self._workers)

    def weigh(self, pids: Mapping[int, int], now: float) -> tuple[dict[int, int], int | None]:
        """The resident sizes of these processes, by the same keys, and what the machine has left;
        without what cannot be read now."""
        self._next = now + _EVERY
        wanted = pids.items() if self._workers else ()
        sizes = {key: size for key, pid in wanted if (size := resident(pid)) is not None}
        return sizes, available() if self._machine else None


def resident(pid: int) -> int | None:
    """The resident size of a process, shared pages counted in; `None` when it is gone."""
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except (OSError, psutil.Error):  # the first: we have no descriptor left to read it with
        return None


def available(group: Path = _GROUP) -> int | None:
    """What can be had without swapping, in the machine and in our control group.

    `None` when it cannot be read now.
    """
    try:
        machine = int(psutil.virtual_memory().available)
    except OSError:
        return None
    try:
        most = int((group / "memory.max").read_text())  # "max" where there is no limit
        used = int((group / "memory.current").read_text())
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        reclaimable = int(stat.get("inactive_file", 0)) + int(stat.get("active_file", 0))
    except (OSError, ValueError):
        return machine
    return min(machine, max(0, most - used + reclaimable))
