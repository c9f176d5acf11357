"""A page of memory shared by one worker and its supervisor: which job each slot is running.

After a death the supervisor must know exactly which job was running. A frame before every start
would cost a system call per job and may be unsent when the process dies; a store to shared memory
costs 0.3 µs and survives SIGKILL. The worker writes, the supervisor reads. A slot is never
cleared: a job is running when its serial stands here and its end has not been reported.

One word is written by the supervisor: up to which serial everything that waits is withdrawn. So a
job comes back from behind one that holds the GIL, where no thread of the worker gets to answer:

    worker      reached = 7 ─► withdrawn < 7? ─► the slot says 7, it runs     else it is turned down
    supervisor  withdrawn = 9 ────── SETTLED ──────► reached is 7: 8 and 9 are its own again

The worker writes first and then reads, and the supervisor the other way round: of a job at most one
of the two may think that it has it. That needs each store to be seen by the other side before its
next read. A processor keeps a store to itself for less than a microsecond; the supervisor, which
has nothing to lose by it, waits for a thousand times as long. What is reached and withdrawn both is
left to the worker, which runs it or gives it back.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import sys
import tempfile
from collections.abc import Sequence
from math import inf
from time import monotonic, monotonic_ns
from typing import NamedTuple

from portico.supervisor import tray
from portico.supervisor.tray import Tray

_WORDS = 2
"""Of 8 bytes, per slot: serial; start in nanoseconds."""
MAX_SLOTS = 256
_JOBS, _HOOKS, _WITHDRAWN = range(_WORDS * MAX_SLOTS, _WORDS * MAX_SLOTS + 3)
"""Behind the slots: the last job and the last `on_failure` that was reached, each in the order in
which they were given; what is withdrawn."""
_SIZE = -(-8 * (_WITHDRAWN + 1) // mmap.PAGESIZE) * mmap.PAGESIZE
SETTLED = 0.001
"""Seconds after which a store has been seen by all processors, many times over."""
_TRIES = 8


class Reached(NamedTuple):
    """The last serials that a worker has come to; all above them it has not."""

    job: int
    hook: int
    """Of an `on_failure` for another attempt: those overtake jobs."""


class RunningPage:
    """One worker's page; `fd` is what to hand to the other process."""

    def __init__(self, fd: int, slots: int = MAX_SLOTS) -> None:
        self.fd = fd
        self._memory = mmap.mmap(fd, _SIZE)
        self._words = memoryview(self._memory).cast("Q")
        self._used = self._words[: _WORDS * slots]
        self._withdrawn_at = inf

    @classmethod
    def create(cls, slots: int = MAX_SLOTS) -> RunningPage:
        """A new page, all zero: anonymous memory on Linux, an unlinked file elsewhere. A tray lies
        behind it."""
        if sys.platform == "linux":
            fd = os.memfd_create("portico-running", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        else:
            fd, path = tempfile.mkstemp(prefix="portico-")
            os.unlink(path)
        os.ftruncate(fd, _SIZE + tray.SIZE)
        if sys.platform == "linux":  # whoever reads a page that was cut off is killed by SIGBUS,
            # and what is written behind it would be memory that no limit counts
            size = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, size | fcntl.F_SEAL_SEAL)
        try:
            return cls(fd, slots)
        except OSError:
            os.close(fd)
            raise

    tray_offset = _SIZE
    """Where the tray begins in the shared memory."""

    def tray(self) -> Tray:
        """The tray behind this page; to be closed by whoever asked."""
        return Tray(self.fd, self.tray_offset)

    def begin(self, slot: int, serial: int, *, hook: bool = False) -> bool:
        """Worker: say that `slot` starts this job now, or the `on_failure` of another attempt.
        `False`: it was withdrawn, and is not to be started.

        The instant goes first: whoever reads in between sees the old job with a start too late,
        and never the new one with the start of the old, which would make it look overdue.
        """
        # One aligned store each. (struct.pack_into would first fill the place with zeros.)
        words = self._words
        words[_HOOKS if hook else _JOBS] = serial
        if serial <= words[_WITHDRAWN]:
            return False
        words[_WORDS * slot + 1] = monotonic_ns()
        words[_WORDS * slot] = serial
        return True

    def withdraw(self, serial: int) -> None:
        """Supervisor: what was not reached up to this serial is not to be started any more."""
        self._words[_WITHDRAWN] = serial
        self._withdrawn_at = monotonic()  # afterwards: it may have taken its time

    @property
    def withdrawn(self) -> int:
        """Up to which serial that is so."""
        return self._words[_WITHDRAWN]

    def reached(self) -> Reached | None:
        """Supervisor: what the worker had come to when the last withdrawal became known to it;
        `None`: it may not have yet."""
        if monotonic() - self._withdrawn_at < SETTLED:
            return None
        return Reached(self._words[_JOBS], self._words[_HOOKS])

    def started(self) -> dict[int, float]:
        """Supervisor: what each used slot started last, and when (`time.monotonic()`)."""
        return _started(self._steady())

    def latest(self) -> int:
        """Supervisor: the largest serial that was started. Jobs start in the order of serials, so
        none above it can have ended; an `on_failure` may overtake those below it."""
        return max(self._used[::_WORDS].tolist())

    def _steady(self) -> list[int]:
        """The page as two reads in a row agree on: a slot's words belong together."""
        words = self._used.tolist()
        for _ in range(_TRIES):
            again = self._used.tolist()
            if again == words:
                break
            words = again
        return words

    def close(self) -> None:
        """Let go of the memory and the descriptor."""
        self._used.release()
        self._words.release()
        self._memory.close()
        os.close(self.fd)


def _started(words: Sequence[int]) -> dict[int, float]:
    serials, starts = words[::_WORDS], words[1::_WORDS]
    return {
        serial: nanoseconds / 1e9
        for serial, nanoseconds in zip(serials, starts, strict=True)
        if serial
    }
