"""How a fresh process becomes a worker, or a zygote: what it inherits and what it lets go of.

The order matters. Signals first, because until they are reset one that is sent to the child runs
the parent's handler; then the descriptors, because an inherited copy of a pipe's end hides that
the other side is gone.
"""

from __future__ import annotations

import ctypes
import errno
import os
import random
import signal
import sys
from contextlib import suppress
from typing import NamedTuple

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
    """Where log lines go."""


def detach_signals() -> None:
    """Forget the parent's signal handling: default actions, SIGINT ignored, nothing blocked."""
    signal.set_wakeup_fd(-1)
    for number in range(1, signal.NSIG):  # plain numbers: the set of names takes memory of its own
        with suppress(OSError, ValueError):
            if signal.getsignal(number) not in (signal.SIG_DFL, signal.SIG_IGN, None):
                signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def settle_descriptors(inherited: Descriptors) -> Descriptors:
    """Move ours out of a handler's way, connect 0 to 2, and close everything else."""
    ours = Descriptors(*(_moved(fd) for fd in inherited))
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(ours.output, 1)
    os.dup2(ours.output, 2)
    close_all_but({0, 1, 2, *ours})
    return ours


def open_standard_streams() -> None:
    """Make Python's own streams what a worker wants of them, whatever 0 to 2 are connected to.

    They outlive a fork, so the zygote does it for all of its workers.
    """
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - lives as long as the process
    sys.stdout = open(1, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115


def _moved(fd: int) -> int:
    import fcntl

    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _FIRST_SAFE_FD)


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

    The loop that is made meanwhile gets its descriptors above as well. Lower, one that a handler
    closes could become a file of that handler, and the loop's next wake-up be written into it.
    """
    fds = [os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)]
    while fds[-1] < _FIRST_SAFE_FD:
        fds.append(os.dup(fds[0]))  # not inheritable either
    os.close(fds.pop())
    return Fillers(fds)


def close_all_but(kept: set[int]) -> None:
    """Close every descriptor of this process that is not in `kept`."""
    for fd in _open_descriptors():
        if fd not in kept:
            with suppress(OSError):
                os.close(fd)


def _open_descriptors() -> list[int]:
    for folder in ("/proc/self/fd", "/dev/fd"):
        with suppress(OSError):
            return [int(name) for name in os.listdir(folder)]
    return list(range(os.sysconf("SC_OPEN_MAX")))


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


def prctl(option: int, value: int) -> None:
    """Change a property of this process (Linux).

    Raises:
        OSError: the system refuses.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"prctl({option}): {errno.errorcode.get(code, code)}")


def reseed() -> None:
    """Give this process its own randomness: a fork copies the generators' state.

    NumPy gets a number that no sibling has at the same time. To gather entropy for more of its
    state than that takes 300 KiB of memory in each worker.
    """
    random.seed()
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed(_BEFORE_THE_FORK ^ os.getpid())
