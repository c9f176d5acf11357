"""Resource trackers: how Python removes what its processes leave behind when they are killed.

multiprocessing (joblib's loky, too) starts one for a process that makes shared memory, semaphores
or temporary folders. It lives in that process's group, ends by itself when nobody is left who holds
its pipe, and removes then what is still registered. Killed with the group, it would remove nothing.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

_SIGN = b"resource_tracker import main"
"""Part of the program that such a process is started with, whosever it is."""
_LOOKED_AT = 200
"""Members of a group; a tracker is among the first of those that were started."""
_ROUNDS = 10
"""A process may fork while the others are killed."""


def is_tracker(pid: int) -> bool:
    """Whether this is a living resource tracker."""
    with suppress(OSError):
        return _SIGN in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def kill_group(leader: int) -> None:
    """Send SIGKILL to all of a process group but its trackers: those end when the others are gone.

    Raises:
        OSError: there is no such group, or it is not ours.
    """
    members = _members(leader)
    trackers = {pid for pid in sorted(members)[:_LOOKED_AT] if is_tracker(pid)}
    if not trackers:
        os.killpg(leader, signal.SIGKILL)  # also what was forked since
        return
    killed: set[int] = set()
    for _ in range(_ROUNDS):
        for pid in members - trackers - killed:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            killed.add(pid)
        members = _members(leader)
        if members <= trackers | killed:
            return
    os.killpg(leader, signal.SIGKILL)  # faster than we are: then without the trackers


def _members(leader: int) -> set[int]:
    """The processes of a group; none where the system does not tell."""
    with suppress(OSError):
        return {
            pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _in(pid, leader)
        }
    return set()


def _in(pid: int, group: int) -> bool:
    with suppress(OSError):
        return os.getpgid(pid) == group
    return False
