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

    def __init__(self, limits: Limits, supervisor: int) -> None:
        self._limits = limits
        self._supervisor = supervisor
        self._zygote = os.getpid()
        self._named = seccomp.Others(frozenset(), frozenset())

    def enter(self) -> None:
        """Enclose this process before it has a thread, and before it loads an application.

        Raises:
            OSError: it cannot be kept from writing elsewhere, which was asked for. What else this
                kernel lacks is left out (see `offer`).
        """
        if self._limits.sandbox and sys.platform == "linux":
            self._enclose()
            self._install(own=None)
        if concealed(self._limits):
            conceal()  # last: it takes this process's own files in /proc away

    def part(self) -> None:
        """Part this process, a worker that has no thread yet, from what else is enclosed."""
        if self._limits.sandbox and sys.platform == "linux":
            with suppress(OSError):
                landlock.part(bounded=bool(self._limits.write))
            self._install(own=os.getpid())

    def _enclose(self) -> None:
        try:
            landlock.enclose(_open_paths(self._limits.write))
        except OSError:
            if self._limits.write:
                raise

    def _install(self, own: int | None) -> None:
        if seccomp.offered():
            with suppress(OSError):
                seccomp.install(self._others(), own)

    def _others(self) -> seccomp.Others:
        """Who is there now and is not named by a filter that is in force already."""
        threads = {*seccomp.threads_of(self._supervisor)}
        groups = {os.getpgid(self._supervisor)} - {0}  # outside of our namespace of processes
        if self._zygote != os.getpid():
            threads.add(self._zygote)
            groups.add(self._zygote)
        found = seccomp.Others(threads - self._named.threads, groups - self._named.groups)
        self._named = seccomp.Others(threads, groups)
        return found


def raised(limits: Limits, supervisor: int) -> Enclosure:
    """Bind this process by its limits and enclose it; one that cannot be ends here."""
    privileges.confine(limits)
    walls = Enclosure(limits, supervisor)
    try:
        walls.enter()
    except OSError as error:
        sys.stderr.write(f"portico: --limits write={':'.join(limits.write)}: {error}\n")
        os._exit(EXIT_APP)
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
