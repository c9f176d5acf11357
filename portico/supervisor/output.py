"""What a process of ours prints: read from its stdout and stderr, and logged line by line.

A worker that floods is read all the same (a full pipe would block it), but only so many lines a
second are logged; the rest is counted, at the price of a search for newlines. The last lines are
kept for whoever asks why it died.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any

from portico.supervisor.printing import NOBODY, Job, Piece, Reader
from portico.supervisor.relay import Vouch
from portico.utils.logging import get_logger

_READ = 16 * 1024
"""Bytes of a turn: a thousand pieces at most, each of which may have to be asked about."""
_LAST_READS = 64
"""Reads after a death: as many as the largest pipe can hold that a worker can make of it."""
_LINES_PER_SECOND = 200
_LONGEST_LINE = 2000
"""Characters of a line that are logged: of a longer one its beginning and its end."""
_LONGEST_REST = 16 * 1024
"""Bytes of a line without an end that are waited for."""
_MOST_RESTS = 100
"""Jobs whose last line has no end yet."""
_KEPT = 250
"""More than the deepest stack that a fault handler writes, which begins with what matters most."""

logger = get_logger(__name__)


class OutputLog:
    """The output of one process: a worker, or without a number the one that has loaded the app."""

    def __init__(
        self,
        worker: int | None = None,
        vouch: Vouch = lambda *_: NOBODY,
        runs: Callable[[], Job] = lambda: NOBODY,
    ) -> None:
        """Build it.

        Args:
            worker: its number.
            vouch: whose output it is that says so; it may lie.
            runs: whose it must be that does not: asked as it arrives.
        """
        self._facts = {} if worker is None else {"worker": worker}
        self._event = "application_output" if worker is None else "worker_output"
        self.reader = Reader()
        self._vouch = vouch
        self._runs = runs
        self._arrived: list[Piece] = []
        self._rests: dict[Job, bytes] = {}
        self._bare = NOBODY
        """Whose bare output came last."""
        self._second = 0
        self._logged = 0
        self._dropped = 0
        self._last: deque[tuple[float, str]] = deque(maxlen=_KEPT)

    def read(self, fd: int) -> bool:
        """Take what is there, a bounded amount; `False` at the end of the stream."""
        try:
            return self._read(fd)
        finally:
            self._take_all()

    def read_last(self, fd: int) -> None:
        """Take what a process has left that is gone; its children may go on writing for ever."""
        for _ in range(_LAST_READS):
            if not self._read(fd):
                break
        self._take_all()

    def _read(self, fd: int) -> bool:
        try:
            data = os.read(fd, _READ)
        except BlockingIOError:
            return True
        except OSError:
            return False
        self._arrived.extend(self.reader.feed(data))
        return bool(data)

    def take_bare(self, line: bytes) -> None:
        """Take a whole line that has come by another way, and does not say whose it is."""
        self._lines(line, self._runs())

    def since(self, instant: float) -> str:
        """The last lines, at most 250, as far as they came after this `time.monotonic()`.

        Where a worker died, they hold what its fault handler wrote: the Python stack.
        """
        return "\n".join(line for at, line in self._last if at >= instant)

    def flush(self) -> None:
        """Log what has no end, and how many lines were dropped."""
        self._arrived.extend(self.reader.close())
        self._take_all()
        for job in list(self._rests):
            self._end(job)
        self._count_dropped()

    def note(self, event: str, **values: Any) -> None:
        """Log something about this process that is no output of its own."""
        logger.error(event, **self._facts, **values)

    def _take_all(self) -> None:
        """Take what has arrived, its last pieces first asked whether they claim the others."""
        pieces, self._arrived = self._arrived, []
        claimed: list[Job | None] = [None]
        for piece in reversed(pieces):
            claimed.append(piece.job if piece.claims else claimed[-1])
        for piece, claimer in zip(pieces, reversed(claimed[:-1]), strict=True):
            self._take(piece, claimer)

    def _take(self, piece: Piece, claimer: Job | None) -> None:
        job = self._whose(piece.job) or self._whose_bare(claimer)
        whole, end, rest = (self._rests.pop(job, b"") + piece.text).rpartition(b"\n")
        if end:
            self._lines(whole, job)
        if len(rest) > _LONGEST_REST:
            self._line(rest, job, goes_on=True)
        elif rest:
            self._rests[job] = _latest(rest)
        if piece.over or len(self._rests) > _MOST_RESTS:
            self._end(job)

    def _whose(self, said: Job | None) -> Job | None:
        """Whose output this is, where it says so."""
        if said is None:
            return None
        return NOBODY if said.job_id is None else self._vouch(said.job_id, said.attempt)

    def _whose_bare(self, claimer: Job | None) -> Job:
        """Whose output this is: of the job that claims it, or else of the one that runs now.

        What another one left without an end is a line of its own.
        """
        job = self._whose(claimer) or self._runs()
        if job != self._bare:
            self._end(self._bare)
            self._bare = job
        return job

    def _end(self, job: Job) -> None:
        """A job has no more to say: what it said last is a line."""
        if rest := self._rests.pop(job, b""):
            self._line(rest, job)

    def _lines(self, whole: bytes, job: Job) -> None:
        """Log the lines of a text, as many as may be; of the others the last ones are kept."""
        room = self._room()
        lines = whole.split(b"\n", room)
        for line in lines[:room]:
            self._line(line, job)
        for rest in lines[room:]:
            self._dropped += rest.count(b"\n") + 1
            now = monotonic()
            self._last.extend((now, _text(line)) for line in rest.rsplit(b"\n", _KEPT)[-_KEPT:])

    def _line(self, line: bytes, job: Job, *, goes_on: bool = False) -> None:
        text = _text(line)
        self._last.append((monotonic(), text))
        if not self._room():
            self._dropped += 1
            return
        self._logged += 1
        facts = {**self._facts, **job.facts(), **({"goes_on": True} if goes_on else {})}
        logger.info(self._event, **facts, line=text)

    def _room(self) -> int:
        """How many more lines may be logged in this second."""
        second = int(monotonic())
        if second != self._second:
            self._count_dropped()
            self._second, self._logged = second, 0
        return _LINES_PER_SECOND - self._logged

    def _count_dropped(self) -> None:
        if self._dropped:
            logger.warning("worker_output_dropped", **self._facts, lines=self._dropped)
            self._dropped = 0


def _text(line: bytes) -> str:
    """A line as it is told."""
    return _cut(_shown(line).decode("utf-8", "replace"))


def _shown(line: bytes) -> bytes:
    """What a terminal would show of a line: a carriage return begins it anew."""
    return _latest(line).rstrip(b"\r")


def _latest(rest: bytes) -> bytes:
    """Of a line that was begun anew, as progress bars do again and again, what came last."""
    return rest[rest.rstrip(b"\r").rfind(b"\r") + 1 :]


def _cut(line: str) -> str:
    """A line with its middle cut out, where it is long; both ends are kept, and it says so."""
    over = len(line) - _LONGEST_LINE
    if over <= 0:
        return line
    half = _LONGEST_LINE // 2
    return f"{line[:half]}...[{over} characters cut]...{line[-half:]}"
