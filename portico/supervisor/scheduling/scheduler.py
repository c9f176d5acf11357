"""The scheduling core: told events, it answers with commands.

    Leased ──► backlog ──Turn──► Send(Run) ──► worker
                  ▲                               │ Said
                  ├──── Recalled: not started ────┤ Done, Ended ──► outcomes ──► take()
                  └──── Died: not started ────────┘ Died: the running job is charged, and only it

Blame is exact. `Died` comes after everything the worker wrote, so every job whose handler had
returned is reported; `started` says which of the others had begun; the rest goes to another
worker at once, uncharged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf
from typing import Any

from portico.ports.job_executor import Outcome, Quarantined
from portico.ports.leasing import Failure, Lease
from portico.supervisor import wire
from portico.supervisor.scheduling import (
    aftermath,
    claims,
    dispatch,
    events,
    inquest,
    service,
    sightings,
    successes,
    withdrawal,
)
from portico.supervisor.scheduling.assignment import Assignment, Fate
from portico.supervisor.scheduling.backlog import Backlog
from portico.supervisor.scheduling.confinement import Blame, blamed
from portico.supervisor.scheduling.events import Command, Event, Note, cancel, condemn, recall
from portico.supervisor.scheduling.inquest import Death, Ruling
from portico.supervisor.scheduling.inventory import leases_held
from portico.supervisor.scheduling.memory import Bounds, Memory
from portico.supervisor.scheduling.overview import Overview
from portico.supervisor.scheduling.phase import Phase
from portico.supervisor.scheduling.reports import Reports
from portico.supervisor.scheduling.seat import Seat
from portico.supervisor.scheduling.unstarted import Unstarted
from portico.supervisor.scheduling.watch import KILL_AFTER, Limits, Watch


class Scheduler(Overview):
    """Decides what every worker of a pool does, and what becomes of every leased job."""

    def __init__(self, limits: Limits, bounds: Bounds | None = None) -> None:
        self._watch = Watch(limits)
        self._memory = Memory(bounds or Bounds())
        self._seats: dict[int, Seat] = {}
        self._reports = Reports()
        self._backlog = Backlog(self._reports.add)
        self._unstarted = Unstarted()
        self._mourners: frozenset[str] = frozenset()
        self._phase = Phase.WORKING
        self._phase_ends = inf
        self._now = 0.0
        self._commands: list[Command] = []
        self._acts: dict[type[Event], Callable[[Any], None]] = {
            events.Joined: self._joined,
            events.Closing: lambda event: event.seat.close(),
            events.Said: self._said,
            events.Unsendable: self._unsendable,
            events.Died: self._died,
            events.Leased: self._leased,
            events.Stopped: self._stopped,
            events.Bereaved: lambda event: self._mourn(event.lease, event.failure, None),
            events.Paused: self._pause,
            events.Draining: self._drain,
            events.Looked: self._looked,
            events.Weighed: self._weighed,
            events.Turn: lambda _: self._assign(),
        }

    def step(self, event: Event, now: float) -> list[Command]:
        """Take one event in, and return what is to be done about it, in this order.

        Args:
            event: what happened.
            now: seconds on a monotonic clock, never less than in the call before.
        """
        self._now = now
        self._acts[type(event)](event)
        commands, self._commands = self._commands, []
        return commands

    @property
    def due(self) -> float | None:
        """When it wants to be told what it can see (`Looked`); `None`: not before an event."""
        look = inf if self._watch.due is None else self._watch.due
        due = min(look, self._phase_ends, self._backlog.due(self._now))
        return None if due == inf else due

    def free(self) -> int:
        """How many more leases to ask for."""
        if self._phase or self._memory.short_since is not None:
            return 0
        loads = [seat.load for seat in self._seats.values() if seat.takes]
        return dispatch.demand(loads, self._backlog.times, self._backlog.ahead)

    def room(self, now: float) -> dict[str, int]:
        """How many more to ask for at most, of the types of which no more may wait here."""
        return self._backlog.room(now)

    def held(self) -> list[Lease]:
        """The leases to renew."""
        return leases_held(self._backlog, self._seats.values(), self._reports)

    def take(self) -> list[Outcome]:
        """The outcomes since the last call."""
        return self._reports.take()

    # Workers come and go

    def _joined(self, event: events.Joined) -> None:
        event.seat.load.open = True
        self._seats[event.seat.key] = event.seat
        self._mourners = event.mourners
        self._backlog.limit(event.most_running)
        self._backlog.keep_apart(event.seat.told.lone)
        self._backlog.confinement.joined(event.seat)

    def _died(self, event: events.Died) -> None:
        """Act on what a worker's death means for what it held."""
        seat = event.seat
        self._seats.pop(seat.key, None)
        seat.load.open = False
        begun = sightings.begun(seat, event.started, self._now)
        inflight, seat.inflight = seat.inflight, {}
        death = Death(event.exit, self._now, event.killed_for, event.output_since)
        conclusions = self._unstarted.weigh(inquest.conclude(inflight, begun, death), death)
        self._blame(seat, blamed(conclusions, event.killed_for))
        for conclusion in reversed(conclusions):
            assignment, ruling, outcome, failure = conclusion
            self._backlog.over(assignment)
            if ruling is Ruling.ELSEWHERE:
                self._give_back(assignment)
            elif ruling is Ruling.MOURN and failure is not None:
                self._mourn(assignment.lease, failure, outcome)
            else:
                if ruling is Ruling.HOOK_LOST:
                    self._note(
                        "error", "on_failure_cut_short", None, job_id=assignment.lease.job_id
                    )
                self._reports.add(outcome, assignment.fate)

    def _unsendable(self, event: events.Unsendable) -> None:
        """Quarantine what no frame holds; of an attempt that has ended its `on_failure` is lost."""
        for serial, said in event.flaws.items():
            held = self._taken_back(event.seat, serial)
            told = f"the stored job cannot be handed to a worker: {said}"
            quarantined = Outcome(held.lease, Quarantined(Failure("PayloadInvalid", told)))
            self._reports.add(held.outcome if held.failure else quarantined, held.fate)
        self._commands += service.gave_back(event.seat, len(event.flaws))

    def _blame(self, seat: Seat, blame: Blame | None) -> None:
        """A worker is dead: what follows for the type whose job is to blame."""
        self._backlog.confinement.left(seat)
        seat.blamed = blame is not None
        if blame is not None and (notes := self._backlog.confine(seat, blame, self._now)):
            kind, seats = blame.lease.job_type, self._seats.values()
            self._commands += [
                *notes,
                *recall(seat for seat in seats if seat.holds(kind)),
            ]

    # What workers say

    def _said(self, event: events.Said) -> None:
        seat, messages, started, latest = event
        for message in messages:
            if type(message) is wire.Batch:  # as nearly every one is
                self._succeeded(seat, message.ends, latest)
            elif flaw := claims.flaw(seat, message, started, latest, self._now):
                self._discredit(seat, flaw)
            elif type(message) is wire.Done:
                self._succeeded(seat, [(message.serial, message.result, message.elapsed)], latest)
            else:
                self._said_rarely(seat, message)

    def _discredit(self, seat: Seat, flaw: str) -> None:
        seat.load.open = False
        if not seat.discredited:  # a flood of lies is told once
            seat.discredited = True
            self._commands.append(events.Discredit(seat, flaw))

    def _succeeded(self, seat: Seat, ends: Sequence[wire.End], latest: int) -> None:
        """Take back what has ended well: nearly every job comes through here."""
        ended, flaw = successes.taken_back(seat, ends, latest, self._reports)
        if flaw is not None:
            self._discredit(seat, flaw)
        self._backlog.ended(seat, ended, [elapsed for _, _, elapsed in ends[: len(ended)]])
        self._commands += service.served(seat, ended, self._now)

    def _said_rarely(self, seat: Seat, message: wire.FromWorker) -> None:
        match message:
            case wire.Ended():
                self._attempt_ended(seat, message)
            case wire.Mourned(serial):
                assignment = self._ended(seat, serial)
                self._reports.add(assignment.outcome, assignment.fate)
            case wire.Recalled(serials, closing):
                self._recalled(seat, serials, closing=closing)
            case wire.Leaving(reason):
                seat.load.open = False
                self._commands.append(events.Recycle(seat, reason[:100], leaving=True))
            case wire.Request():
                self._commands.append(events.Ask(seat, message))
            case wire.Dumped(text):
                self._note("info", "worker_stacks", seat, stacks=text)

    def _ended(self, seat: Seat, serial: int, elapsed: float | None = None) -> Assignment:
        """Take back what has ended, and learn from it."""
        assignment = self._taken_back(seat, serial)
        if elapsed is not None:
            self._backlog.times.learn(assignment.lease.job_type, [elapsed])
        self._commands += service.served(seat, [assignment], self._now)
        return assignment

    def _taken_back(self, seat: Seat, serial: int) -> Assignment:
        assignment = seat.inflight.pop(serial)
        self._backlog.over(assignment)
        size = 0 if assignment.failure else len(assignment.lease.payload)
        seat.load.remove([assignment.estimate], size)
        return assignment

    def _attempt_ended(self, seat: Seat, ended: wire.Ended) -> None:
        assignment, verdict = seat.inflight[ended.serial], ended.verdict()
        assert verdict is not None
        outcome = Outcome(assignment.lease, verdict, ended.elapsed)
        if ended.mourning:
            self._commands += aftermath.failed(seat, assignment, outcome, ended.goes_on, self._now)
        else:
            self._ended(seat, ended.serial, ended.elapsed)
            self._reports.add(outcome, assignment.fate)

    def _recalled(self, seat: Seat, serials: Sequence[int], *, closing: bool) -> None:
        seat.recalling, seat.silent_since = False, None
        seat.load.open = seat.load.open and not closing
        self._take_unstarted(seat, [serial for serial in serials if serial in seat.inflight])

    def _take_unstarted(self, seat: Seat, serials: Sequence[int]) -> None:
        """Take these back; the first of them is the next to be given away."""
        for serial in reversed(serials):
            self._give_back(self._taken_back(seat, serial))
        self._commands += service.gave_back(seat, len(serials))
        if serials:
            seat.load.blocked = 0 < seat.load.jobs < seat.load.slots

    # Jobs come, and are given away

    def _leased(self, event: events.Leased) -> None:
        if self._phase:
            self._reports.release(event.leases)
            return
        self._backlog.add(event.leases, self._now)
        self._assign()

    def _assign(self) -> None:
        seats, short = self._seats.values(), self._memory.short_since is not None
        if not short or self._phase:  # then there is only mourning left
            self._commands += self._backlog.assign(seats, self._now)
        if not self.empty or short or any(seat.recalling for seat in seats):
            self._watch.wake(self._now, closely=any(s.load.jobs > s.load.slots for s in seats))

    def _give_back(self, assignment: Assignment) -> None:
        """Find a new place for something that has not been started."""
        if assignment.failure is not None and self._phase < Phase.CANCELLED:
            self._backlog.mourning.appendleft(assignment)
        elif assignment.failure is not None:
            self._reports.add(assignment.outcome, assignment.fate)
        elif assignment.fate is not None or self._phase:
            self._reports.release([assignment.lease], assignment.fate)
        else:
            self._backlog.put_back(assignment.lease)

    def _mourn(self, lease: Lease, failure: Failure, outcome: Outcome | None) -> None:
        """Have `on_failure` run in a healthy worker, then report; at once where nobody listens."""
        if lease.job_type in self._mourners and self._phase < Phase.CANCELLED:
            mourning = Assignment.of_mourning(lease, failure, outcome, self._now)
            self._backlog.mourning.append(mourning)
        else:
            self._reports.add(outcome)

    # Time passes

    def _looked(self, event: events.Looked) -> None:
        now, watch = self._now, self._watch
        for seat, serials in withdrawal.unstarted(self._seats.values(), event.reached):
            self._take_unstarted(seat, serials)
        if watch.due is not None and now >= watch.due and not watch.overslept(now):
            self._commands += watch.inspect(self._seats.values(), event, now)
            self._reports.release(self._backlog.take_stuck(now, watch.limits.patience))
        self._commands += self._backlog.release(now)
        self._let_go()

    def _weighed(self, event: events.Weighed) -> None:
        self._commands += self._memory.weigh(self._seats.values(), event, self._now)

    # Stopping

    def _stopped(self, event: events.Stopped) -> None:
        keys, fate = {lease.key for lease in event.leases}, event.fate
        if fate is Fate.FORFEITED:
            self._reports.forget(keys)
        self._reports.release(self._backlog.take(keys), fate)
        self._backlog.mourning.stop(keys, fate)
        for seat in self._seats.values():
            for serial, assignment in seat.inflight.items():
                if assignment.lease.key in keys and assignment.stop(fate, self._now):
                    self._commands.append(
                        events.Send(seat, wire.Cancel(serial, fate is Fate.CANCELLED))
                    )

    def _drain(self, event: events.Draining) -> None:
        """Let go of what has not started now, and of what runs when the grace is over."""
        if self._phase < Phase.CANCELLED:
            self._phase_ends = min(self._phase_ends, self._now + event.grace)
        if self._phase is Phase.WORKING:
            self._phase = Phase.DRAINING
            self._reports.release(self._backlog.take_all())  # nobody here will come to it soon
            self._commands += recall(self._seats.values())
        self._let_go()

    def _pause(self, event: events.Paused) -> None:
        self._backlog.paused = event.paused
        if event.paused:
            self._commands += recall(self._seats.values())

    def _let_go(self) -> None:
        """The grace over, cancel what runs; two seconds later, kill its workers."""
        if self._now < self._phase_ends:
            return
        if self._phase is Phase.DRAINING:
            self._phase, self._phase_ends = Phase.CANCELLED, self._now + KILL_AFTER
            for mourning in self._backlog.mourning.take_all():
                self._reports.add(mourning.outcome, mourning.fate)
            self._commands += cancel(self._seats.values())
        else:
            self._phase, self._phase_ends = Phase.KILLED, inf
            for seat in self._seats.values():
                if seat.inflight:
                    self._commands += condemn(seat, "the shutdown's grace is over")

    def _note(self, level: str, event: str, seat: Seat | None, **facts: object) -> None:
        self._commands.append(Note(level, event, seat, facts))
