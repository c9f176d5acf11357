"""Which process takes on what of the sandbox, and when.

    supervisor   conceal: nobody of its user looks into it
     └ zygote    enter: the same, no call that reaches into others, no signal to who is outside,
       │                writes only where that is said
       └ worker  part: strangers to its siblings and the zygote, too

What is taken on holds for whatever a process starts, and cannot be put off. A worker that was
spawned has no zygote, and takes both steps itself.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from portico.exceptions import ConfigurationError
from portico.supervisor import birth, privileges
from portico.supervisor.exit import EXIT_APP
from portico.supervisor.privileges import Limits
from portico.supervisor.sandbox import landlock, seccomp

_PR_SET_DUMPABLE = 4

DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
SHARED_MEMORY = "/dev/shm"  # noqa: S108 - nothing is made there
"""What is written to wherever it is that files may be: multiprocessing has its locks there."""


def conceal() -> None:
    """Let no other process of the same user look into this one: its memory, its environment, its
    descriptors. Root still may. Starting a program undoes it, and so does becoming another user."""
    if sys.platform == "linux":
        with suppress(OSError):
            birth.prctl(_PR_SET_DUMPABLE, 0)


def demand(limits: Limits) -> None:
    """See that what was asked for by name can be had.

    Raises:
        ConfigurationError: handlers would write wherever they like.
    """
    if limits.write and not landlock.version():
        raise ConfigurationError(
            "--limits write= needs Landlock (Linux 5.13, and not switched off), which this system "
            "has not; leave it out, and have systemd or a container keep files from the handlers"
        )


class Enclosure:
    """The sandbox of one supervisor's workers, as these limits want it."""

    def __init__(self, limits: Limits, supervisor: int, *, forks: bool) -> None:
        self._limits = limits
        self._supervisor = supervisor
        self._zygotes = {os.getpid()} if forks else set[int]()
        self._named = seccomp.Others(frozenset(), frozenset())
        self._meant: seccomp.Others | None = None
        self._next: seccomp.Filter | None = None
        """What the next worker takes on, because of those who are meant."""

    def enter(self) -> None:
        """Enclose this process before it has a thread, and before it loads an application.

        Raises:
            OSError: it cannot be kept from writing elsewhere, which was asked for. What else this
                kernel lacks is left out (see `offer`).
        """
        if self._limits.sandbox and sys.platform == "linux":
            self._enclose()
            if seccomp.offered():
                with suppress(OSError):
                    self._named = self._others()
                    seccomp.Filter(self._named).install()
        if concealed(self._limits):
            conceal()  # last: it takes this process's own files in /proc away

    def prepare(self) -> None:
        """Make ready what `part` needs, as far as that has changed: before a worker is born, or it
        would be memory of that worker."""
        if not self._limits.sandbox or not seccomp.offered():
            return
        with suppress(OSError):
            found = self._others()
            if found != self._meant:
                threads = (found.threads | self._zygotes) - self._named.threads
                groups = (found.groups | self._zygotes) - self._named.groups
                self._next = seccomp.Filter(seccomp.Others(threads, groups), again=True)
                self._meant = found

    def part(self) -> None:
        """Part this process, a worker that has no thread yet, from what else is enclosed."""
        if not self._limits.sandbox or sys.platform != "linux":
            return
        with suppress(OSError):
            landlock.part(bounded=bool(self._limits.write))
        if self._next is not None:
            with suppress(OSError):
                self._next.install()

    def _enclose(self) -> None:
        try:
            landlock.enclose(_open_paths(self._limits.write))
        except OSError:
            if self._limits.write:
                raise

    def _others(self) -> seccomp.Others:
        """The supervisor as it is now; a group outside of our namespace of processes has no
        number."""
        groups = {os.getpgid(self._supervisor)} - {0}
        return seccomp.Others({*seccomp.threads_of(self._supervisor)}, groups)


def raised(limits: Limits, supervisor: int, *, forks: bool) -> Enclosure:
    """Bind this process by its limits and enclose it; one that cannot be ends here.

    Args:
        limits: of workers.
        supervisor: its number.
        forks: this process is no worker, but what workers are forked from.
    """
    privileges.confine(limits)
    walls = Enclosure(limits, supervisor, forks=forks)
    try:
        walls.enter()
    except OSError as error:
        sys.stderr.write(f"portico: --limits write={':'.join(limits.write)}: {error}\n")
        os._exit(EXIT_APP)
    walls.prepare()
    return walls


def concealed(limits: Limits) -> bool:
    """Whether a worker with these limits is closed to other processes of its user."""
    if limits.dumpable is not None:
        return not limits.dumpable
    return limits.sandbox and not limits.core


def _open_paths(given: tuple[str, ...]) -> list[str]:
    """With what everybody writes to; none where writes are not bounded."""
    if not given:
        return []
    always = [path for path in (*DEVICES, SHARED_MEMORY) if os.path.exists(path)]
    return [*given, *map(os.path.realpath, always)]
