"""The watchman: looks at running workers from outside, and acts on what takes too long.

It never asks a worker, which may be blocked for good reason: it is shown the shared pages. It
looks every 10 ms while a worker holds more than it runs (someone may wait behind a long job), ten
times a second while anything runs, and not at all while the pool is idle.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from portico.ports.time_limits import TimeLimits
from portico.supervisor import wire
from portico.supervisor.scheduling import aftermath
from portico.supervisor.scheduling.assignment import Assignment, Fate
from portico.supervisor.scheduling.dispatch import QUANTUM, SOON
from portico.supervisor.scheduling.events import (
    Command,
    Looked,
    Note,
    Send,
    ShowStack,
    Started,
    condemn,
)
from portico.supervisor.scheduling.seat import Seat

KILL_AFTER = 2.0
"""Seconds that a job has to end after it was cancelled."""
_SLOW, _FAST = 0.1, QUANTUM
_LATE = 0.25
"""Seconds after which a look comes too late to be trusted."""
_PASSED_OVER = 3
"""Late looks in a row that are passed over."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How long things may take, in seconds; `None` sets no limit."""

    usual: TimeLimits
    """Of attempts that have none of their own."""
    on_failure_timeout: float
    unresponsive: float
    """In which a worker that runs nothing must start what it was given."""
    patience: float = 2.0
    """That leased jobs wait for a worker before they go back to the store."""


class Watch:
    """Deadlines and recalls."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.due: float | None = None
        """When to look next."""
        self._pace = 0.0
        self._late = 0

    def wake(self, now: float, *, closely: bool) -> None:
        """Look soon, as often as what the pool holds asks for."""
        pace = _FAST if closely else _SLOW
        if self.due is None or pace < self._pace:
            self._pace = pace
            self.due = now + pace

    def overslept(self, now: float) -> bool:
        """Whether this look is to be passed over: the process was stopped, or its loop blocked.

        Timers run first then, before the pipes and process handles are read, and what has ended
        meanwhile would be taken for overdue. A loop that is late every time has to look at last.
        """
        assert self.due is not None
        self._late = self._late + 1 if now - self.due > _LATE else 0
        self.due = None
        return 0 < self._late <= _PASSED_OVER

    def inspect(self, seats: Collection[Seat], seen: Looked, now: float) -> list[Command]:
        """What is to be done about the workers that hold something."""
        commands: list[Command] = []
        for seat in seats:
            if seat.inflight and not seat.condemned:
                started, limits = seen.started.get(seat.key, {}), seen.limits.get(seat.key, {})
                commands += self._inspect(seat, started, limits, now)
        return commands

    def _inspect(
        self, seat: Seat, started: Started, limits: Mapping[int, TimeLimits], now: float
    ) -> list[Command]:
        commands: list[Command] = []
        running = {s: started[s] for s in seat.inflight if s in started}
        load = seat.load
        longest = now - min(running.values(), default=now)
        load.late, load.stuck = longest > QUANTUM, longest > SOON
        if load.late and len(seat.inflight) > max(len(running), 1) and not seat.recalling:
            seat.recalling = True
            commands.append(Send(seat, wire.Recall()))
        commands += aftermath.end(seat, [seat.inflight[serial] for serial in running])
        for serial, since in running.items():
            own = limits.get(serial, self.limits.usual)
            commands += self._check(seat, seat.inflight[serial], own, since, now)
        waits_since = max(next(iter(seat.inflight.values())).since, seat.ended_at)
        if not running and now - waits_since > self.limits.unresponsive:
            silent = {"seconds": self.limits.unresponsive}
            commands.append(Note("error", "worker_unresponsive", seat, silent))
            commands += condemn(seat, "it did not start its job")
        return commands

    def _check(
        self, seat: Seat, assignment: Assignment, limits: TimeLimits, since: float, now: float
    ) -> list[Command]:
        if assignment.told_to_stop is not None:
            assert assignment.fate is not None
            if now - assignment.told_to_stop <= KILL_AFTER:
                return []
            if assignment.fate is Fate.CANCELLED and not assignment.reason:
                assignment.reason = assignment.fate.value  # at the next look its worker is killed
                return [ShowStack(seat)]
            return condemn(seat, assignment.fate.value)
        if assignment.goes_on:
            return []  # its worker is killed as soon as nothing else runs there
        if assignment.outcome is not None or assignment.failure is not None:
            if now - assignment.since > self.limits.on_failure_timeout + limits.kill_grace:
                job = {"job_id": assignment.lease.job_id}
                return [
                    Note("error", "on_failure_overdue", seat, job),
                    *condemn(seat, "on_failure ran past its deadline"),
                ]
        elif assignment.fate is not None:  # said at the look before this one
            return condemn(seat, assignment.fate.value)
        elif limits.hard is not None and now - since > limits.hard:
            assignment.fate = Fate.OVERDUE  # at the next look its worker is killed
            assignment.reason = _overdue_message(limits)
            return [ShowStack(seat), _overdue(seat, assignment, now - since)]
        return []


def _overdue_message(limits: TimeLimits) -> str:
    """What a job's error says when it was killed at its hard deadline."""
    return (
        f"ran past its deadline of {limits.job_timeout or 0:g} s and did not stop when it was "
        f"cancelled; its worker was killed {limits.kill_grace:g} s later"
    )


def _overdue(seat: Seat, assignment: Assignment, seconds: float) -> Note:
    lease = assignment.lease
    return Note("error", "job_overdue", seat, {
        "job_id": lease.job_id,
        "job_type": lease.job_type,
        "seconds": round(seconds, 1),
        "action": "its worker is killed, the job counts as failed",
    })  # fmt: skip
