"""The supervisor's end of a worker's job pipe: what could not be written yet waits here.

Jobs on their way are few (`dispatch`); answers are as many as the worker asks for, so whoever gives
them looks first how many bytes it has left unread.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable
from contextlib import suppress

MOST = 8 * 1024 * 1024
"""Bytes that may wait before no more answers are given."""
PATIENCE = 30.0
"""Seconds in which a worker for which so much waits has to read some of it."""


class Outflow:
    """One job pipe, not open yet."""

    def __init__(self, stuck: Callable[[int], None]) -> None:
        """Make it; `stuck` is called with the bytes that wait when patience is at an end."""
        self._stuck = stuck
        self._loop = asyncio.get_running_loop()
        self._fd = -1
        self._waiting: deque[tuple[bytearray | memoryview, bool]] = deque()
        """What is to be written, each with whether it is an answer."""
        self._bytes = self._written = 0
        """Of answers that wait; of all that was written."""
        self._timer: asyncio.TimerHandle | None = None
        self.on_room: Callable[[], None] = lambda: None
        """Called when there is room again, and when nothing will be written any more."""

    def open(self, fd: int) -> None:
        """Write to this descriptor from now on, which does not block."""
        self._fd = fd

    @property
    def full(self) -> bool:
        """Whether so many answers wait that no more are to be given."""
        return self._bytes > MOST

    def send(self, data: bytearray, *, answer: bool = False) -> None:
        """Write it, now or as soon as the pipe has room. Only answers are asked for: jobs may lie
        there for as long as one of them keeps the worker from reading."""
        self._waiting.append((data, answer))
        self._bytes += len(data) if answer else 0
        if len(self._waiting) == 1:
            self._write()
        if self._timer is None and self.full:
            self._timer = self._loop.call_later(PATIENCE, self._look, self._written)

    def drop(self) -> None:
        """Write nothing any more: nobody is there to read it."""
        self._waiting.clear()
        self._bytes = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        with suppress(ValueError, OSError):
            self._loop.remove_writer(self._fd)
        self.on_room()

    def _look(self, written: int) -> None:
        """It was full a while ago, with so much written."""
        self._timer = None
        if not self.full:
            return
        if self._written == written:
            self._stuck(self._bytes)
        else:
            self._timer = self._loop.call_later(PATIENCE, self._look, self._written)

    def _write(self) -> None:
        was_full = self.full
        try:
            while self._waiting:
                data, answer = self._waiting[0]
                sent = os.write(self._fd, data)
                self._bytes -= sent if answer else 0
                self._written += sent
                if sent < len(data):
                    self._waiting[0] = memoryview(data)[sent:], answer  # no copy of what is left
                else:
                    self._waiting.popleft()
        except BlockingIOError:
            self._loop.add_writer(self._fd, self._write)
        except OSError:  # it is dying; the handle will say so
            self.drop()
            return
        else:
            self._loop.remove_writer(self._fd)
        if was_full and not self.full:
            self.on_room()
