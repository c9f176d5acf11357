"""Whose turn it is to make or upgrade a database file: a lock on its wake file.

Two processes that switch a new file to a write-ahead log at once get in each other's way. Whoever
may read the wake file may also keep its lock, as long as it likes, and a frozen process does; so
nobody waits for it longer than for a transaction, and who has no turn opens what is made already.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from portico.adapters.job_queue._sqlite import wake_file
from portico.utils.logging import get_logger

logger = get_logger(__name__)

_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.001, 0.02
_NEVER = threading.Event()
_FLOCK, _HOLDER, _FILE = 1, 4, 5
"""Words of a line of /proc/locks; one that only waits has `->` for the first of these."""


class Turn(NamedTuple):
    """Whether this process may make or upgrade the file."""

    file: Path
    """The wake file."""
    held_by: str | None = None
    """Who has kept the lock all the time that was waited, in words; `None`: the turn is ours."""


@contextmanager
def turn(database: Path, patience: float) -> Iterator[Turn]:
    """Wait for the turn, so many seconds at most, and keep it for the block.

    Where there are no wake files everybody's turn is at once, after a warning.
    """
    file = wake_file.path_for(database)
    descriptor = wake_file.open_for(database)
    if descriptor is None:
        logger.warning(
            "wake_file_unusable",
            store=str(database),
            file=str(file),
            next="work is looked for once a second; let this user write that file, or remove it: "
            "it is made anew",
        )
        yield Turn(file)
        return
    try:
        ours = _locked(descriptor, patience)
        yield Turn(file) if ours else Turn(file, _holder(descriptor))
    finally:
        os.close(descriptor)


def _locked(descriptor: int, patience: float) -> bool:
    deadline = time.monotonic() + patience
    pause = _SHORTEST_PAUSE
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
        else:
            return True
        _NEVER.wait(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


def _holder(descriptor: int) -> str:
    """Who has the lock of a file, as far as the system tells."""
    found = os.fstat(descriptor)
    device = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    try:
        lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
        words = next(
            w for w in map(str.split, lines) if w[_FLOCK] == "FLOCK" and w[_FILE] == device
        )
    except (OSError, ValueError, IndexError, StopIteration):
        return "another process"
    return _described(int(words[_HOLDER]))


def _described(pid: int) -> str:
    if pid <= 0:
        return "a process of another container"
    try:
        name = Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return f"a child of process {pid}, which has ended itself,"
    return f"process {pid} ({name})"
