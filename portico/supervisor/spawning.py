"""Starting a process, and the zygote as a process: what can be done before anything else is loaded.

A supervisor takes as long to load its own modules as the zygote takes to load the application, so
the zygote is started first, and both go on side by side. This module imports little for that.
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from typing import NamedTuple

import msgspec

from portico.exceptions import PorticoError
from portico.supervisor import interpreter
from portico.supervisor.privileges import Limits
from portico.supervisor.sharing import Hazard

FIRST_FD = 3
"""Descriptors are passed from this number on."""

_KEPT_OUT = {"PORTICO_QUEUE_URL", "PORTICO_AUDIT_URL"}


class SpawnError(PorticoError):
    """A process could not be started; trying again later may help."""


class Load(msgspec.Struct, frozen=True):
    """The first packet to a zygote: what to import, and for whom."""

    target: str
    supervisor: int


class Loaded(msgspec.Struct, frozen=True):
    """The answer to it; `error` and `traceback` say why the application cannot be imported."""

    error: str | None = None
    traceback: str = ""
    hazards: list[Hazard] = []
    """What workers forked from it will share, and should not."""


class Born(msgspec.Struct, frozen=True):
    """The answer to a packet with descriptors: the worker's pid, or why there is none."""

    pid: int = 0
    error: str | None = None


class Zygote(NamedTuple):
    """A zygote that has been told what to load, and has not answered yet."""

    pid: int
    handle: int
    """The process itself; its number may be somebody else's once it was collected."""
    control: socket.socket
    output: int
    """Where what it prints is read."""


def argument_of(limits: Limits) -> str:
    """Limits as a zygote, or a spawned worker, is given them."""
    return msgspec.json.encode(limits).decode()


def start_zygote(target: str, limits: Limits) -> Zygote:
    """Start a zygote that imports `target`, under these limits.

    Raises:
        SpawnError, OSError: it could not be started; nothing is left open.
    """
    with ExitStack() as undo:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        undo.callback(ours.close)  # which ends it, if it was started
        with theirs:
            printed, printing = os.pipe()
            undo.callback(os.close, printed)
            try:
                module = ["portico.supervisor.zygote", argument_of(limits)]
                pid = execute(module, [theirs.fileno()], printing)
            finally:
                os.close(printing)
            handle = os.pidfd_open(pid)
        undo.pop_all()
    ours.setblocking(False)
    os.set_blocking(printed, False)
    ours.send(msgspec.msgpack.encode(Load(target, os.getpid())))
    return Zygote(pid, handle, ours, printed)


def execute(module: Sequence[str], fds: Sequence[int], output: int) -> int:
    """Start `python -m <module> ...` with `fds` at 3, 4, ..., as this interpreter was started, and
    the store's address kept out.

    Args:
        module: its name and its arguments.
        fds: what it inherits beside the standard ones, of which it has none of ours.
        output: where its stdout and stderr go.

    Raises:
        SpawnError: the system refuses a new process.
    """
    targets = [(fd, FIRST_FD + n) for n, fd in enumerate(fds)] + [(output, 1), (output, 2)]
    moved = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, FIRST_FD + len(fds)) for fd, _ in targets]
    try:
        return os.posix_spawn(
            sys.executable,
            [sys.executable, *interpreter.options(), "-m", *module],
            _environment(),
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                *(
                    (os.POSIX_SPAWN_DUP2, fd, target)
                    for fd, (_, target) in zip(moved, targets, strict=True)
                ),
            ],
            setsigmask=[],
            setsigdef=[signal.SIGPIPE],
        )
    except OSError as error:
        raise SpawnError(f"cannot start a process: {error}") from error
    finally:
        for fd in moved:
            os.close(fd)


def _environment() -> dict[str, str]:
    """Workers never open the store, so they need not know its password either."""
    return {name: value for name, value in os.environ.items() if name not in _KEPT_OUT}
