"""The log of one worker: its lines come through a pipe of its own, and its supervisor writes them.

    logger ──► one JSON object, one line ──► pipe ──► LogRelay ──► the supervisor's log

So nothing that a handler does to its end of the pipe reaches the log of others, and whose a line is
stands there in the supervisor's words: `worker`, `origin`, and the job, where the worker has it.
What is no line of ours is told as output of the worker.

A worker may log as much as its share (`_RATE`). Then its pipe is left full for a moment: it waits,
as for a slow disk, and what it waits for too long it drops and counts itself (see `PipeOutput`).
"""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from time import monotonic
from typing import Any

import msgspec

from portico.supervisor.printing import NOBODY, Job
from portico.utils.log_chain import OF_THE_JOB, SAID, timestamp
from portico.utils.logging import get_logger, relay

ORIGIN = "worker"
"""What a line says that the supervisor has only passed on; no line of its own has an `origin`."""

_READ = 64 * 1024
_LONGEST = 64 * 1024
"""Bytes of a line."""
_LAST_READS = 16
"""Reads after a death: as many as the largest pipe can hold that a worker can make of it."""
_RATE = 4000.0
"""Lines a second, and half of that in KiB, that a worker may log; as many at once, when it has been
quiet."""
_AT_ONCE = 200
"""Of them in one turn of the loop."""
_KIB_PER_LINE = 0.5
_MOST_FIELDS = 200
_PAUSE = 0.02
"""Seconds for which a pipe is left alone whose worker has used up its share."""

_LEVEL = re.compile(r"[\w ]{1,16}", re.ASCII)
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", re.ASCII)

Vouch = Callable[[str, object], Job]
"""The job of this id and attempt, if the worker has it; or else the one that it runs."""

logger = get_logger(__name__)
_decode = msgspec.json.Decoder(dict[str, Any]).decode


class Share:
    """How much one worker may log now."""

    def __init__(self) -> None:
        self._left = _RATE
        self._at = monotonic()

    def room(self) -> float:
        """Lines that it may log at once."""
        now = monotonic()
        self._left = min(_RATE, self._left + (now - self._at) * _RATE)
        self._at = now
        return self._left

    def take(self, size: int) -> None:
        """It has logged one of so many bytes."""
        self._left -= cost(size)


def cost(size: int) -> float:
    """What a line of so many bytes takes of a share."""
    return 1.0 + size / (1024 * _KIB_PER_LINE)


class LogRelay:
    """Reads what a worker logs, and passes it on."""

    def __init__(self, worker: int, vouch: Vouch, stray: Callable[[bytes], None]) -> None:
        """Build it.

        Args:
            worker: its number.
            vouch: whose a line is, that says it is of a job.
            stray: takes what is no line of a log.
        """
        self._worker = worker
        self._vouch = vouch
        self._stray = stray
        self._since = timestamp(datetime.now(UTC))
        self._rest = b""
        self._waiting: deque[bytes] = deque()
        self._share = Share()

    @property
    def pause(self) -> float:
        """Seconds for which nothing more is to be read; zero: read on."""
        return _PAUSE if self._waiting else 0.0

    def read(self, fd: int) -> bool:
        """Pass on what waits, and then what is there; a bounded amount. `False` at the end."""
        self._pass_on(_AT_ONCE)
        return bool(self._waiting) or self._read(fd, _AT_ONCE)

    def read_last(self, fd: int) -> None:
        """Its process is gone: pass on what is there, and of too much the last of it."""
        for _ in range(_LAST_READS):
            if not self._read(fd, 0):
                break
        if self._rest:
            self._waiting.append(self._rest)
            self._rest = b""
        lost, over = 0, sum(cost(len(line)) for line in self._waiting) - self._last_room()
        while over > 0:
            over -= cost(len(self._waiting.popleft()))
            lost += 1
        if lost:
            logger.warning("worker_log_dropped", worker=self._worker, lines=lost)
        while self._waiting:
            self._tell(self._waiting.popleft())

    def _last_room(self) -> float:
        return max(self._share.room(), _AT_ONCE)

    def _read(self, fd: int, at_once: float) -> bool:
        try:
            data = os.read(fd, _READ)
        except BlockingIOError:
            return True
        except OSError:
            return False
        whole, end, rest = (self._rest + data).rpartition(b"\n")
        if end:
            self._waiting.extend(filter(None, whole.split(b"\n")))
        if len(rest) > _LONGEST:
            self._waiting.append(rest)
            rest = b""
        self._rest = rest
        self._pass_on(at_once)
        return bool(data)

    def _pass_on(self, at_once: float) -> None:
        room = min(at_once, self._share.room())
        while self._waiting and room >= 1.0:
            line = self._waiting.popleft()
            room -= cost(len(line))
            self._share.take(len(line))
            self._tell(line)

    def _tell(self, line: bytes) -> None:
        fields = fields_of(line)
        if fields is None:
            self._stray(line)
            return
        job = NOBODY
        if fields.get("job_id") is not None:
            attempt = fields.get("attempt")
            said = attempt if isinstance(attempt, int) else None
            job = self._vouch(_text(fields["job_id"]), said)
        relay(bound(fields, self._worker, job, (self._since, timestamp(datetime.now(UTC)))))


def fields_of(line: bytes) -> dict[str, Any] | None:
    """A line's fields; `None` where it is not what a logger of ours writes."""
    try:
        fields = _decode(line)
    except (ValueError, RecursionError):
        return None
    return fields if "event" in fields and len(fields) <= _MOST_FIELDS else None


def bound(
    fields: Mapping[str, Any], worker: int, job: Job, span: tuple[str, str]
) -> dict[str, Any]:
    """A line's fields as they are told: of this worker and this job, whatever they said of that.

    Args:
        fields: what the worker has written.
        worker: its number.
        job: whose line it is.
        span: the instants between which it was written.
    """
    first, last = span
    ours = {"worker": worker, "origin": ORIGIN, **job.facts()}
    theirs = {key: value for key, value in fields.items() if key not in ours}
    said = {
        SAID + key: fields[key]
        for key in ours
        if key in fields and _text(fields[key]) != str(ours[key])
    }
    if job is NOBODY and "job_id" in fields:
        said |= {SAID + key: theirs.pop(key) for key in OF_THE_JOB if key in theirs}
    level, instant = fields.get("level"), _text(fields.get("timestamp", ""))
    if not (_INSTANT.fullmatch(instant) and first <= instant <= last):
        instant = last
    return {
        **theirs,
        **said,
        **ours,
        "logger": _text(fields.get("logger", "")),
        "event": _text(fields["event"]),
        "level": level if isinstance(level, str) and _LEVEL.fullmatch(level) else "info",
        "timestamp": instant,
    }


def _text(value: object) -> str:
    """The text of a value that was read from JSON, which may be nested too deep to have one."""
    try:
        return str(value)
    except (RecursionError, ValueError):  # the other: of numbers with thousands of digits
        return "..."
