"""A file beside the database that is touched when there is work, so that idle processes wake.

Whoever waits also looks once a second, so a lost watch, a replaced file or a file system without
notifications costs time and never a job.
"""

from __future__ import annotations

import asyncio
import os
import select
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol


def path_for(database: Path) -> Path:
    """Where the wake file of a database is."""
    return database.with_name(f"{database.name}-wake")


def open_for(database: Path) -> int | None:
    """Open the wake file of a database, as open to others as the database itself.

    `None` when that is not possible: then everybody polls.
    """
    try:
        mode = database.stat().st_mode & 0o666
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(path_for(database), flags, mode)
    except OSError:
        return None
    with suppress(OSError):  # not ours: it was created with the mode that its owner wanted
        os.fchmod(descriptor, mode)
    return descriptor


class Toucher:
    """Touches the wake file; used by the thread that writes."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._descriptor: int | None = None

    def touch(self) -> None:
        """Wake everybody who watches; a file that was removed is made anew."""
        try:
            if self._descriptor is None or os.fstat(self._descriptor).st_nlink == 0:
                self.close()
                self._descriptor = open_for(self._database)
            if self._descriptor is not None:
                os.pwrite(self._descriptor, b"\0", 0)
        except OSError:
            self.close()

    def close(self) -> None:
        """Let go of the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class _Notifier(Protocol):
    def fileno(self) -> int: ...

    def drain(self) -> None: ...

    def close(self) -> None: ...


class Watcher:
    """Calls back when the wake file was touched, while someone listens.

    The kernel keeps a touch that comes while nobody listens, so the next listener hears of it at
    once, and touches beyond the first cost nothing.
    """

    def __init__(self, database: Path, callback: Callable[[], None]) -> None:
        self._database = database
        self._callback = callback
        self._notifier: _Notifier | None = None
        self._watched: tuple[int, int] | None = None
        self._listeners = 0

    def open(self) -> None:
        """Start to watch, if this system can; may block for some milliseconds."""
        if self._notifier is not None:
            return
        descriptor = open_for(self._database)
        if descriptor is None:
            return
        with suppress(OSError):
            self._watched = _identity(os.fstat(descriptor))
            self._notifier = _notifier(path_for(self._database))
        os.close(descriptor)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Call back within this block."""
        loop = asyncio.get_running_loop()
        self._listeners += 1
        notifier = self._notifier
        if self._listeners == 1 and notifier is not None:
            loop.add_reader(notifier.fileno(), self._touched)
        try:
            yield
        finally:
            self._listeners -= 1
            if self._listeners == 0 and self._notifier is not None:
                loop.remove_reader(self._notifier.fileno())

    def close(self) -> None:
        """Stop to watch; listeners poll from now on."""
        if self._notifier is None:
            return
        if self._listeners:
            asyncio.get_running_loop().remove_reader(self._notifier.fileno())
        self._notifier.close()
        self._notifier = None

    def _touched(self) -> None:
        assert self._notifier is not None
        self._notifier.drain()
        if not self._intact():
            self._follow()
        self._callback()

    def _intact(self) -> bool:
        with suppress(OSError):
            return _identity(path_for(self._database).stat()) == self._watched
        return False

    def _follow(self) -> None:
        """Watch the file that has taken the place of the watched one."""
        self.close()
        self.open()
        if self._notifier is not None and self._listeners:
            asyncio.get_running_loop().add_reader(self._notifier.fileno(), self._touched)


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


if sys.platform == "linux":

    class _Inotify:
        def __init__(self, path: Path) -> None:
            from asyncinotify import Inotify, Mask

            self._inotify = Inotify()
            self._inotify.add_watch(path, Mask.MODIFY | Mask.ATTRIB | Mask.MOVE_SELF)

        def fileno(self) -> int:
            return self._inotify.fd

        def drain(self) -> None:
            with suppress(BlockingIOError):
                os.read(self._inotify.fd, 4096)

        def close(self) -> None:
            self._inotify.close()

    def _notifier(path: Path) -> _Notifier | None:
        return _Inotify(path)

else:

    class _Kqueue:
        def __init__(self, path: Path) -> None:
            self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            self._queue = select.kqueue()
            happenings = select.KQ_NOTE_WRITE | select.KQ_NOTE_DELETE | select.KQ_NOTE_RENAME
            how = select.KQ_EV_ADD | select.KQ_EV_CLEAR
            event = select.kevent(self._file, select.KQ_FILTER_VNODE, how, happenings)
            self._queue.control([event], 0, 0)

        def fileno(self) -> int:
            return self._queue.fileno()

        def drain(self) -> None:
            self._queue.control(None, 16, 0)

        def close(self) -> None:
            self._queue.close()
            os.close(self._file)

    def _notifier(path: Path) -> _Notifier | None:
        return _Kqueue(path) if hasattr(select, "kqueue") else None
