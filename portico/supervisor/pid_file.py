"""The pid file: a lock that one supervisor holds for life, with its number in it for people.

Whose number stands there decides nothing: it may be anybody's by now, above all in containers,
where everyone is number 1. The kernel lets go of the lock when its holder is dead, however it died,
and no child has it. So what was left behind is in nobody's way.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from portico.exceptions import ConfigurationError

_LONGEST = 64
"""Bytes that a number has at most, or what a crash has made of one. A file with more is somebody's
own, and its name was given by mistake."""
_TRIES = 100
_FLAGS = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_KINDS = {errno.ELOOP: "a symbolic link", errno.EISDIR: "a directory"}
_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}


@contextmanager
def pid_file(path: str | None) -> Iterator[None]:
    """Hold the file for the time of the block; removed at its end.

    Raises:
        ConfigurationError: another supervisor holds it, it is no file for this, or it cannot be
            written or locked.
    """
    if path is None:
        yield
        return
    fd = _taken(path)
    try:
        yield
    finally:
        _let_go(path, fd)


def _taken(path: str) -> int:
    """The file, locked, ours, and with our number in it."""
    for _ in range(_TRIES):
        fd = _opened(path)
        try:
            if _locked(path, fd) and _is_at(path, fd) and _fit(path, fd):
                _write(path, fd)
                return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # its holder has gone meanwhile, or it has made room for a new one
    raise ConfigurationError(f"--pid-file {path}: others take it again and again")


def _opened(path: str) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | _FLAGS, 0o644)
    except PermissionError as error:
        if (fd := _opened_as_it_is(path)) is not None:
            return fd
        raise ConfigurationError(f"--pid-file {path}: {error.strerror}") from error
    except OSError as error:
        if kind := _KINDS.get(error.errno or 0):
            raise _unfit(path, kind) from error
        raise ConfigurationError(f"--pid-file {path}: {error.strerror}") from error


def _opened_as_it_is(path: str) -> int | None:
    """A file that may not be written: our own can be made so, and others' need only be locked."""
    with suppress(OSError):
        os.chmod(path, 0o644)
        return os.open(path, os.O_RDWR | _FLAGS)
    with suppress(OSError):
        return os.open(path, os.O_RDONLY | _FLAGS)
    return None


def _locked(path: str, fd: int) -> bool:
    """Whether we have the lock; otherwise somebody has it on a file that is here no more.

    Raises:
        ConfigurationError: somebody has it on this file, or there are no locks here.
    """
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if not _is_at(path, fd):
            return False
        raise ConfigurationError(
            f"--pid-file {path}: {_holder(fd)} is running and holds it; stop it, or use another "
            "file"
        ) from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise ConfigurationError(f"--pid-file {path}: {error.strerror}") from error
        raise ConfigurationError(
            f"--pid-file {path} is on a file system that has no locks ({error.strerror}); put it "
            "on a local one, such as /run"
        ) from error
    return True


def _holder(fd: int) -> str:
    try:
        return f"process {int(os.pread(fd, _LONGEST, 0))}"
    except (OSError, ValueError):
        return "another supervisor"


def _is_at(path: str, fd: int) -> bool:
    """Whether the file still stands there: one that was removed is no lock any more."""
    try:
        return os.path.samestat(os.lstat(path), os.fstat(fd))
    except OSError:
        return False


def _fit(path: str, fd: int) -> bool:
    """Whether our number may be written to it; somebody else's file is removed first.

    Raises:
        ConfigurationError: it is no pid file, or may not be removed.
    """
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode):
        raise _unfit(path, "no regular file")
    if found.st_size > _LONGEST:
        raise _unfit(path, f"a file of {found.st_size:,} bytes")
    if found.st_uid == os.geteuid() and found.st_nlink == 1:
        return True
    try:
        os.unlink(path)
    except OSError as error:
        raise ConfigurationError(
            f"--pid-file {path} belongs to somebody else and cannot be replaced: {error.strerror}"
        ) from error
    return False


def _unfit(path: str, kind: str) -> ConfigurationError:
    return ConfigurationError(
        f"--pid-file {path} is {kind}, no file with a process id; remove it, or give another path"
    )


def _write(path: str, fd: int) -> None:
    number = f"{os.getpid()}\n".encode()
    try:
        os.pwrite(fd, number, 0)
        os.ftruncate(fd, len(number))  # after it, so that nobody ever reads nothing
    except OSError as error:
        raise ConfigurationError(f"--pid-file {path}: {error.strerror}") from error


def _let_go(path: str, fd: int) -> None:
    """Remove it while it is locked, unless there is another one in its place by now."""
    with suppress(OSError):
        os.ftruncate(fd, 0)  # where it may not be removed it shall at least name nobody
        if _is_at(path, fd):
            os.unlink(path)
    os.close(fd)
