"""What handlers print: read from a worker's stdout and stderr, and logged line by line.

A worker that floods is read all the same (a full pipe would block it), but only so many lines a
second are logged; the rest is counted. The last lines are kept for whoever asks why it died.
"""

from __future__ import annotations

import os
from collections import deque
from time import monotonic
from typing import Any

from portico.utils.logging import get_logger

_READ = 64 * 1024
_READS_AT_ONCE = 16
_LINES_PER_SECOND = 200
_LONGEST_LINE = 2000
_KEPT = 250
"""More than the deepest stack that a fault handler writes, which begins with what matters most."""

logger = get_logger(__name__)


class OutputLog:
    """The output of one worker process."""

    def __init__(self, worker: int) -> None:
        self._worker = worker
        self._rest = b""
        self._second = 0
        self._logged = 0
        self._dropped = 0
        self._last: deque[tuple[float, str]] = deque(maxlen=_KEPT)

    def read(self, fd: int) -> bool:
        """Take what is there, a bounded amount; `False` at the end of the stream."""
        for _ in range(_READS_AT_ONCE):
            try:
                data = os.read(fd, _READ)
            except BlockingIOError:
                return True
            except OSError:
                return False
            if not data:
                return False
            self._take(data)
        return True

    def since(self, instant: float) -> str:
        """The last lines, at most 250, as far as they came after this `time.monotonic()`.

        Where a worker died, they hold what its fault handler wrote: the Python stack.
        """
        return "\n".join(line for at, line in self._last if at >= instant)

    def flush(self) -> None:
        """Log the unfinished line, and how many were dropped."""
        if self._rest:
            self._line(self._rest)
            self._rest = b""
        self._count_dropped()

    def note(self, event: str, **values: Any) -> None:
        """Log something about this worker that is no output of its own."""
        logger.error(event, worker=self._worker, **values)

    def _take(self, data: bytes) -> None:
        *lines, rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._line(line)
        if len(rest) > _LONGEST_LINE:
            self._line(rest)
            rest = b""
        self._rest = rest

    def _line(self, line: bytes) -> None:
        text = line[:_LONGEST_LINE].decode("utf-8", "replace").rstrip("\r")
        now = monotonic()
        self._last.append((now, text))
        second = int(now)
        if second != self._second:
            self._count_dropped()
            self._second, self._logged = second, 0
        if self._logged >= _LINES_PER_SECOND:
            self._dropped += 1
            return
        self._logged += 1
        logger.info("worker_output", worker=self._worker, line=text)

    def _count_dropped(self) -> None:
        if self._dropped:
            logger.warning("worker_output_dropped", worker=self._worker, lines=self._dropped)
            self._dropped = 0
