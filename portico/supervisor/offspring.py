"""Processes that handlers started, and those that these have started: found, named, ended."""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from portico.supervisor import proc_stat

if TYPE_CHECKING:
    import psutil

_LONGEST_COMMAND = 200
_MOST_FAMILY, _MOST_STRAYS, _MOST_THREADS = 1000, 100, 256
"""How many are looked at, and found, where a worker may have any number."""


def any_child() -> bool:
    """Whether this process has children, dead ones among them: one system call."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    except AttributeError:  # older Pythons on macOS: look closely
        return True
    return True


def born_since(instant: float) -> dict[psutil.Process, int]:
    """The living descendants of this process that were started since an instant, each with the
    number of the child from which it descends.

    Left out are the helpers of `multiprocessing`, which serve all jobs; what they have started is
    not.

    Args:
        instant: of `time.monotonic()`.
    """
    import psutil  # most workers never need it

    helpers = _helpers()
    found: dict[psutil.Process, int] = {}
    with suppress(psutil.Error, OSError):
        for child in psutil.Process().children():
            family = [child, *_descendants(child)]
            found |= {each: child.pid for each in family if each.pid not in helpers}
    return {
        process: child
        for process, child in found.items()
        if _alive(process) and _born_since(process, instant)
    }


def strays(worker: int, instant: float) -> list[psutil.Process]:
    """The living descendants of a worker that were started since an instant and have left its
    group, as far as they are among the first thousand descendants: a supervisor looks for them, and
    whoever is not found becomes an orphan of it.

    Args:
        worker: its number.
        instant: of `time.monotonic()`.
    """
    import psutil

    found: list[psutil.Process] = []
    for pid in islice(_family(worker), _MOST_FAMILY):
        with suppress(psutil.Error, OSError):
            if os.getpgid(pid) == worker:
                continue
            process = psutil.Process(pid)
            if _alive(process) and _born_since(process, instant):
                found.append(process)
        if len(found) == _MOST_STRAYS:
            break
    return found


def _family(ancestor: int) -> Iterator[int]:
    """The descendants of a process, the nearer ones first."""
    if sys.platform != "linux":
        yield from (process.pid for process in _descendants_of(ancestor))
        return
    generation = deque([ancestor])
    while generation:
        for child in _children(generation.popleft()):
            generation.append(child)
            yield child


def _children(parent: int) -> list[int]:
    children: list[int] = []
    with suppress(OSError), os.scandir(f"/proc/{parent}/task") as threads:  # or it is gone
        for thread in islice(threads, _MOST_THREADS):
            children += map(int, Path(thread.path, "children").read_text().split())
    return children


def _descendants_of(ancestor: int) -> list[psutil.Process]:
    import psutil

    with suppress(psutil.Error):
        return _descendants(psutil.Process(ancestor))
    return []


def ask_to_end(processes: Iterable[psutil.Process]) -> None:
    """Send SIGTERM."""
    import psutil

    for process in processes:
        with suppress(psutil.Error):  # gone, or somebody else's by now
            process.terminate()


def pooled(processes: Iterable[psutil.Process]) -> bool:
    """Whether one of these was started by `multiprocessing`, and may belong to a pool."""
    started = getattr(sys.modules.get("multiprocessing.process"), "_children", ())
    pids = {child.pid for child in list(started)}
    return any(process.pid in pids for process in processes)


def kill(processes: Iterable[psutil.Process]) -> None:
    """Send SIGKILL to what of these still lives."""
    import psutil

    for process in processes:
        with suppress(psutil.Error):
            process.kill()


def collect(processes: Iterable[psutil.Process]) -> None:
    """Take the status of dead children that nobody has waited for."""
    for process in processes:
        with suppress(ChildProcessError):
            os.waitpid(process.pid, os.WNOHANG)


def described(process: psutil.Process) -> str:
    """A process by its number and its command."""
    command = ""
    with suppress(Exception):  # it may be gone
        command = " ".join(process.cmdline()).strip()[:_LONGEST_COMMAND]
    return f"process {process.pid}: {command or '(it has ended)'}"


def _descendants(process: psutil.Process) -> list[psutil.Process]:
    import psutil

    with suppress(psutil.Error):
        return list(process.children(recursive=True))
    return []


def _alive(process: psutil.Process) -> bool:
    import psutil

    with suppress(psutil.Error):
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    return False


def _born_since(process: psutil.Process, instant: float) -> bool:
    """Whether a process was started since then, or in the same tick of the system's clock.

    Linux tells the start in ticks since boot; as a time of day it would be a second off.
    """
    if sys.platform != "linux":
        return time.time() - process.create_time() <= time.monotonic() - instant
    with suppress(OSError):
        started = int(proc_stat.fields(process.pid)[proc_stat.STARTED])
        since_boot = instant + time.clock_gettime(time.CLOCK_BOOTTIME) - time.monotonic()
        return started >= int(since_boot * os.sysconf("SC_CLK_TCK"))
    return False


def _helpers() -> set[int]:
    """The processes that `multiprocessing` keeps for this one."""
    modules: Any = sys.modules
    tracker = getattr(modules.get("multiprocessing.resource_tracker"), "_resource_tracker", None)
    server = getattr(modules.get("multiprocessing.forkserver"), "_forkserver", None)
    pids = (getattr(tracker, "_pid", None), getattr(server, "_forkserver_pid", None))
    return {pid for pid in pids if pid is not None}
