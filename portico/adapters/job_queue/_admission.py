"""What a queue takes in: how many jobs may wait in it, and how far ahead they may be scheduled.

Both bound what one tenant's flood costs the others. Neither applies to what is in the store
already: retries, releases and redriven jobs are never refused.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from time import monotonic
from typing import Generic, NamedTuple, TypeVar

from portico.exceptions import ConfigurationError, QueueFullError, ValidationError
from portico.ports.draft import Draft
from portico.utils.durations import seconds_of

OPTIONS = frozenset({"max_pending", "max_horizon"})
"""What of a queue's URL is about admission."""

_REST = 10
"""Times as long as a count of waiting jobs took, no other one is made: a flood against a full
queue would otherwise keep the store busy with counting."""
_MOST_KNOWN = 1000

Counted = TypeVar("Counted")


class Admission(NamedTuple):
    """The limits of every queue of one adapter; `None` for none."""

    max_pending: int | None = None
    """Jobs that may wait in each queue: PENDING, SCHEDULED and RETRYING."""
    max_horizon: float | None = None
    """Seconds."""

    @classmethod
    def of(cls, url: str, options: Mapping[str, str]) -> Admission:
        """Read the options of a queue's URL.

        Raises:
            ConfigurationError: a value is not usable.
        """
        pending, horizon = options.get("max_pending"), options.get("max_horizon")
        if pending is not None and not re.fullmatch("[1-9][0-9]{0,17}", pending):
            raise ConfigurationError(
                f"queue URL {url!r} has max_pending={pending!r}; give a number of jobs, at least 1"
            )
        return cls(
            None if pending is None else int(pending),
            None if horizon is None else _horizon(url, horizon),
        )

    def check_horizon(self, drafts: Sequence[Draft], now: float) -> None:
        """Hold drafts against the horizon; `now` in seconds since 1970.

        Raises:
            ValidationError: one is scheduled too far ahead.
        """
        if self.max_horizon is None:
            return
        for draft in drafts:
            if draft.delay is not None:
                too_far, field = draft.delay > self.max_horizon * 1_000_000, "delay"
                said = str(timedelta(microseconds=draft.delay))
            elif draft.scheduled_at is not None:
                due, field = draft.scheduled_at, "scheduled_at"
                too_far, said = due.timestamp() > now + self.max_horizon, due.isoformat()
            else:
                continue
            if too_far:
                raise ValidationError(
                    f"{field} is {said}, and this queue takes jobs at most "
                    f"{timedelta(seconds=self.max_horizon)} ahead; create the job later, or raise "
                    "max_horizon in the queue's URL",
                    {"field": field, "job_id": str(draft.id)},
                )


def _horizon(url: str, said: str) -> float:
    try:
        seconds = seconds_of(said)
    except ValueError as way_out:
        raise ConfigurationError(f"queue URL {url!r} has max_horizon={said!r}; {way_out}") from None
    if seconds < 1:
        raise ConfigurationError(
            f"queue URL {url!r} has max_horizon={said!r}; give at least one second"
        )
    return seconds


def full(queue_name: str, waiting: int, more: int, max_pending: int) -> QueueFullError:
    """The error for jobs that do not fit into a queue any more."""
    return QueueFullError(
        f"queue {queue_name!r} has {waiting:,} waiting jobs and takes {max_pending:,}; {more:,} "
        "more do not fit: try again when some have run, start more workers, or raise max_pending "
        "in the queue's URL",
        {"queue_name": queue_name, "max_pending": max_pending},
    )


class _Room:
    """What a count of waiting jobs left free, and how much of that is unused."""

    __slots__ = ("again_at", "free", "left")

    def __init__(self, free: int, again_at: float) -> None:
        self.free = self.left = free
        self.again_at = again_at


class Rooms:
    """Holds inserts against `max_pending` where counting is not free.

    What a count found free is used up before the next one, a quarter at most when others might
    insert too: so several processes together may pass the limit by a part of it, and one alone
    does not.

    Args:
        max_pending: the limit of each queue.
    """

    def __init__(self, max_pending: int) -> None:
        self._max_pending = max_pending
        self._rooms: dict[str, _Room] = {}

    def uncounted(self, drafts: Sequence[Draft]) -> list[str]:
        """The queues whose waiting jobs are to be counted before these are let in."""
        wanted = Counter(draft.queue_name for draft in drafts)
        return [name for name, more in wanted.items() if not self._is_known(name, more)]

    def counted(self, queue_name: str, waiting: int, took: float) -> None:
        """So many jobs wait in a queue; to count them took so many seconds."""
        if len(self._rooms) >= _MOST_KNOWN:
            self._rooms.clear()
        free = max(0, self._max_pending - waiting)
        self._rooms[queue_name] = _Room(free, monotonic() + _REST * took)

    def refusal(self, drafts: Sequence[Draft]) -> QueueFullError | None:
        """Why these may not all come in; `None`: they may, and their room is taken."""
        wanted = Counter(draft.queue_name for draft in drafts)
        for name, more in wanted.items():
            left = self._left(name)
            if left < more:
                return full(name, self._max_pending - left, more, self._max_pending)
        for name, more in wanted.items():
            if name in self._rooms:
                self._rooms[name].left -= more
        return None

    def _left(self, queue_name: str) -> int:
        room = self._rooms.get(queue_name)
        return self._max_pending if room is None else room.left

    def _is_known(self, queue_name: str, more: int) -> bool:
        room = self._rooms.get(queue_name)
        return room is not None and (
            monotonic() < room.again_at or (room.left >= more and 4 * room.left >= 3 * room.free)
        )


class Gate(Generic[Counted]):
    """The rooms of a store that counts while the caller waits.

    Args:
        max_pending: the limit of each queue.
        count: how many jobs wait in a queue of a store, told up to a number that is enough.
    """

    def __init__(self, max_pending: int, count: Callable[[Counted, str, int], int]) -> None:
        self._max_pending = max_pending
        self._count = count
        self._rooms = Rooms(max_pending)

    def refusal(self, store: Counted, drafts: Sequence[Draft]) -> QueueFullError | None:
        """Why these may not all come in; `None`: they may, and their room is taken."""
        for name in self._rooms.uncounted(drafts):
            began = monotonic()
            waiting = self._count(store, name, self._max_pending)
            self._rooms.counted(name, waiting, monotonic() - began)
        return self._rooms.refusal(drafts)
