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
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from typing import NamedTuple

import msgspec

from portico.exceptions import PorticoError
from portico.supervisor import interpreter
from portico.supervisor.birth import Descriptors
from portico.supervisor.privileges import Limits
from portico.supervisor.sharing import Hazard
from portico.supervisor.surroundings import missed, passed_on
from portico.utils import import_path

FIRST_FD = 3
"""Descriptors are passed from this number on."""

_ZYGOTE = (
    "from portico.supervisor import lean; lean.begin()\n"
    "from portico.supervisor.zygote import main; main()"
)
_WORKER = "from portico.supervisor.worker import main; main()"


class SpawnError(PorticoError):
    """A process could not be started; trying again later may help."""


class Load(msgspec.Struct, frozen=True):
    """What to import, and for whom: a zygote's first packet, a spawned worker's argument."""

    target: str
    supervisor: int
    folder: str
    """Where the application's modules are looked for first; empty for nowhere in particular."""


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


def _argument_of(limits: Limits) -> str:
    """Limits as a zygote, or a spawned worker, is given them."""
    return msgspec.json.encode(limits).decode()


def _load_of(target: str) -> Load:
    return Load(target, os.getpid(), import_path.of_the_application())


def start_zygote(target: str, limits: Limits, pass_env: Collection[str] = ()) -> Zygote:
    """Start a zygote that imports `target`, under these limits, with these variables, too.

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
                argument = _argument_of(limits)
                pid = _execute(_ZYGOTE, [argument], [theirs.fileno()], printing, pass_env)
            finally:
                os.close(printing)
            handle = os.pidfd_open(pid)
        undo.pop_all()
    ours.setblocking(False)
    os.set_blocking(printed, False)
    ours.send(msgspec.msgpack.encode(_load_of(target)))
    return Zygote(pid, handle, ours, printed)


def spawn_worker(
    target: str, limits: Limits, fds: Descriptors, pass_env: Collection[str] = ()
) -> int:
    """Start a worker that imports `target` by itself, with these descriptors; returns its pid.

    Raises:
        SpawnError: the system refuses a new process.
    """
    load = msgspec.json.encode(_load_of(target)).decode()
    return _execute(_WORKER, [load, _argument_of(limits)], fds, fds.output, pass_env)


def _execute(
    program: str,
    arguments: Sequence[str],
    fds: Sequence[int],
    output: int,
    pass_env: Collection[str],
) -> int:
    """Start a program with `fds` at 3, 4, ..., as this interpreter was started, and what is the
    supervisor's alone kept out.

    Not by `python -m`, which would look for its first modules in the working directory: nothing
    that may lie there is to run before the limits are set.

    Args:
        program: what it runs, once it looks for modules where Portico's may come from.
        arguments: of the program.
        fds: what it inherits beside the standard ones, of which it has none of ours.
        output: where its stdout and stderr go.
        pass_env: names of variables that it is to have though they are the supervisor's.
    """
    targets = [(fd, FIRST_FD + n) for n, fd in enumerate(fds)] + [(output, 1), (output, 2)]
    moved = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, FIRST_FD + len(fds)) for fd, _ in targets]
    try:
        return os.posix_spawn(
            sys.executable,
            [sys.executable, *interpreter.options(), "-c", _safely(program), *arguments],
            passed_on(os.environ, pass_env),
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


def variables_kept(pass_env: Collection[str]) -> list[str]:
    """The names of variables that workers do not have, and that their application may look for."""
    return missed(os.environ, pass_env)


def _safely(program: str) -> str:
    """The same, with the import path first made what it may be."""
    left, kept = import_path.without_working_directory()
    path = f"[entry for entry in sys.path if entry not in {left!r}] + {kept!r}"
    return f"import sys; sys.path[:] = {path}\n{program}"
