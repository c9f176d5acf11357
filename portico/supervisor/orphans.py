"""Orphans: processes that handlers started, that left their worker's group, and that outlived it.

A supervisor is a subreaper, and may be process 1 of a container: they become its children. Somebody
must collect those that have died, and say of the others that they are there.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from portico.supervisor import families, proc_stat
from portico.supervisor.trackers import is_tracker
from portico.utils.logging import get_logger

_LONGEST_COMMAND = 200
_SPARED = 5
"""Sweeps."""
_REAPED, _EXAMINED, _TOLD = 500, 200, 20
"""In one sweep: how many are collected, looked at for the first time, and told of one by one. A
handler may leave any number, and a sweep holds up everything else."""
_LEFT = "end it with kill, or have --kill-orphans end such processes"
_LOOK, _LOOKS = 0.02, 100
"""Seconds between two looks at trackers that are to end, and how many of these."""

logger = get_logger(__name__)


class Orphans:
    """The children of this process that nobody here has started."""

    def __init__(self, *, kill: bool = False) -> None:
        """Children that are there already are not touched: whoever became this process has them."""
        self._kill = kill
        self._others = set(children())
        self._known: set[int] = set()
        self._trackers: Counter[int] = Counter()
        self._session = os.getsid(0)
        self.behind = False
        """Whether the last sweep has left some for the next."""

    def sweep(
        self, workers: Collection[int], zygotes: Collection[int] = (), *, starting: bool = False
    ) -> list[int]:
        """Collect the dead, log the new, and kill the living where that is wanted.

        Args:
            workers: ours; their status belongs to the crew.
            zygotes: ours too, and collected here.
            starting: a worker is on its way whose number is not known yet; such a one is in our
                session, and is left for the next sweep.

        Returns:
            The numbers of those that were found alive.
        """
        reaped = len(reap(workers))
        ours = {*workers, *zygotes, *self._others}
        try:
            found = [pid for pid in children() if pid not in ours]
        except (OSError, psutil.Error):  # no descriptor left: the next sweep finds them
            return []
        self._known.intersection_update(found)
        self._trackers = Counter({pid: self._trackers[pid] for pid in found})
        known = [pid for pid in found if pid in self._known]
        new = [pid for pid in found if pid not in self._known]
        self.behind = reaped >= _REAPED or len(new) > _EXAMINED
        adopted = [pid for pid in new[:_EXAMINED] if self._is_one(pid, starting=starting)]
        self._tell(adopted)
        alive = [*known, *adopted]
        if self._kill and alive:
            families.end(alive)
            self.behind = True
        return alive

    def _is_one(self, pid: int, *, starting: bool) -> bool:
        try:
            if starting and os.getsid(pid) == self._session:
                return False
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE or _is_ending(pid):
                return False
            return not self._is_leaving(pid)
        except (OSError, psutil.Error):
            return False

    def _is_leaving(self, pid: int) -> bool:
        """Whether it is a tracker that may have lost its last process just now. One that is found
        again and again serves another orphan, and is spared no longer."""
        if self._trackers[pid] < _SPARED and is_tracker(pid):
            self._trackers[pid] += 1
            return True
        return False

    async def see_off(self) -> None:
        """Give trackers the time to remove what dead workers have left."""
        with suppress(OSError, psutil.Error):
            for _ in range(_LOOKS):
                reap(())
                if not any(is_tracker(pid) for pid in children() if pid not in self._known):
                    return
                await asyncio.sleep(_LOOK)

    def _tell(self, adopted: Sequence[int]) -> None:
        self._known.update(adopted)
        for pid in adopted[:_TOLD]:
            self._log("orphan_adopted", pid=pid, command=_command(pid))
        if others := adopted[_TOLD:]:
            self._log("orphans_adopted", count=len(others), first_pids=others[:_TOLD])

    def _log(self, event: str, **facts: Any) -> None:
        logger.warning(
            event,
            **facts,
            action="killed" if self._kill else "left running",
            note="a handler started it in a session of its own, and its worker is gone; "
            + ("what is to go on has to be started elsewhere" if self._kill else _LEFT),
        )


def _command(pid: int) -> str:
    with suppress(OSError, psutil.Error):  # it may be gone
        return " ".join(psutil.Process(pid).cmdline()).strip()[:_LONGEST_COMMAND]
    return ""


def _is_ending(pid: int) -> bool:
    """Whether a process has begun to end: it has given its memory back, and with that its command,
    by which a tracker is known, some time before it is a zombie."""
    with suppress(OSError):
        return bool(int(proc_stat.fields(pid)[proc_stat.FLAGS]) & proc_stat.EXITING)
    return False


def children() -> list[int]:
    """The processes whose parent this one is."""
    with suppress(OSError):
        return list(_children_of_threads())
    return [child.pid for child in psutil.Process().children()]


def _children_of_threads() -> Iterator[int]:
    for thread in Path("/proc/self/task").iterdir():
        yield from map(int, (thread / "children").read_text().split())


def reap(workers: Collection[int]) -> list[int]:
    """Collect dead children that are not among `workers`, whose status belongs to the crew.

    0 among them stands for one that is being started, whose number nobody knows yet: nothing is
    collected then, for it might be that one, and its number would be signalled later.
    """
    reaped: list[int] = []
    if 0 in workers:
        return reaped
    with suppress(ChildProcessError):
        while len(reaped) < _REAPED and (
            found := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        ):
            if found.si_pid in workers:
                break  # it is collected in a moment; the others wait for the next sweep
            os.waitpid(found.si_pid, os.WNOHANG)
            reaped.append(found.si_pid)
    return reaped
