"""The pid file: one supervisor per file, and no stale file in the way of a restart."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil

from portico.exceptions import ConfigurationError


@contextmanager
def pid_file(path: str | None) -> Iterator[None]:
    """Hold the file for the time of the block; removed at its end.

    Raises:
        ConfigurationError: another supervisor that lives holds it, or it cannot be written.
    """
    if path is None:
        yield
        return
    _create(path)
    try:
        yield
    finally:
        with suppress(OSError):
            os.unlink(path)


def _create(path: str) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    for _ in range(2):
        try:
            fd = os.open(path, flags, 0o644)
        except FileExistsError:
            _remove_stale(path)
        except OSError as error:
            raise ConfigurationError(f"--pid-file {path}: {error.strerror}") from error
        else:
            with os.fdopen(fd, "w") as file:
                file.write(f"{os.getpid()}\n")
            return
    raise ConfigurationError(f"--pid-file {path}: another supervisor took it just now")


def _remove_stale(path: str) -> None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(fd) as file:
            pid = int(file.read(32))
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"--pid-file {path} exists and is no file with a process id; remove it"
        ) from error
    if psutil.pid_exists(pid):
        raise ConfigurationError(
            f"--pid-file {path}: process {pid} is running; stop it, or use another file"
        )
    os.unlink(path)
