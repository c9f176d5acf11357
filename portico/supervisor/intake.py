"""The supervisor's end of a worker's result pipe: read in turns of bounded size.

Whatever a worker writes, a turn of the loop is short, and the other workers have theirs in between:
a turn takes so many bytes and so many frames, and what was read beyond is taken in the next ones.
While the pipe is held nothing is read: the worker waits, as it does for any full pipe.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from typing import Any

from portico.supervisor.framing import FrameError, MessageReader

_READ = 256 * 1024
"""Bytes of a turn."""
AHEAD = 8 * 1024 * 1024
"""Bytes that a worker may be ahead of those who collect what it has reported."""
FRAMES = 64
"""Of a turn. What ends well comes by the hundred in a frame; a frame for each is a rare thing."""


class Intake:
    """One result pipe, not open yet."""

    def __init__(
        self,
        reader: MessageReader,
        take: Callable[[list[Any]], None],
        refuse: Callable[[FrameError], None],
    ) -> None:
        """Say who is told.

        Args:
            reader: tells the frames apart.
            take: called with the frames of a turn; it may raise a `FrameError` of its own.
            refuse: called with what is wrong with the stream; nothing is read from it any more.
        """
        self._reader = reader
        self._take = take
        self._refuse = refuse
        self._loop = asyncio.get_running_loop()
        self._fd = -1
        self._frames: Iterator[Any] | None = None
        """Of what was read and not taken yet."""
        self._due: asyncio.Handle | None = None
        self._reading = self._closed = self._flawed = False
        self._held_for: set[str] = set()
        self.reads = 0
        """How often the pipe was read."""
        self._ahead = 0

    def open(self, fd: int) -> None:
        """Begin to read this descriptor, which does not block."""
        self._fd = fd
        self._go_on()

    def hold(self, reason: str, *, held: bool) -> None:
        """Read nothing for now, for this reason, or go on unless there is another one."""
        if held:
            self._held_for.add(reason)
            self._pause()
        elif self._held_for:
            self._held_for.discard(reason)
            self._go_on()

    def collected(self) -> None:
        """What was reported so far is in other hands."""
        if self._ahead > AHEAD:
            self.hold("results", held=False)
        self._ahead = 0

    def close(self) -> None:
        """Read nothing more of its own accord; `turn` may be called for what is left."""
        if not self._closed:
            self._closed = True
            self._pause()
            if self._due is not None:
                self._due.cancel()

    @property
    def truncated(self) -> bool:
        """Whether the stream stands in the middle of a frame."""
        return self._reader.truncated

    def turn(self) -> bool:
        """Take what the pipe holds, a bounded amount; whether there may be more now."""
        frames = self._frames or self._read()
        if frames is None:
            return False
        messages: list[Any] = []
        self._frames = frames
        flaw = None
        try:
            for message in frames:  # what stands before a bad frame counts
                messages.append(message)
                if len(messages) == FRAMES:
                    break
            else:
                self._frames = None
        except FrameError as error:
            self._frames, flaw = None, error
        try:
            if messages:
                self._take(messages)
        except FrameError as error:
            flaw = error
        if flaw is not None:
            self._flawed = True
            self.close()
            self._refuse(flaw)
        return flaw is None

    def _read(self) -> Iterator[Any] | None:
        if self._flawed:
            return None
        try:
            data = os.read(self._fd, _READ)
        except BlockingIOError:
            return None
        except OSError:
            data = b""
        if not data:
            self.close()
            return None
        self.reads += 1
        self._ahead += len(data)
        if self._ahead > AHEAD:
            self.hold("results", held=True)
        return self._reader.feed(data)

    def _turn(self) -> None:
        self._due = None
        if self._held_for or self._closed:
            return
        self.turn()
        if self._frames is not None:
            self._pause()
        self._go_on()

    def _pause(self) -> None:
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._fd)

    def _go_on(self) -> None:
        """With what was read before, and only then with what the pipe holds."""
        if self._held_for or self._closed:
            return
        if self._frames is not None:
            self._due = self._due or self._loop.call_soon(self._turn)
        elif not self._reading:
            self._reading = True
            self._loop.add_reader(self._fd, self._turn)
