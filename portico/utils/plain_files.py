"""Files that somebody else may have prepared: a pipe, a device, a link that leads in a circle.

Nothing here waits for whoever is at a pipe's other end.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

_KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFDIR: "a directory",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_COMPANIONS = ("-journal", "-wal", "-shm")
"""What SQLite opens beside a database: by a journal that is a pipe it waits for ever."""


def read_plain(path: Path, most: int, *, links: bool = False) -> bytes:
    """All of a regular file.

    Args:
        path: where it is.
        most: bytes that it may have.
        links: whether a symbolic link is followed.

    Raises:
        OSError: it cannot be read, is no regular file, or has more bytes.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
    descriptor = os.open(path, flags if links else flags | os.O_NOFOLLOW)
    with os.fdopen(descriptor, "rb") as file:
        if kind := _kind(os.fstat(descriptor)):
            raise OSError(errno.EINVAL, f"it is {kind}, and no file")
        data = file.read(most + 1)
    if len(data) > most:
        raise OSError(errno.EFBIG, f"it has more than {most:,} bytes")
    return data


def oddity(path: Path) -> str | None:
    """What stands at a path, where that is anything but a regular file; `None` also for nothing."""
    try:
        return _kind(os.stat(path))
    except FileNotFoundError:
        return None
    except OSError as error:
        return "a link that leads in a circle" if error.errno == errno.ELOOP else None


def odd_part(database: Path) -> str | None:
    """Which of a database and what SQLite keeps beside it is no file, in words; `None`: none is."""
    real = os.path.realpath(database)
    for ending in ("", *_COMPANIONS):
        if kind := oddity(Path(real + ending)):
            return f"{real}{ending} is {kind}, and no file of SQLite's; remove it, or name another"
    return None


def _kind(found: os.stat_result) -> str | None:
    return None if stat.S_ISREG(found.st_mode) else _KINDS.get(stat.S_IFMT(found.st_mode), "odd")
