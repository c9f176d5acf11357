"""What a worker says that is no frame: its output and its log, each through a pipe of its own."""

from __future__ import annotations

import asyncio
import os
import select
from functools import partial

from portico.supervisor.output import OutputLog
from portico.supervisor.printing import Job
from portico.supervisor.relay import LogRelay, Vouch


class Hearing:
    """Listens to one worker, from its birth until after its death."""

    def __init__(self, number: int, vouch: Vouch, runs: partial[Job]) -> None:
        """Build it; nothing is listened to yet.

        Args:
            number: of the worker.
            vouch: the job that it says something of, if it has that, or else the one that it runs.
            runs: the job that it runs, if that is one.
        """
        self.output = OutputLog(number, vouch, runs)
        self._log = LogRelay(number, vouch, self.output.take_bare)
        self._loop = asyncio.get_running_loop()
        self._fds: tuple[int, int] | None = None
        self._there = select.poll()
        self._resumed: asyncio.TimerHandle | None = None

    def begin(self, output: int, log: int, key: bytes) -> None:
        """Listen to these pipes from now on; they are closed at the end.

        Args:
            output: where it prints.
            log: where it logs.
            key: of the frames in its output.
        """
        self._fds = output, log
        self.output.reader.key = key
        for fd in self._fds:
            os.set_blocking(fd, False)
            self._there.register(fd, select.POLLIN)
        self._loop.add_reader(output, self._print)
        self._loop.add_reader(log, self._pass_on)

    def catch_up(self) -> None:
        """Take what it has said by now, a bounded amount: what comes next was said after that."""
        if self._fds is None:
            return
        output, log = self._fds
        for fd, _ in self._there.poll(0):
            if fd == output:
                self._print()
            elif fd == log and self._resumed is None:
                self._pass_on()

    def hear_out(self) -> None:
        """It is gone: take what it has left in its pipes."""
        if self._fds is None:
            return
        output, log = self._fds
        self.output.read_last(output)
        self._log.read_last(log)
        self.output.flush()  # also what has no end: as long as it is known whose that is

    def close(self) -> None:
        """Tell what has no end, and let go of the pipes."""
        self.output.flush()
        if self._resumed is not None:
            self._resumed.cancel()
        if self._fds is not None:
            for fd in self._fds:
                self._loop.remove_reader(fd)
                os.close(fd)
            self._fds = None

    def _print(self) -> None:
        assert self._fds is not None
        if not self.output.read(self._fds[0]):
            self._deafen(self._fds[0])

    def _pass_on(self) -> None:
        """Where the worker logs more than its share, go on a little later."""
        assert self._fds is not None
        _, log = self._fds
        paused, self._resumed = self._resumed is not None, None
        if not self._log.read(log):
            self._deafen(log)
        elif pause := self._log.pause:
            self._loop.remove_reader(log)
            self._resumed = self._loop.call_later(pause, self._pass_on)
        elif paused:
            self._loop.add_reader(log, self._pass_on)

    def _deafen(self, fd: int) -> None:
        """Nobody holds the other end any more."""
        self._loop.remove_reader(fd)
        self._there.unregister(fd)
