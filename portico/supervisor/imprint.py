"""What importing an application leaves on its process: signals, timers, and what 0 to 2 lead to.

A worker is to have it as the application made it. The zygote is not: an application may ignore
SIGCHLD, close its standard streams, or set an alarm, and the zygote has to go on forking. So it
is taken off there, and put on in each worker.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any, NamedTuple

from portico.exceptions import ConfigurationError
from portico.supervisor import birth, sharing

_STANDARD = (0, 1, 2)
_OURS = frozenset({signal.SIGTERM, signal.SIGINT, birth.SIGNAL_FOR_STACKS})
"""By these a worker is told to end, is not told to, and is asked for its stacks."""
_TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
_NO_TIMER = (0.0, 0.0)

Handler = Callable[[int, FrameType | None], Any] | int | None
Identity = tuple[int, int] | None


class Imprint(NamedTuple):
    """What the application has made of a process; nothing, unless it says otherwise."""

    handlers: dict[int, Handler] = {}  # noqa: RUF012 - nobody writes into it
    """Of the signals for which it has set another than there was."""
    blocked: frozenset[int] = frozenset()
    timers: dict[int, tuple[float, float]] = {}  # noqa: RUF012
    """Seconds until they ring, and from then on."""
    streams: frozenset[int] = frozenset()
    """Which of 0 to 2 it has connected to something of its own."""
    opened: frozenset[int] = frozenset()
    """The descriptors that were not there before."""
    files: tuple[int, ...] = ()
    """Those of them that a copy of the process had better read by itself."""

    def put_on(self) -> None:
        """Make this process what the application has made of the one that imported it.

        Descriptors are not touched: see `birth.settle_descriptors` and `sharing.separate`.
        """
        for number, handler in self.handlers.items():
            if number not in _OURS:
                signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, self.blocked - _OURS)
        for which, (delay, interval) in self.timers.items():
            signal.setitimer(which, delay, interval)


UNTOUCHED = Imprint()


class Bare:
    """A process as it was before the import."""

    def __init__(self, *ours: int) -> None:
        """Take a good look at this one; to be followed by `take_off`.

        Args:
            ours: descriptors that the application knows nothing of.
        """
        self._handlers = _handlers()
        self._streams = [_identity(fd) for fd in _STANDARD]
        self._copies = [birth.out_of_the_way(fd) for fd in _STANDARD]
        self._ours = {fd: _identity(fd) for fd in (*ours, *self._copies)}
        self._before = birth.open_descriptors()

    def take_off(self, target: str) -> Imprint:
        """What importing `target` has changed; this process is as it was before.

        Raises:
            ConfigurationError: it has not kept its hands off our descriptors.
        """
        if any(_identity(fd) != identity for fd, identity in self._ours.items()):
            raise ConfigurationError(
                f"--app is {target!r}: importing it closed descriptors that are Portico's "
                "(os.closerange?); close by number only what was opened there"
            )
        opened = frozenset(birth.open_descriptors()).difference(self._before)
        imprint = Imprint(
            timers=_stopped_timers(),
            handlers={
                number: handler
                for number, handler in _handlers().items()
                if handler is not None and handler != self._handlers[number]
            },
            blocked=frozenset(signal.pthread_sigmask(signal.SIG_SETMASK, [])),
            streams=frozenset(fd for fd in _STANDARD if self._is_replaced(fd)),
            opened=opened,
            files=sharing.files_of_one_reader(opened),
        )
        signal.set_wakeup_fd(-1)
        for number in imprint.handlers:
            signal.signal(number, self._handlers[number])
        for fd, copy in zip(_STANDARD, self._copies, strict=True):
            if _identity(fd) is None:  # or the next file would become one of them
                os.dup2(copy, fd)
            os.close(copy)
        return imprint

    def _is_replaced(self, fd: int) -> bool:
        """Whether it is the application's own now. One that goes where another of them went is
        none: what is written to it belongs with the rest of the output."""
        return _identity(fd) not in (None, *self._streams)


def _identity(fd: int) -> Identity:
    with suppress(OSError):
        found = os.fstat(fd)
        return found.st_dev, found.st_ino
    return None


def _handlers() -> dict[int, Handler]:
    """Of all signals, as far as they were set from Python; the others stay as they are."""
    found: dict[int, Handler] = {}
    for number in range(1, signal.NSIG):
        with suppress(OSError, ValueError):
            found[number] = signal.getsignal(number)
    return found


def _stopped_timers() -> dict[int, tuple[float, float]]:
    stopped = {which: signal.setitimer(which, 0.0) for which in _TIMERS}
    return {which: timer for which, timer in stopped.items() if timer != _NO_TIMER}
