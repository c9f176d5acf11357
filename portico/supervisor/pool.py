"""The pool of worker processes as a `JobExecutor`: assign, recall, watch deadlines, judge deaths.

    pipeline ─submit─► backlog ─assign─► worker ─frames─► outcomes ─finished─► pipeline
                          ▲                 │
                          └──── recall ─────┤ not started: another worker may have it
                                            └ dead: the running job is charged, and only that

Blame is exact. After a death the pipe has been read to its end, so every job whose handler had
returned is reported; the shared page says which of the others had been started; the rest goes to
another worker at once, uncharged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import monotonic

from portico.ports.job_executor import Completed, JobExecutor, Outcome, Released
from portico.ports.leasing import Failure, Lease
from portico.supervisor import claims, deadlines, dispatch, inquest, wire
from portico.supervisor.assignment import Assignment, Fate
from portico.supervisor.backlog import Backlog
from portico.supervisor.crew import Crew
from portico.supervisor.inquest import Death, Ruling
from portico.supervisor.member import Member, State
from portico.supervisor.process import Exit
from portico.supervisor.reports import Reports
from portico.utils.logging import get_logger

_KILL_AFTER = 2.0
"""Seconds from cancelling a job to killing its worker."""
_LONGEST_WAIT = 3600.0
"""Seconds: the loop has no timer for an endless one."""

logger = get_logger(__name__)


class ProcessPool(JobExecutor):
    """Runs jobs in the workers of a crew."""

    def __init__(
        self,
        crew: Crew,
        *,
        job_timeout: float | None,
        on_failure_timeout: float,
        kill_grace: float = 5.0,
        max_memory: int | None = None,
        on_request: Callable[[wire.Request, Callable[[wire.Answer], None]], None] | None = None,
    ) -> None:
        self._crew = crew
        self._watchman = deadlines.Watchman(
            self,
            job_timeout=job_timeout,
            kill_grace=kill_grace,
            on_failure_timeout=on_failure_timeout,
            max_memory=max_memory,
        )
        self._on_request = on_request
        self._loop = asyncio.get_running_loop()
        self._backlog = Backlog()
        self._reports = Reports()
        self._changed: Callable[[], None] = lambda: None
        self._turn_due = False
        self._draining = False
        self._drain_by = float("inf")
        self._settled = asyncio.Event()
        crew.on_ready = self._ready
        crew.on_message = self._received
        crew.on_death = self._lost

    # The executor's port

    def on_change(self, callback: Callable[[], None]) -> None:
        self._changed = callback

    def free(self) -> int:
        if self._draining:
            return 0
        loads = [member.load for member in self._crew.members]
        return dispatch.demand(loads, self._backlog.times, len(self._backlog))

    def submit(self, leases: Sequence[Lease]) -> None:
        if leases:
            for outcome in self._backlog.add(leases):
                self._reports.add(outcome)
            self._turn()

    def finished(self) -> list[Outcome]:
        return self._reports.take()

    def held(self) -> list[Lease]:
        given = [a for member in self._crew.members for a in member.inflight.values()]
        return [
            *self._backlog.jobs,
            *(
                a.lease
                for a in [*self._backlog.mourning, *given]
                if a.fate is not Fate.FORFEITED and (a.failure is None or a.outcome)
            ),
            *self._reports.leases(),
        ]

    def forfeit(self, leases: Sequence[Lease]) -> None:
        self._reports.forget({(lease.id, lease.token) for lease in leases})
        self._stop_jobs(leases, Fate.FORFEITED)

    def cancel(self, leases: Sequence[Lease]) -> None:
        self._stop_jobs(leases, Fate.CANCELLED)

    def mourn(self, lease: Lease, failure: Failure) -> None:
        self._mourn(lease, failure, None)
        self._turn_soon()

    async def drain(self, grace: float) -> None:
        first, self._draining = not self._draining, True
        self._drain_by = min(self._drain_by, monotonic() + grace)
        self._settled.set()  # wakes an earlier call, whose grace may be shorter now
        if first:
            self._release_backlog()
            self._recall_all()
        await self._wait_empty(lambda: self._drain_by)
        for mourning in self._backlog.take_mourning():
            self._report(mourning.outcome, mourning)
        for member in self._crew.members:
            for serial in member.inflight:
                member.process.send(wire.Cancel(serial, requested=False))
        by = monotonic() + _KILL_AFTER
        await self._wait_empty(lambda: by)
        for member in self._crew.members:
            if member.inflight:
                member.kill("the shutdown's grace is over")
        await self._wait_empty(lambda: float("inf"))

    # What the watchman sees, and may do

    @property
    def members(self) -> list[Member]:
        """The workers whose processes live."""
        return self._crew.members

    @property
    def waiting(self) -> int:
        """Leased jobs that no worker has been given yet."""
        return self._backlog.waiting

    @property
    def moved_at(self) -> float:
        """When a waiting job was given to a worker last."""
        return self._backlog.moved_at

    @property
    def running(self) -> int:
        """Jobs that workers hold."""
        return sum(len(member.inflight) for member in self._crew.members)

    @property
    def recalls(self) -> bool:
        """Whether a worker holds more than it can run at a time."""
        return any(m.load.jobs > m.load.slots for m in self._crew.members)

    def recall(self, member: Member) -> None:
        """Ask a worker for what it has not started, unless it still owes the last answer."""
        if not member.recalling:
            member.recalling = True
            member.process.send(wire.Recall())

    def release_backlog(self) -> None:
        """Give leased jobs back to the store: nobody here will come to them soon."""
        logger.debug("backlog_released", jobs=len(self._backlog))
        self._release_backlog()
        self._turn_soon()

    def recycle(self, member: Member, reason: str) -> None:
        """Have a worker replaced."""
        self._crew.recycle(member, reason)

    # Turns

    def _turn_soon(self) -> None:
        """Assign and report once, after all that arrived together."""
        if not self._turn_due:
            self._turn_due = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._turn_due = False
        self._backlog.assign(self._crew.members)
        self._watchman.wake()
        if self._draining and self._empty():
            self._settled.set()
        self._changed()

    # What workers say

    def _ready(self, member: Member) -> None:
        del member
        self._turn_soon()

    def _received(self, member: Member, message: wire.FromWorker) -> None:
        if flaw := claims.flaw(member, message):
            member.discredit(flaw)
        elif type(message) is wire.Done:  # as nearly every one is
            assignment = self._ended(member, message.serial, message.elapsed)
            self._report(Outcome(assignment.lease, Completed(message.result)), assignment)
        else:
            self._received_rarely(member, message)
        self._turn_soon()

    def _received_rarely(self, member: Member, message: wire.FromWorker) -> None:
        match message:
            case wire.Ended():
                self._attempt_ended(member, message)
            case wire.Mourned(serial):
                assignment = self._ended(member, serial)
                self._report(assignment.outcome, assignment)
            case wire.Recalled(serials, closing):
                self._recalled(member, serials, closing=closing)
            case wire.Request() if self._on_request is not None:
                self._on_request(message, member.process.send)
            case wire.Dumped(text):
                logger.info("worker_stacks", worker=member.number, stacks=text)

    def _ended(self, member: Member, serial: int, elapsed: float | None = None) -> Assignment:
        """Take back what has ended, and learn from it."""
        assignment = self._taken_back(member, serial)
        member.ended_at, member.load.blocked = monotonic(), False
        if elapsed is not None and 0.0 <= elapsed < float("inf"):
            self._backlog.times.learn(assignment.lease.job_type, elapsed)
        if member.retire_after is not None and assignment.failure is None:
            member.retire_after -= 1
            if member.retire_after <= 0:
                self._crew.recycle(member, "max jobs")
        return assignment

    def _taken_back(self, member: Member, serial: int) -> Assignment:
        assignment = member.inflight.pop(serial)
        size = 0 if assignment.failure else len(assignment.lease.payload)
        member.load.remove(assignment.estimate, size)
        return assignment

    def _attempt_ended(self, member: Member, ended: wire.Ended) -> None:
        assignment, verdict = member.inflight[ended.serial], ended.verdict()
        assert verdict is not None
        outcome = Outcome(assignment.lease, verdict)
        if ended.mourning:
            assignment.outcome = outcome
            assignment.since = monotonic()
        else:
            self._ended(member, ended.serial, ended.elapsed)
            self._report(outcome, assignment)

    def _recalled(self, member: Member, serials: Sequence[int], *, closing: bool) -> None:
        """Take back what was not started; the first of them is the next to be given away."""
        load, member.recalling = member.load, False
        load.open = load.open and not closing
        for serial in reversed(serials):
            self._give_back(self._taken_back(member, serial))
        if serials:
            load.blocked = 0 < load.jobs < load.slots

    def _give_back(self, assignment: Assignment) -> None:
        """Find a new place for something that has not been started."""
        if assignment.failure is not None and not self._stopped():
            self._backlog.mourning.appendleft(assignment)
        elif assignment.failure is not None:
            self._report(assignment.outcome, assignment)
        elif assignment.fate is not None or self._draining:
            self._report(Outcome(assignment.lease, Released()), assignment)
        else:
            self._backlog.put_back(assignment.lease)

    def _report(self, outcome: Outcome | None, assignment: Assignment | None = None) -> None:
        self._reports.add(outcome, assignment.fate if assignment else None)

    # Deaths

    def _lost(self, member: Member, status: Exit) -> None:
        """Act on what a worker's death means for what it held."""
        inflight, member.inflight = member.inflight, {}
        process, overdue = member.process, self._watchman.overdue_message()
        death = Death(str(status), member.condemned, overdue, process.output.since)
        conclusions = inquest.conclude(inflight, process.page.started(), death)
        for assignment, ruling, outcome, failure in reversed(conclusions):
            if ruling is Ruling.ELSEWHERE:
                self._give_back(assignment)
            elif ruling is Ruling.MOURN and failure is not None:
                self._mourn(assignment.lease, failure, outcome)
            else:
                if ruling is Ruling.HOOK_LOST:
                    logger.error("on_failure_cut_short", job_id=assignment.lease.job_id)
                self._report(outcome, assignment)
        self._turn_soon()

    def _mourn(self, lease: Lease, failure: Failure, outcome: Outcome | None) -> None:
        """Have `on_failure` run in a healthy worker, then report; at once where nobody listens."""
        if lease.job_type in self._crew.mourners and not self._stopped():
            self._backlog.mourning.append(Assignment.of_mourning(lease, failure, outcome))
        else:
            self._report(outcome)

    # Stopping

    def _stopped(self) -> bool:
        return self._draining and monotonic() >= self._drain_by

    def _stop_jobs(self, leases: Sequence[Lease], fate: Fate) -> None:
        tokens = {(lease.id, lease.token) for lease in leases}
        for lease in self._backlog.take(tokens):
            self._reports.add(Outcome(lease, Released()), fate)
        for mourning in self._backlog.mourning:
            if (mourning.lease.id, mourning.lease.token) in tokens:
                mourning.fate = fate
        for member in self._crew.members:
            for serial, assignment in member.inflight.items():
                held = (assignment.lease.id, assignment.lease.token) in tokens
                if held and (fate is Fate.FORFEITED or not assignment.fate):
                    assignment.fate = fate
                    assignment.told_to_stop = assignment.told_to_stop or monotonic()
                    member.process.send(wire.Cancel(serial, fate is Fate.CANCELLED))
        self._turn_soon()

    def _release_backlog(self) -> None:
        for lease in self._backlog.take_all():
            self._reports.add(Outcome(lease, Released()))

    def _recall_all(self) -> None:
        for member in self._crew.members:
            if member.state is State.READY and member.inflight:
                self.recall(member)

    def _empty(self) -> bool:
        return not self._backlog.mourning and not any(m.inflight for m in self._crew.members)

    async def _wait_empty(self, by: Callable[[], float]) -> None:
        while not self._empty() and monotonic() < by():
            self._settled.clear()
            seconds = min(by() - monotonic(), _LONGEST_WAIT)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._settled.wait(), seconds)
