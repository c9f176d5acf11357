"""Supervisors with a defect each, which the simulation must find out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from inspect import Parameter, signature
from typing import Any

from portico.exceptions import QueueConnectionError
from portico.kits.job.lease_keeper import LeaseKeeper
from portico.kits.job.lookout import Lookout
from portico.kits.job.pipeline import Pipeline
from portico.kits.job.turns import Turns
from portico.ports.job_executor import Crashed, Failed, Outcome, Released
from portico.ports.leasing import CANCELLED, Failure
from portico.supervisor.crew import Crew
from portico.supervisor.running_page import Reached
from portico.supervisor.scheduling import claims, events, inquest, withdrawal
from portico.supervisor.scheduling.assignment import Fate
from portico.supervisor.scheduling.backlog import Backlog
from portico.supervisor.scheduling.dispatch import Load
from portico.supervisor.scheduling.inquest import Conclusion, Ruling
from portico.supervisor.scheduling.lone import Lone
from portico.supervisor.scheduling.reports import Reports
from portico.supervisor.scheduling.scheduler import Scheduler
from portico.supervisor.scheduling.seat import Seat
from portico.supervisor.scheduling.watch import Watch
from tests.simulation.processes import FakeProcess, Page

MUTANTS: dict[str, Callable[[], Any]] = {}


def mutant(replace: Callable[[], list[tuple[Any, str, Any]]]) -> None:
    """Register a defect: the attributes that it replaces, and with what."""

    @contextmanager
    def applied() -> Iterator[None]:
        replaced = replace()
        before = [(owner, name, owner.__dict__[name]) for owner, name, _ in replaced]
        for (_, name, stand_in), (*_, real) in zip(replaced, before, strict=True):
            assert _shape(stand_in) in (_shape(real), None), f"{name} is called in another way"
        for owner, name, stand_in in replaced:
            setattr(owner, name, stand_in)
        try:
            yield
        finally:
            for owner, name, value in before:
                setattr(owner, name, value)

    MUTANTS[replace.__name__] = applied


def _shape(stand_in: Any) -> list[Any] | None:
    """How it is called; `None` when it takes anything."""
    function = stand_in.fget if isinstance(stand_in, property) else stand_in
    parameters = signature(function).parameters.values()
    if any(p.kind is Parameter.VAR_POSITIONAL for p in parameters):
        return None
    return [(p.kind, p.name if p.kind is Parameter.KEYWORD_ONLY else None) for p in parameters]


@mutant
def a_death_is_charged_to_all_that_the_worker_held():
    real = inquest.conclude

    def conclude(inflight, started, death):
        return real(inflight, dict.fromkeys(inflight, 0.0) | dict(started), death)

    return [(inquest, "conclude", conclude)]


@mutant
def an_outcome_is_reported_after_its_lease_was_lost():
    def add(self, outcome, fate=None):
        if outcome is not None:
            self.waiting.append(outcome)

    def stopped(self, event):
        real(self, event)
        for seat in self._seats.values():
            for assignment in seat.inflight.values():
                if assignment.fate is Fate.FORFEITED:
                    assignment.fate = Fate.CANCELLED

    real = Scheduler._stopped
    return [(Scheduler, "_stopped", stopped), (Reports, "add", add)]


@mutant
def what_was_recalled_is_forgotten():
    def recalled(self, seat, serials, *, closing):
        seat.recalling = False
        for serial in serials:
            self._taken_back(seat, serial)

    return [(Scheduler, "_recalled", recalled)]


@mutant
def a_recalled_job_is_counted_as_running_as_well():
    real = Scheduler._recalled

    def recalled(self, seat, serials, *, closing):
        held = {serial: seat.inflight[serial] for serial in serials}
        real(self, seat, serials, closing=closing)
        seat.inflight |= held

    return [(Scheduler, "_recalled", recalled)]


@mutant
def suspects_do_not_run_alone():
    def alone(self, leases, now):
        return real(self, [lease._replace(suspect=False) for lease in leases], now)

    real = Backlog.add
    return [(Backlog, "add", alone)]


@mutant
def several_that_ran_when_their_worker_died_are_all_charged():
    real = inquest.conclude

    def conclude(inflight, started, death):
        return [
            c
            if c.ruling is not Ruling.REPORT or c.outcome is None or death.killed_for
            else Conclusion(
                c.assignment,
                Ruling.REPORT,
                Outcome(c.assignment.lease, Crashed(Failure("WorkerLostError", "guilty"))),
            )
            for c in real(inflight, started, death)
        ]

    return [(inquest, "conclude", conclude)]


@mutant
def a_look_that_was_overslept_is_acted_on():
    def overslept(self, now):
        self.due = None
        return False

    return [(Watch, "overslept", overslept)]


@mutant
def a_drain_forgets_to_mourn():
    def mourn(self, lease, failure, outcome):
        if self._phase:
            return
        real(self, lease, failure, outcome)

    real = Scheduler._mourn
    return [(Scheduler, "_mourn", mourn)]


@mutant
def an_exchange_without_an_answer_is_dropped():
    real = Pipeline._exchange

    async def exchange(self, queues, limit):
        try:
            return await real(self, queues, limit)
        except QueueConnectionError:
            self._outbox.told(len(self._outbox.batch()[0]))
            raise

    return [(Pipeline, "_exchange", exchange)]


@mutant
def what_a_worker_wrote_before_its_death_is_ignored():
    def reaped(self, code):
        self._out.clear()
        real(self, code)

    real = FakeProcess._reaped
    return [(FakeProcess, "_reaped", reaped)]


@mutant
def what_a_dead_worker_had_gathered_is_forgotten():
    return [(FakeProcess, "_left", lambda self: None)]


@mutant
def only_running_jobs_are_renewed():
    def held(self):
        return [a.lease for seat in self._seats.values() for a in seat.inflight.values()]

    return [(Scheduler, "held", held)]


@mutant
def a_lost_lease_does_not_stop_the_job():
    return [(LeaseKeeper, "_forfeit", lambda self, lost: None)]


@mutant
def on_failure_runs_again_after_it_was_cut_short():
    real = inquest.conclude

    def conclude(inflight, started, death):
        return [
            c._replace(ruling=Ruling.MOURN, failure=Failure("WorkerLostError", ""))
            if c.ruling is Ruling.HOOK_LOST
            else c
            for c in real(inflight, started, death)
        ]

    return [(inquest, "conclude", conclude)]


@mutant
def the_outcome_is_reported_before_on_failure():
    def attempt_ended(self, seat, ended):
        real(self, seat, ended)
        held = seat.inflight.get(ended.serial)
        if held is not None and held.outcome is not None:
            self._reports.add(held.outcome, held.fate)
            held.outcome, held.failure = None, Failure("", "")

    real = Scheduler._attempt_ended
    return [(Scheduler, "_attempt_ended", attempt_ended)]


@mutant
def a_worker_that_died_is_not_replaced():
    def exited(self, worker, status):
        spawn, self._spawn = self._spawn, lambda *_, **__: None
        try:
            real(self, worker, status)
        finally:
            self._spawn = spawn

    real = Crew.exited
    return [(Crew, "exited", exited)]


@mutant
def a_cancelled_success_is_a_failure():
    def add(self, outcome, fate=None):
        if outcome is not None and fate is Fate.CANCELLED:
            outcome = Outcome(outcome.lease, Failed(CANCELLED, retryable=False))
            fate = None
        real(self, outcome, fate)

    real = Reports.add
    return [(Reports, "add", add)]


@mutant
def a_job_that_ran_is_released_by_a_shutdown():
    real = inquest.conclude

    def conclude(inflight, started, death):
        return [
            c._replace(outcome=Outcome(c.assignment.lease, Released()))
            if death.killed_for and c.ruling is Ruling.REPORT
            else c
            for c in real(inflight, started, death)
        ]

    return [(inquest, "conclude", conclude)]


@mutant
def a_job_past_its_deadline_is_left_alone():
    real = Watch._check

    def check(self, seat, assignment, limits, since, now):
        assignment = assignment if assignment.told_to_stop else copy(assignment)
        found = real(self, seat, assignment, limits, since, now)
        return [c for c in found if not isinstance(c, events.ShowStack)]

    return [(Watch, "_check", check)]


@mutant
def a_worker_that_starts_nothing_is_left_alone():
    real = Watch._inspect

    def inspect(self, seat, page, now):
        seat.ended_at = now
        return real(self, seat, page, now)

    return [(Watch, "_inspect", inspect)]


@mutant
def a_job_due_later_is_not_looked_for():
    def looked(self, exchange, limit):
        real(self, exchange._replace(next_due=None), limit)

    def watch(self):
        pass

    real = Lookout.looked
    return [(Lookout, "looked", looked), (Lookout, "watch", watch)]


@mutant
def claims_are_believed():
    return [(claims, "flaw", lambda *_: None)]


@mutant
def nobody_mourns_after_a_crash():
    def mourn(self, lease, failure, outcome):
        self._reports.add(outcome)

    return [(Scheduler, "_mourn", mourn)]


@mutant
def what_ended_during_the_last_exchange_is_not_counted():
    def unsettled(self):
        return 0

    return [(Pipeline, "unsettled", property(unsettled))]


@mutant
def nobody_is_told_of_a_cancellation():
    return [(LeaseKeeper, "_cancel", lambda self, asked: None)]


@mutant
def more_of_a_type_run_than_may():
    def full(self, job_type):
        return False

    return [(Turns, "full", full)]


@mutant
def a_worker_is_given_more_jobs_than_it_serves():
    def add(self, estimate, size):
        real(self, estimate, size)
        self.left += 1

    real = Load.add
    return [(Load, "add", add)]


@mutant
def what_was_withdrawn_is_started_all_the_same():
    def begin(self, slot, serial, *, hook):
        withdrawn, self.withdrawn = self.withdrawn, 0
        try:
            return real(self, slot, serial, hook=hook)
        finally:
            self.withdrawn = withdrawn

    real = Page.begin
    return [(Page, "begin", begin)]


@mutant
def what_a_worker_has_come_to_is_taken_from_it_as_well():
    return [(Page, "reached", lambda self: Reached(0, 0))]


@mutant
def what_waits_behind_a_worker_that_answers_nothing_stays_there():
    return [(withdrawal, "unstarted", lambda seats, seen: [])]


@mutant
def a_job_that_is_to_be_alone_comes_into_a_worker_that_others_have_used():
    def add(self, estimate, size):
        real(self, estimate, size)
        self.fresh = True

    real = Load.add
    return [(Load, "add", add)]


@mutant
def a_worker_that_one_job_was_to_have_alone_serves_others():
    return [(Seat, "serve_this_alone", lambda self: None)]


@mutant
def no_worker_is_replaced_for_a_job_that_is_to_be_alone():
    return [(Lone, "ask", lambda self, waiting, takers, full, now: [])]
