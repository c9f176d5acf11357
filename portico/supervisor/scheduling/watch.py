"""The watchman: looks at running workers from outside, and acts on what takes too long.

It never asks a worker, which may be blocked for good reason: it is shown the shared pages, and goes
by what it saw there first (`sightings`). How long a job may take is told by its metadata, as the
store has them, and by what its worker said of its type before it ran anything. It
looks every 10 ms while a worker holds more than it runs (someone may wait behind a long job), ten
times a second while anything runs, and not at all while the pool is idle.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from portico.kits.job.decoding import limits_in
from portico.ports.document import EMPTY
from portico.ports.leasing import Lease
from portico.ports.time_limits import TimeLimits
from portico.supervisor.scheduling import aftermath, sightings
from portico.supervisor.scheduling.assignment import Assignment, Fate
from portico.supervisor.scheduling.dispatch import QUANTUM, SOON
from portico.supervisor.scheduling.events import (
    Command,
    Looked,
    Note,
    ShowStack,
    Started,
    condemn,
    recall,
)
from portico.supervisor.scheduling.seat import Seat
from portico.supervisor.scheduling.unstarted import NOT_STARTED

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
    max_job_timeout: float | None = None
    """What no attempt exceeds, whatever its type or job says."""
    on_failure_timeout: float
    unresponsive: float
    """In which a worker that runs nothing must start what it was given, or answer a recall."""
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
        self._cut: set[str] = set()
        """Job types of which it was told that one had its limit cut."""

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
            if seat.condemned:
                continue
            if seat.inflight:
                seat.silent_since = None
                commands += self._inspect(seat, seen.started.get(seat.key, {}), now)
            elif seat.recalling:
                commands += self._expect_answer(seat, now)
        return commands

    def _expect_answer(self, seat: Seat, now: float) -> list[Command]:
        """A worker that has nothing to do answers a recall at once, or it does nothing any more."""
        if seat.silent_since is None:
            seat.silent_since = now
        if now - seat.silent_since <= self.limits.unresponsive:
            return []
        return self._unresponsive(seat, "it answered nothing")

    def _unresponsive(self, seat: Seat, reason: str) -> list[Command]:
        silent = {"seconds": self.limits.unresponsive}
        return [Note("error", "worker_unresponsive", seat, silent), *condemn(seat, reason)]

    def _inspect(self, seat: Seat, page: Started, now: float) -> list[Command]:
        commands: list[Command] = []
        sightings.take_note(seat, page, now)
        running = sightings.running(seat, page)
        load = seat.load
        longest = now - min(running.values(), default=now)
        load.late, load.stuck = longest > QUANTUM, longest > SOON
        if load.late and len(seat.inflight) > max(len(running), 1):
            commands += recall([seat])
        commands += aftermath.end(seat, [seat.inflight[serial] for serial in running])
        for serial, since in running.items():
            assignment = seat.inflight[serial]
            if assignment.limits is None:
                commands += self._bound(seat, assignment)
            own = assignment.limits or self.limits.usual
            commands += self._check(seat, assignment, own, since, now)
        waits_since = max(next(iter(seat.inflight.values())).since, seat.ended_at)
        if not running and now - waits_since > self.limits.unresponsive:
            commands += self._unresponsive(seat, NOT_STARTED)
        return commands

    def _bound(self, seat: Seat, assignment: Assignment) -> list[Command]:
        """Find out how long an attempt may take that is seen running."""
        lease, usual, most = assignment.lease, self.limits.usual, self.limits.max_job_timeout
        asked = usual.narrowed(seat.told.limits.get(lease.job_type, {}))
        if lease.metadata != EMPTY:
            asked = asked.narrowed(limits_in(lease.metadata))
        assignment.limits = asked.within(most, usual.kill_grace)
        if assignment.limits == asked or lease.job_type in self._cut:
            return []
        self._cut.add(lease.job_type)
        return [_cut_short(seat, lease, asked, assignment.limits)]

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


def _cut_short(seat: Seat, lease: Lease, asked: TimeLimits, given: TimeLimits) -> Note:
    return Note("warning", "job_timeout_cut", seat, {
        "job_id": lease.job_id,
        "job_type": lease.job_type,
        "asked": asked.job_timeout,
        "asked_grace": asked.kill_grace,
        "given": given.job_timeout,
        "given_grace": given.kill_grace,
        "note": "it asks for more time than --max-job-timeout allows; said once for each type",
    })  # fmt: skip


def _overdue(seat: Seat, assignment: Assignment, seconds: float) -> Note:
    lease = assignment.lease
    return Note("error", "job_overdue", seat, {
        "job_id": lease.job_id,
        "job_type": lease.job_type,
        "seconds": round(seconds, 1),
        "action": "its worker is killed, the job counts as failed",
    })  # fmt: skip
