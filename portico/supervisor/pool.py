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
from time import monotonic

from portico.ports.job_executor import (
    Completed,
    Failed,
    JobExecutor,
    Outcome,
    Released,
)
from portico.ports.leasing import CANCELLED, Failure, Lease
from portico.supervisor import deadlines, dispatch, inquest, wire
from portico.supervisor.assignment import Assignment, Fate
from portico.supervisor.backlog import Backlog
from portico.supervisor.crew import Crew, Member, State
from portico.supervisor.inquest import Ruling
from portico.supervisor.process import Exit
from portico.utils.logging import get_logger

_KILL_AFTER = 2.0
"""Seconds from cancelling a job to killing its worker."""

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
        self._outcomes: list[Outcome] = []
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
            self._backlog.add(leases)
            self._turn()

    def finished(self) -> list[Outcome]:
        outcomes, self._outcomes = self._outcomes, []
        return outcomes

    def held(self) -> list[Lease]:
        held = list(self._backlog.jobs)
        held += [a.lease for a in self._backlog.mourning if a.outcome]
        for member in self._crew.members:
            held += [
                a.lease
                for a in member.inflight.values()
                if a.fate is not Fate.FORFEITED and (a.failure is None or a.outcome)
            ]
        held += [outcome.lease for outcome in self._outcomes]
        return held

    def forfeit(self, leases: Sequence[Lease]) -> None:
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
        for member in self._crew.members:
            for serial in member.inflight:
                member.process.send(wire.Cancel(serial, requested=False))
        by = monotonic() + _KILL_AFTER
        await self._wait_empty(lambda: by)
        for member in self._crew.members:
            if member.inflight:
                member.kill("the shutdown's grace is over")
        await self._wait_empty(lambda: float("inf"))
        while self._backlog.mourning:
            self._report(self._backlog.mourning.popleft().outcome)

    # What the watchman sees, and may do

    @property
    def members(self) -> list[Member]:
        """The workers whose processes live."""
        return self._crew.members

    @property
    def waiting(self) -> int:
        """Leased jobs that no worker has been given yet."""
        return len(self._backlog.jobs)

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
        match message:
            case wire.Done(serial, result, elapsed):
                if assignment := self._ended(member, serial, elapsed):
                    self._report(Outcome(assignment.lease, Completed(result)), assignment)
            case wire.Ended():
                self._attempt_ended(member, message)
            case wire.Mourned(serial):
                if assignment := self._ended(member, serial):
                    self._report(assignment.outcome, assignment)
            case wire.Recalled(serials):
                self._recalled(member, serials)
            case wire.Request():
                if self._on_request is not None:
                    self._on_request(message, member.process.send)
                return
            case wire.Dumped(text):
                logger.info("worker_stacks", worker=member.number, stacks=text)
                return
        self._turn_soon()

    def _ended(
        self, member: Member, serial: int, elapsed: float | None = None
    ) -> Assignment | None:
        """Take back what a worker says has ended; a serial it does not hold condemns it."""
        assignment = member.inflight.pop(serial, None)
        if assignment is None:
            logger.error("frame_invalid", worker=member.number, error=f"no job has serial {serial}")
            member.kill("it reported a job that it does not hold")
            return None
        lease, load = assignment.lease, member.load
        load.remove(assignment.estimate, 0 if assignment.failure else len(lease.payload))
        if load.late and not member.inflight:
            load.late = load.stuck = False
        if elapsed is not None and 0.0 <= elapsed < float("inf"):
            self._backlog.times.learn(lease.job_type, elapsed)
        if member.retire_after is not None and assignment.failure is None:
            member.retire_after -= 1
            if member.retire_after == 0:
                self._crew.recycle(member, "max jobs")
        return assignment

    def _attempt_ended(self, member: Member, ended: wire.Ended) -> None:
        verdict = ended.verdict()
        assignment = member.inflight.get(ended.serial)
        if verdict is None or assignment is None:
            logger.error(
                "frame_invalid", worker=member.number, error=f"{ended.kind} {ended.serial}"
            )
            member.kill("it reported an end that there is not")
            return
        outcome = Outcome(assignment.lease, verdict)
        if ended.mourning:
            assignment.outcome = outcome
            assignment.since = monotonic()
        elif self._ended(member, ended.serial, ended.elapsed):
            self._report(outcome, assignment)

    def _recalled(self, member: Member, serials: Sequence[int]) -> None:
        """Take back what was not started; the first of them is the next to be given away."""
        member.recalling = False
        for serial in reversed(serials):
            assignment = self._ended(member, serial)
            if assignment is not None:
                self._give_back(assignment)

    def _give_back(self, assignment: Assignment) -> None:
        """Find a new place for something that has not been started."""
        if assignment.failure is not None:
            self._backlog.mourning.appendleft(assignment)
        elif assignment.fate is not None or self._draining:
            self._report(Outcome(assignment.lease, Released()), assignment)
        else:
            self._backlog.jobs.appendleft(assignment.lease)

    def _report(self, outcome: Outcome | None, assignment: Assignment | None = None) -> None:
        """Queue an outcome, seen in the light of what was decided about the attempt before."""
        fate = assignment.fate if assignment else None
        if outcome is None or fate is Fate.FORFEITED:
            return
        if fate is Fate.CANCELLED and not isinstance(outcome.verdict, Completed):
            outcome = Outcome(outcome.lease, Failed(CANCELLED, retryable=False))
        self._outcomes.append(outcome)

    # Deaths

    def _lost(self, member: Member, status: Exit) -> None:
        """Act on what a worker's death means for what it held."""
        inflight, member.inflight = member.inflight, {}
        conclusions = inquest.conclude(
            inflight,
            member.process.page.started(),
            str(status),
            member.condemned,
            self._watchman.overdue_message(),
        )
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
            assignment = Assignment(lease, None)
            assignment.fate = fate
            self._report(Outcome(lease, Released()), assignment)
        for member in self._crew.members:
            for serial, assignment in member.inflight.items():
                if (assignment.lease.id, assignment.lease.token) in tokens and not assignment.fate:
                    assignment.fate = fate
                    assignment.told_to_stop = monotonic()
                    member.process.send(wire.Cancel(serial, fate is Fate.CANCELLED))
        self._turn_soon()

    def _release_backlog(self) -> None:
        self._outcomes += [Outcome(lease, Released()) for lease in self._backlog.take_all()]

    def _recall_all(self) -> None:
        for member in self._crew.members:
            if member.state is State.READY and member.inflight:
                self.recall(member)

    def _empty(self) -> bool:
        return not self._backlog.mourning and not any(m.inflight for m in self._crew.members)

    async def _wait_empty(self, by: Callable[[], float]) -> None:
        while not self._empty() and monotonic() < by():
            self._settled.clear()
            try:
                await asyncio.wait_for(self._settled.wait(), min(by() - monotonic(), 3600.0))
            except TimeoutError:
                return
