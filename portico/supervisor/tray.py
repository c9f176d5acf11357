"""Results that a worker has not written to its pipe yet, kept where they survive its death.

To write each result at once costs a system call per job; to gather them in the worker's own memory
would lose them with the worker, and jobs whose handler had returned would run again. So they
gather in memory that the supervisor shares, and go out together as one frame:

    put(item) ──► tray ──take()──► pipe ──► supervisor
                    └── left(): what the worker had not sent when it died ──┘

Each frame has a number. A tray that is found with the number of a frame which arrived whole holds
nothing new: the worker died after it wrote the frame and before it emptied the tray.
"""

from __future__ import annotations

import mmap
from typing import NamedTuple

SIZE = 32 * mmap.PAGESIZE
"""Bytes, of which only those that are used take memory."""
_HEAD = 16
"""Bytes: the number of the frame that the tray will be, and how much is in it."""
ROOM = SIZE - _HEAD
"""Bytes of results, and of what goes with each of them."""
_NUMBER, _FILLED = 0, 1
_COUNT = 32
"""Bits by which the count is shifted: with the length below it is stored at once."""
_LENGTH = (1 << _COUNT) - 1


class Gathered(NamedTuple):
    """What a tray holds: results, one after the other, as they are on the wire."""

    number: int
    """Of the frame that they make."""
    results: int
    """How many."""
    items: bytes


class Tray:
    """One worker's tray, which it fills and its supervisor may read once it is dead."""

    def __init__(self, fd: int, offset: int) -> None:
        """Map it.

        Args:
            fd: the memory shared with the other process; it may be closed afterwards.
            offset: where the tray begins in it, a multiple of the page size.
        """
        self._memory = mmap.mmap(fd, SIZE, offset=offset)
        view = memoryview(self._memory)
        self._words = view[:_HEAD].cast("Q")
        self._items = view[_HEAD:]
        self._count = self._end = 0
        self._memory.seek(_HEAD)

    def put(self, item: bytes) -> bool:
        """Worker: add one; `False` when there is no room for it."""
        end = self._end + len(item)
        if end > ROOM:
            return False
        self._memory.write(item)  # goes on where the last one ended
        self._end = end
        self._count += 1
        self._words[_FILLED] = self._count << _COUNT | end  # one aligned store: now it counts
        return True

    @property
    def count(self) -> int:
        """Worker: how many are in it."""
        return self._count

    def gathered(self) -> Gathered:
        """Worker: what is in it, to be written to the pipe."""
        return Gathered(self._words[_NUMBER] + 1, self._count, bytes(self._items[: self._end]))

    def clear(self) -> None:
        """Worker: the pipe has it."""
        self._words[_FILLED] = 0  # first: an empty tray may have any number
        self._words[_NUMBER] += 1
        self._count = self._end = 0
        self._memory.seek(_HEAD)

    def left(self, received: int) -> Gathered | None:
        """Supervisor, after the worker's death: what it had put in and not sent.

        Args:
            received: the number of the last frame that arrived whole, 0 for none.
        """
        number, filled = self._words[_NUMBER] + 1, self._words[_FILLED]
        count, length = filled >> _COUNT, filled & _LENGTH
        if number != received + 1 or not count or length > ROOM:
            return None
        return Gathered(number, count, bytes(self._items[:length]))

    def close(self) -> None:
        """Let go of the memory."""
        self._words.release()
        self._items.release()
        self._memory.close()
