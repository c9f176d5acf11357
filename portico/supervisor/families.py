"""Processes that are to end with all that descends from them, though they may fork without end.

Killed one after the other, those that live fill the places of the dead. So all of them are stopped
first, until no other one is found, and killed then.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Collection, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from time import thread_time

from portico.supervisor.trackers import is_tracker

_ROUNDS = 50
"""Looks for those that were born while the others were stopped."""
_MOST = 2_000
"""Processes that are looked at in a round, ..."""
_MOST_THREADS = 256
"""That are asked whom they have started, of each; a process may have tens of thousands."""
_LONGEST = 0.03
"""... and seconds of processor time in all: the next sweep finds the others."""


def end(roots: Collection[int]) -> None:
    """Kill these children of this process, and what descends from them.

    A child's number is not given again until it is collected; of the others each one is killed only
    if it stands in the family still after it was stopped. Resource trackers of multiprocessing are
    left: they have to remove what the others have shared.
    """
    stopped: set[int] = set()
    family, until = set(roots), thread_time() + _LONGEST
    for _ in range(_ROUNDS):
        fresh = family - stopped
        if not fresh or thread_time() > until:
            break
        _signal(fresh, signal.SIGSTOP)
        stopped |= fresh
        family = _family(roots, until) | stopped.intersection(children_of("self"))
    _signal(stopped & family, signal.SIGKILL)
    _signal(stopped - family, signal.SIGCONT)


def _signal(pids: Collection[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(OSError):
            os.kill(pid, number)


def _family(roots: Collection[int], until: float) -> set[int]:
    found, rest = set(roots), list(roots)
    while rest and len(found) < _MOST and thread_time() < until:
        born = {pid for pid in children_of(rest.pop()) if pid not in found and not is_tracker(pid)}
        found.update(born)
        rest += born
    return found


def children_of(pid: int | str) -> Iterator[int]:
    """The numbers of a process' children, as far as they can be seen and were started by one of its
    first threads; `self` is this one."""
    with suppress(OSError):
        for thread in islice(Path(f"/proc/{pid}/task").iterdir(), _MOST_THREADS):
            with suppress(OSError):  # that thread has ended
                yield from map(int, (thread / "children").read_text().split())
