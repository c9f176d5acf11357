"""A file beside the database that is touched when there is work, so that idle processes wake.

It is written to for work, and only its times are set when a running job is to be stopped. The
kernel tells the two apart, so whoever is busy can listen for the second without being woken by
every job that someone enqueues.

Whoever waits also looks once a second, so a lost watch, a replaced file or a file system without
notifications costs time and never a job.
"""

from __future__ import annotations

import asyncio
import os
import select
import stat
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol


def path_for(database: Path) -> Path:
    """Where the wake file of a database is: beside the file itself, whatever links lead to it."""
    return Path(f"{os.path.realpath(database)}-wake")


def open_for(database: Path) -> int | None:
    """Open the wake file of a database, as open to others as the database itself.

    `None` when that is not possible: then everybody polls.
    """
    try:
        known = database.stat()
        try:
            descriptor = _opened(path_for(database), known)
        except PermissionError:  # somebody else made it, and keeps out the database's own user
            if known.st_uid != os.geteuid():
                raise
            path_for(database).unlink()
            descriptor = _opened(path_for(database), known)
    except OSError:
        return None
    if not _is_plain(descriptor):
        os.close(descriptor)
        return None
    mode = known.st_mode & _MODE
    with suppress(OSError):  # not ours: it was created with the mode that its owner wanted
        if os.fstat(descriptor).st_mode & _MODE != mode:  # a change would be an alert
            os.fchmod(descriptor, mode)
    return descriptor


_MODE = 0o666
_FLAGS = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


def _opened(path: Path, database: os.stat_result) -> int:
    """Open a wake file; a new one belongs to whom the database belongs to, if root makes it."""
    try:
        descriptor = os.open(path, _FLAGS | os.O_CREAT | os.O_EXCL, database.st_mode & _MODE)
    except FileExistsError:
        return os.open(path, _FLAGS)
    if os.geteuid() == 0:
        with suppress(OSError):  # not every file system has owners
            os.fchown(descriptor, database.st_uid, database.st_gid)
    return descriptor


def _is_plain(descriptor: int) -> bool:
    """Whether it is a file with no other name: one that has is somebody else's, to be written to by
    nobody."""
    found = os.fstat(descriptor)
    return stat.S_ISREG(found.st_mode) and found.st_nlink <= 1


class Toucher:
    """Touches the wake file; used by the thread that writes."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._descriptor: int | None = None

    def touch(self) -> None:
        """Wake everybody who watches; a file that was removed is made anew."""
        self._on_file(lambda descriptor: os.pwrite(descriptor, b"\0", 0))

    def alert(self) -> None:
        """Wake everybody who watches, those too who watch for alerts only."""
        self._on_file(os.utime)

    def _on_file(self, act: Callable[[int], object]) -> None:
        try:
            if self._descriptor is None or os.fstat(self._descriptor).st_nlink == 0:
                self.close()
                self._descriptor = open_for(self._database)
            if self._descriptor is not None:
                act(self._descriptor)
        except OSError:
            self.close()

    def close(self) -> None:
        """Let go of the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class _Notifier(Protocol):
    def fileno(self) -> int: ...

    def drain(self) -> bool:
        """Take what was noticed; whether the watched file is gone for good."""

    def close(self) -> None: ...


class Watcher:
    """Calls back when the wake file was touched, while someone listens.

    The kernel keeps a touch that comes while nobody listens, so the next listener hears of it at
    once, and touches beyond the first cost nothing.
    """

    def __init__(
        self, database: Path, callback: Callable[[], None], *, alerts_only: bool = False
    ) -> None:
        self._database = database
        self._callback = callback
        self._alerts_only = alerts_only
        self._notifier: _Notifier | None = None
        self._watched: tuple[int, int] | None = None
        self._listeners = 0

    def watching(self) -> bool:
        """Whether a touch will be noticed; otherwise one has to look from time to time."""
        return self._notifier is not None

    def open(self) -> None:
        """Start to watch, if this system can; may block for some milliseconds."""
        if self._notifier is not None:
            return
        descriptor = open_for(self._database)
        if descriptor is None:
            return
        with suppress(OSError):
            self._watched = _identity(os.fstat(descriptor))
            self._notifier = _notifier(path_for(self._database), self._alerts_only)
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
        gone = self._notifier.drain()
        if gone or not self._intact():
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
    _EVENT = struct.Struct("iIII")
    """What `inotify(7)` calls inotify_event; a name of the given length follows."""
    _IN_IGNORED = 0x8000

    class _Inotify:
        def __init__(self, path: Path, alerts_only: bool) -> None:
            from asyncinotify import Inotify, Mask

            self._inotify = Inotify()
            mask = Mask.ATTRIB | Mask.MOVE_SELF  # an attribute changes when it is removed, too
            self._inotify.add_watch(path, mask if alerts_only else mask | Mask.MODIFY)

        def fileno(self) -> int:
            return self._inotify.fd

        def drain(self) -> bool:
            # The number of a removed file's inode may be its successor's, so that is no proof.
            try:
                events = os.read(self._inotify.fd, 4096)
            except BlockingIOError:
                return False
            gone, start = False, 0
            while start < len(events):
                _, mask, _, name = _EVENT.unpack_from(events, start)
                gone = gone or bool(mask & _IN_IGNORED)
                start += _EVENT.size + name
            return gone

        def close(self) -> None:
            self._inotify.close()

    def _notifier(path: Path, alerts_only: bool) -> _Notifier | None:
        return _Inotify(path, alerts_only)

else:

    class _Kqueue:
        def __init__(self, path: Path, alerts_only: bool) -> None:
            self._file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            self._queue = select.kqueue()
            happenings = select.KQ_NOTE_ATTRIB | select.KQ_NOTE_DELETE | select.KQ_NOTE_RENAME
            if not alerts_only:
                happenings |= select.KQ_NOTE_WRITE
            how = select.KQ_EV_ADD | select.KQ_EV_CLEAR
            event = select.kevent(self._file, select.KQ_FILTER_VNODE, how, happenings)
            self._queue.control([event], 0, 0)

        def fileno(self) -> int:
            return self._queue.fileno()

        def drain(self) -> bool:
            events = self._queue.control(None, 16, 0)
            return any(event.fflags & select.KQ_NOTE_DELETE for event in events)

        def close(self) -> None:
            self._queue.close()
            os.close(self._file)

    def _notifier(path: Path, alerts_only: bool) -> _Notifier | None:
        return _Kqueue(path, alerts_only) if hasattr(select, "kqueue") else None
