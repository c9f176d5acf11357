"""The watchman: looks at running workers from outside, and acts on what takes too long.

It never asks a worker, which may be blocked for good reason: it reads the shared page. It looks
every 10 ms while a worker holds more than it runs (someone may wait behind a long job), ten times
a second while anything runs, and not at all while the pool is idle.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Protocol

import psutil

from portico.supervisor.assignment import Assignment, Fate
from portico.supervisor.birth import SIGNAL_FOR_STACKS
from portico.supervisor.dispatch import QUANTUM, SOON
from portico.supervisor.member import Member, State
from portico.utils.logging import get_logger

_KILL_AFTER = 2.0
"""Seconds that a job has to end after it was cancelled."""
_UNRESPONSIVE = 30.0
"""Seconds in which a worker that runs nothing must start what it was given."""
_PATIENCE = 2.0
"""Seconds that leased jobs wait for a worker before they go back to the store."""
_SLOW, _FAST = 0.1, QUANTUM
_LATE = 0.25
_MEMORY_EVERY = 1.0

logger = get_logger(__name__)


class Post(Protocol):
    """What the watchman sees of the pool, and may do to it."""

    @property
    def moved_at(self) -> float: ...
    @property
    def members(self) -> list[Member]: ...
    @property
    def waiting(self) -> int: ...
    @property
    def recalls(self) -> bool: ...
    def recall(self, member: Member) -> None: ...
    def release_backlog(self) -> None: ...
    def recycle(self, member: Member, reason: str) -> None: ...


class Watchman:
    """Deadlines, recalls, memory."""

    def __init__(
        self,
        pool: Post,
        *,
        job_timeout: float | None,
        kill_grace: float,
        on_failure_timeout: float,
        max_memory: int | None,
    ) -> None:
        self._pool = pool
        self._job_timeout = job_timeout
        self._kill_grace = kill_grace
        self._on_failure_timeout = on_failure_timeout
        self._max_memory = max_memory
        self._weighed_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._pace = 0.0
        self._due = 0.0
        self._passed_over = False

    def overdue_message(self) -> str:
        """What a job's error says when it was killed at its hard deadline."""
        return (
            f"ran past its deadline of {self._job_timeout or 0:g} s and did not stop when it was "
            f"cancelled; its worker was killed {self._kill_grace:g} s later"
        )

    def wake(self) -> None:
        """Look soon, as often as what the pool holds asks for."""
        pace = _FAST if self._pool.recalls else _SLOW
        if self._timer is not None:
            if self._pace <= pace:
                return
            self._timer.cancel()
        self._pace = pace
        self._due = monotonic() + pace
        self._timer = asyncio.get_running_loop().call_later(pace, self._look)

    def _look(self) -> None:
        self._timer = None
        now = monotonic()
        if self._overslept(now):
            self.wake()
            return
        busy = False
        for member in self._pool.members:
            if member.inflight:
                busy = True
                if not member.condemned:
                    self._inspect(member, now)
        if self._pool.waiting and now - self._pool.moved_at > _PATIENCE:
            self._pool.release_backlog()
        if self._max_memory is not None and now - self._weighed_at >= _MEMORY_EVERY:
            self._weighed_at = now
            self._weigh()
        if busy or self._pool.waiting:
            self.wake()

    def _overslept(self, now: float) -> bool:
        """Whether this look is to be passed over: the process was stopped, or its loop blocked.

        Timers run first then, before the pipes and process handles are read, and what has ended
        meanwhile would be taken for overdue.
        """
        self._passed_over = now - self._due > _LATE and not self._passed_over
        return self._passed_over

    def _inspect(self, member: Member, now: float) -> None:
        started = member.process.page.started()
        running = {s: started[s] for s in member.inflight if s in started}
        load = member.load
        longest = now - min(running.values(), default=now)
        load.late, load.stuck = longest > QUANTUM, longest > SOON
        if load.late and len(member.inflight) > max(len(running), 1):
            self._pool.recall(member)
        for serial, since in running.items():
            self._check(member, member.inflight[serial], since, now)
        waits_since = max(next(iter(member.inflight.values())).since, member.ended_at)
        if not running and now - waits_since > _UNRESPONSIVE:
            logger.error("worker_unresponsive", worker=member.number, pid=member.process.pid)
            member.kill("it did not start its job")

    def _check(self, member: Member, assignment: Assignment, since: float, now: float) -> None:
        if assignment.told_to_stop is not None:
            assert assignment.fate is not None
            if now - assignment.told_to_stop > _KILL_AFTER:
                member.kill(assignment.fate.value)
        elif assignment.outcome is not None or assignment.failure is not None:
            if now - assignment.since > self._on_failure_timeout + self._kill_grace:
                logger.error("on_failure_overdue", job_id=assignment.lease.job_id)
                member.kill("on_failure ran past its deadline")
        elif assignment.fate is Fate.OVERDUE:
            member.kill(assignment.fate.value)
        elif self._job_timeout is not None and now - since > self._job_timeout + self._kill_grace:
            assignment.fate = Fate.OVERDUE
            member.process.kill(SIGNAL_FOR_STACKS)  # at the next look it is killed
            logger.error(
                "job_overdue",
                job_id=assignment.lease.job_id,
                job_type=assignment.lease.job_type,
                worker=member.number,
                seconds=round(now - since, 1),
                action="its worker is killed, the job counts as failed",
            )

    def _weigh(self) -> None:
        assert self._max_memory is not None
        for member in self._pool.members:
            if member.state is State.READY:
                try:
                    resident = psutil.Process(member.process.pid).memory_info().rss
                except psutil.Error:
                    continue
                if resident > self._max_memory:
                    self._pool.recycle(member, f"resident size {resident // 2**20} MiB")
