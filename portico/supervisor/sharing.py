"""What workers share with the zygote after a fork, and should not: found once the application is
imported, and told by name.

A fork is right about nearly all that an application opens. It is not about what two processes use
as if each had it for itself: a connection, whose answers they take from each other; a database
file, whose locks are one process's; threads, of which the copy has none.
"""

from __future__ import annotations

import os
import socket
import stat
import struct
import sys
import threading
from collections import Counter
from collections.abc import Collection, Iterable
from contextlib import suppress
from typing import NamedTuple

from portico.supervisor import birth

_SQLITE = b"SQLite format 3\0"
_BESIDE = ("-wal", "-shm", "-journal")
_SUFFIXES = (".db", ".db3", ".sqlite", ".sqlite3")
"""Of a file without content yet, which tells no more than its name."""
_HARMLESS = frozenset({"jemalloc_bg_thd", "polars-ooc-clea"})
"""Threads that go on in the copy, or are not missed there."""
_NAMED = 5
_UCRED = struct.Struct("3i")


class Hazard(NamedTuple):
    """What a fork makes of something that the application has made: an event for the log."""

    event: str
    text: str


def hazards(target: str, opened: Collection[int]) -> list[Hazard]:
    """What importing `target` has left that a fork should not share.

    Args:
        target: the application.
        opened: the descriptors that it has opened.
    """
    found = (
        Hazard("import_opened_connections", _connections(target, opened)),
        Hazard("import_opened_databases", _databases(target, opened)),
        Hazard("import_started_threads", _threads(target)),
    )
    return [hazard for hazard in found if hazard.text]


def files_of_one_reader(opened: Iterable[int]) -> tuple[int, ...]:
    """Those that each process had better read by itself: of a file that is only read, and of a
    database, the place where the next read begins is nobody else's."""
    return tuple(fd for fd in opened if _is_read_only(fd) or _database(fd))


def separate(fds: Iterable[int]) -> None:
    """Open these files anew under the same numbers, at the same place.

    To be called in a process that has just been forked: it holds no locks that this could drop.
    Where the system does not let it, they stay shared, as after any fork.
    """
    for fd in fds:
        with suppress(OSError):
            _separate(fd)


def _separate(fd: int) -> None:
    import fcntl

    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    new = os.open(f"/proc/self/fd/{fd}", (flags | os.O_CLOEXEC) & ~(os.O_CREAT | os.O_TRUNC))
    try:
        os.lseek(new, os.lseek(fd, 0, os.SEEK_CUR), os.SEEK_SET)
        os.dup2(new, fd, inheritable=os.get_inheritable(fd))
    finally:
        os.close(new)


def _connections(target: str, opened: Iterable[int]) -> str:
    peers = sorted({peer for fd in opened if (peer := _peer(fd))})
    if not peers:
        return ""
    return (
        f"importing {target} connected to {_few(peers)}; forked workers share a connection and "
        "take each other's answers: connect in the app's factory or context manager, or use "
        "--start-method spawn"
    )


def _peer(fd: int) -> str | None:
    """Who is at the other end of a connected stream; `None` where that is this very process."""
    try:
        connection = socket.socket(fileno=fd)
    except OSError:  # no socket
        return None
    try:
        if connection.type == socket.SOCK_DGRAM:
            return None  # each packet is whole, whoever sends it
        peer = connection.getpeername()
        if connection.family == socket.AF_UNIX:
            return _unix_peer(connection, peer)
        return f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else str(peer)
    except OSError:  # not connected
        return None
    finally:
        connection.detach()


def _unix_peer(connection: socket.socket, path: str | bytes) -> str | None:
    if path:
        return path.decode(errors="replace") if isinstance(path, bytes) else path
    if sys.platform != "linux":
        return None
    pid, _, _ = struct.unpack(
        "3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    )
    return None if pid == os.getpid() else f"process {pid}"


def _databases(target: str, opened: Iterable[int]) -> str:
    paths = sorted({path for fd in opened if not _is_read_only(fd) and (path := _database(fd))})
    if not paths:
        return ""
    return (
        f"importing {target} opened the SQLite database {_few(paths)}; SQLite forbids to carry a "
        "connection over a fork: open it in the app's factory or context manager, or use "
        "--start-method spawn"
    )


def _database(fd: int) -> str | None:
    """The path of the SQLite database that a descriptor belongs to, if it does.

    Looked at through the descriptor itself. To open the file and close it again would drop the
    locks that this process has on it.
    """
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            return None
        path = os.readlink(f"/proc/self/fd/{fd}").removesuffix(" (deleted)")
        if path.endswith(_BESIDE):
            return path.rpartition("-")[0]
        if not found.st_size:
            return path if path.endswith(_SUFFIXES) else None
        return path if os.pread(fd, len(_SQLITE), 0) == _SQLITE else None
    except OSError:  # closed, or opened for writing only
        return None


def _is_read_only(fd: int) -> bool:
    import fcntl

    try:
        flags = fcntl.fcntl(fd, fcntl.F_GETFL)
        return flags & os.O_ACCMODE == os.O_RDONLY and stat.S_ISREG(os.fstat(fd).st_mode)
    except OSError:
        return False


def _threads(target: str) -> str:
    python = sorted(t.name for t in threading.enumerate() if t is not threading.main_thread())
    native = _unprepared_threads()
    if not python and not native:
        return ""
    return (
        f"importing {target} started threads ({_few([*python, *native])}), which forked workers "
        "do not have: who waits for them there waits for ever; start them, or use the library that "
        "did, in the app's factory, or use --start-method spawn"
    )


def _unprepared_threads() -> list[str]:
    """The names of threads that libraries have started, and that are not prepared for a fork.

    Those that are, such as NumPy's, end before one, and perhaps begin anew: so it is tried.
    """
    before = _native_threads()
    if not before:
        return []
    if (pid := birth.fork()) == 0:
        os._exit(0)
    with suppress(ChildProcessError):  # the application ignores SIGCHLD
        os.waitpid(pid, 0)
    left = Counter(name for tid, name in _native_threads().items() if tid in before)
    return [name if count == 1 else f"{name} x{count}" for name, count in sorted(left.items())]


def _native_threads() -> dict[int, str]:
    """The threads of this process of which Python knows nothing (Linux)."""
    known = {thread.native_id for thread in threading.enumerate()}
    found = {}
    with suppress(OSError):
        for tid in map(int, os.listdir("/proc/self/task")):
            with suppress(OSError), open(f"/proc/self/task/{tid}/comm", encoding="utf-8") as file:
                found[tid] = file.read().strip()
    unnamed = found.get(os.getpid())
    return {
        tid: "unnamed" if name == unnamed else name
        for tid, name in found.items()
        if {tid, name}.isdisjoint(known | _HARMLESS)
    }


def _few(names: list[str]) -> str:
    more = [f"and {len(names) - _NAMED} more"] if len(names) > _NAMED else []
    return ", ".join([*names[:_NAMED], *more])
