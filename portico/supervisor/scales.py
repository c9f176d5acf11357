"""What workers weigh, and what the machine has left, in bytes."""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psutil

from portico.supervisor import proc_stat
from portico.supervisor.families import children_of

_EVERY = 0.25
"""Seconds between two weighings: a worker that grows by 1 GiB a second is seen 256 MiB late."""
_MOST_RELATIVES = 256
_GROUP = Path("/sys/fs/cgroup")


class Scales:
    """Weighs at most so often; a machine without a limit of its own is not asked for one."""

    def __init__(self, *, machine: bool, workers: bool, families: bool = False) -> None:
        """Say what is to be weighed: what the machine has left, the workers, what these have
        started, all of it or nothing."""
        self._machine = machine
        self._workers = workers
        self._families = families
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

    def families(self, pids: Mapping[int, int]) -> dict[int, int]:
        """What the processes that these have started hold of their own, by the same keys."""
        if not self._families:
            return {}
        return {key: held for key, pid in pids.items() if (held := held_by_family(pid))}


def held_by_family(pid: int) -> int:
    """Bytes of their own memory that the descendants of a process hold (Linux); shared memory and
    files not counted in, nor what a copy of its parent has in common with it. The first few hundred
    descendants are looked at."""
    pages, looked_at = 0, 0
    waiting = [(child, _own_pages(pid)) for child in children_of(pid)]
    while waiting and looked_at < _MOST_RELATIVES:
        child, parents = waiting.pop()
        looked_at += 1
        with suppress(OSError):
            own = _own_pages(child)
            copied = int(proc_stat.fields(child)[proc_stat.FLAGS]) & proc_stat.NEVER_EXECUTED
            pages += max(0, own - parents) if copied else own
            waiting += [(grandchild, own) for grandchild in children_of(child)]
    return pages * mmap.PAGESIZE


def _own_pages(pid: int) -> int:
    """Resident pages that are neither of a file nor shared memory; none of one that is gone."""
    with suppress(OSError):
        _, held, shared, *_ = Path(f"/proc/{pid}/statm").read_text().split()
        return int(held) - int(shared)
    return 0


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
