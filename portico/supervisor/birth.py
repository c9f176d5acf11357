"""How a fresh process becomes a worker, or a zygote: what it inherits and what it lets go of.

The order matters. Signals first, because until they are reset one that is sent to the child runs
the parent's handler; then the descriptors, because an inherited copy of a pipe's end hides that
the other side is gone. A fork closes what is Portico's own, one by one: all else belongs to the
application, which opened it when it was imported, and keeps its number.
"""

from __future__ import annotations

import ctypes
import errno
import os
import random
import resource
import signal
import sys
import warnings
from collections.abc import Collection
from contextlib import suppress
from functools import cache
from types import FrameType
from typing import Any, NamedTuple

from portico.supervisor import printing

SIGNAL_FOR_STACKS = signal.SIGUSR2
"""Makes a worker print its Python stacks, also while a handler is stuck in C with the GIL held."""

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_FIRST_SAFE_FD = 200
"""Handlers that close low descriptors and open files must never get one of ours."""

_BEFORE_THE_FORK = int.from_bytes(os.urandom(4), "big")
"""Known to all that are forked from here, and to nobody else."""


class Descriptors(NamedTuple):
    """What a worker is born with, in the order in which they are passed."""

    jobs: int
    results: int
    page: int
    output: int
    """Where stdout and stderr of handlers go."""
    log: int
    """Where log lines go, which are its own alone; it does not block."""


def detach_signals() -> None:
    """Forget the parent's signal handling: default actions, SIGINT without effect, nothing blocked.

    SIGINT has a handler that does nothing. Were it ignored, so it would be in every program that is
    started from here.
    """
    signal.set_wakeup_fd(-1)
    for number in range(1, signal.NSIG):  # plain numbers: the set of names takes memory of its own
        with suppress(OSError, ValueError):
            if signal.getsignal(number) not in (signal.SIG_DFL, signal.SIG_IGN, None):
                signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, _let_pass)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def _let_pass(_number: int, _frame: FrameType | None) -> None:
    """What a terminal sends to all is for the supervisor, which tells its workers what to do."""


def be_no_module() -> None:
    """Have nothing for multiprocessing to import: by its spawn and forkserver, a handler's children
    would load this program once more as what they take for their main module."""
    main = sys.modules["__main__"]
    main.__spec__ = None
    vars(main).pop("__file__", None)


def settle_descriptors(inherited: Descriptors, kept: Collection[int] = ()) -> Descriptors:
    """Move ours out of a handler's way, and connect 0 to 2 to nothing and to the output.

    Args:
        inherited: ours, by the numbers under which they came; these are free afterwards.
        kept: which of 0 to 2 the application has connected itself.
    """
    ours = Descriptors(*map(move_out_of_the_way, inherited))
    null = move_out_of_the_way(os.open(os.devnull, os.O_RDWR))
    for standard, source in enumerate((null, ours.output, ours.output)):
        if standard not in kept:
            os.dup2(source, standard)
    os.close(null)
    return ours


def open_standard_streams() -> None:
    """Make Python's own streams what a worker wants of them, whatever 0 to 2 are connected to.

    They outlive a fork, so the zygote does it for all of its workers.
    """
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - lives as long as the process
    sys.stdout, sys.stderr = printing.stream(1), printing.stream(2)


def out_of_the_way(fd: int) -> int:
    """A copy above the numbers that an application closes and opens, which no program inherits."""
    import fcntl

    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _first_safe_fd())


def move_out_of_the_way(fd: int) -> int:
    """The same, and the number under which it came is free."""
    try:
        return out_of_the_way(fd)
    finally:
        os.close(fd)


def _first_safe_fd() -> int:
    """An application that has few descriptors for itself leaves us the upper half of them."""
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _FIRST_SAFE_FD if most == resource.RLIM_INFINITY else min(_FIRST_SAFE_FD, most // 2)


class Fillers:
    """Descriptors that only keep their numbers from others, until they are closed."""

    def __init__(self, fds: list[int]) -> None:
        self._fds = fds

    def close(self) -> None:
        """Let go of the numbers."""
        while self._fds:
            os.close(self._fds.pop())


def occupy_low_descriptors() -> Fillers:
    """Fill what is free below our own descriptors until the result is closed.

    The loop and the shared memory that are made meanwhile get theirs above as well. Lower, one that
    a handler closes could become a file of that handler, and the loop's next wake-up be written
    into it.
    """
    fds, safe = [os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)], _first_safe_fd()
    while fds[-1] < safe:
        fds.append(os.dup(fds[0]))  # not inheritable either
    os.close(fds.pop())
    return Fillers(fds)


def close_all_but(kept: set[int]) -> None:
    """Close every descriptor that is not in `kept`, of a process that has opened none itself."""
    for fd in open_descriptors():
        if fd not in kept:
            with suppress(OSError):
                os.close(fd)


def open_descriptors() -> list[int]:
    """Every descriptor that may be open in this process."""
    for folder in ("/proc/self/fd", "/dev/fd"):
        with suppress(OSError):
            return [fd for fd in map(int, os.listdir(folder)) if _is_open(fd)]
    return list(range(os.sysconf("SC_OPEN_MAX")))


def _is_open(fd: int) -> bool:
    """Not so any more: the one by which the folder was read."""
    with suppress(OSError):
        os.fstat(fd)
        return True
    return False


def fork() -> int:
    """`os.fork`, whatever threads there are: whether they are prepared is told by `sharing`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def own_group() -> None:
    """Lead a process group, so that what a handler started is killed with its worker."""
    with suppress(OSError):
        os.setpgid(0, 0)


def die_with(parent: int) -> None:
    """Be killed when `parent` dies, and exit now if it has died already.

    Tied to the parent's main thread, cleared by a fork: call it in the final process, and only
    once it is the parent's child. Off Linux the worker notices by end-of-file on its job pipe.
    """
    if sys.platform == "linux":
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


def adopt_orphans() -> None:
    """Become the parent of descendants whose parent dies: workers that the zygote forked."""
    if sys.platform == "linux":
        prctl(_PR_SET_CHILD_SUBREAPER, 1)


def leave_orphans() -> None:
    """Let them go to whoever has adopted this process's own."""
    if sys.platform == "linux":
        prctl(_PR_SET_CHILD_SUBREAPER, 0)


def prctl(option: int, value: int) -> None:
    """Change a property of this process (Linux).

    Raises:
        OSError: the system refuses.
    """
    if _libc().prctl(option, value, 0, 0, 0) != 0:
        raise _refusal(f"prctl({option})")


def system_call(number: int, *arguments: Any) -> int:
    """Make a system call for which Python has no name (Linux).

    Args:
        number: of the call, on this machine.
        arguments: as ctypes passes them on.

    Raises:
        OSError: the system refuses.
    """
    result = int(_libc().syscall(ctypes.c_long(number), *arguments))
    if result < 0:
        raise _refusal(f"system call {number}")
    return result


def _refusal(what: str) -> OSError:
    code = ctypes.get_errno()
    return OSError(code, f"{what}: {errno.errorcode.get(code, code)}")


@cache
def _libc() -> ctypes.CDLL:
    """Once for a process and all that are forked from it: in each of them it takes memory."""
    return ctypes.CDLL(None, use_errno=True)


def reseed() -> None:
    """Give this process its own randomness: a fork copies the generators' state.

    NumPy gets a number that no sibling has at the same time. To gather entropy for more of its
    state than that takes 300 KiB of memory in each worker.
    """
    random.seed()
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed(_BEFORE_THE_FORK ^ os.getpid())
