"""A clock that stands still until a test turns it."""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_MARGIN = 0.25
"""Of a microsecond: whether a queue cuts the rest off or rounds it, it sees the same instant."""


class FakeClock:
    """The wall clock of a queue under test: it shows the same instant until `advance`.

        clock = FakeClock()
        queue = memory_queue(clock)
        await service.create_job("email.send", {}, scheduled_at=clock.now() + timedelta(days=1))
        clock.advance(86_400)

    It begins at the real time, so that what application code schedules by `datetime.now(UTC)` is
    due when one would think. `monotonic`, which times leases and `dequeue`, runs on by itself and
    is advanced along: nobody who waits for it waits for ever.
    """

    def __init__(self, start: datetime | None = None) -> None:
        """Show `start`, an aware datetime; the real time when left out.

        Raises:
            ValueError: `start` has no time zone.
        """
        if start is not None and start.utcoffset() is None:
            raise ValueError(f"start is {start.isoformat()} without a time zone; add tzinfo=UTC")
        at = datetime.now(UTC) if start is None else start
        self._micros = (at - _EPOCH) // _MICROSECOND
        self._advanced = 0.0

    def wall(self) -> float:
        """Seconds since 1970 UTC."""
        return (self._micros + _MARGIN) / 1_000_000

    def monotonic(self) -> float:
        """Seconds since some instant; never goes back."""
        return time.monotonic() + self._advanced

    def now(self) -> datetime:
        """The instant that it shows, aware, in UTC."""
        return _EPOCH + self._micros * _MICROSECOND

    def advance(self, by: float | timedelta) -> None:
        """Let so many seconds pass at once. A manager that waits for a job looks within a second.

        Raises:
            ValueError: it is negative or no finite number; time does not go back.
        """
        seconds = by.total_seconds() if isinstance(by, timedelta) else by
        if not (math.isfinite(seconds) and seconds >= 0):
            raise ValueError(f"cannot advance a clock by {by!r}; give seconds, 0 or more")
        self._micros += round(seconds * 1_000_000)
        self._advanced += seconds
