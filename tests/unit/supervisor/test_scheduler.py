"""The scheduling core by example: what it is told, what it answers, what it reports.

`tests/simulation` drives it through many thousands of histories; these are the ones to read.
"""

from __future__ import annotations

import signal
from itertools import count

import pytest

from portico.ports.job_executor import (
    Completed,
    Crashed,
    Failed,
    Interrupted,
    Outcome,
    Released,
    Suspected,
)
from portico.ports.leasing import CANCELLED, Failure, Lease
from portico.ports.time_limits import TimeLimits
from portico.supervisor import wire
from portico.supervisor.exit import Exit
from portico.supervisor.scheduling import events
from portico.supervisor.scheduling.assignment import Fate
from portico.supervisor.scheduling.events import Kill, Send
from portico.supervisor.scheduling.scheduler import Scheduler
from portico.supervisor.scheduling.seat import Seat
from portico.supervisor.scheduling.watch import KILL_AFTER, Limits

LIMITS = Limits(usual=TimeLimits(10.0, 1.0), on_failure_timeout=5.0, unresponsive=3.0)
DONE = b"{}"
_ids = count(1)


def lease(job_type="short", *, suspect=False) -> Lease:
    number = next(_ids)
    return Lease(
        id=number.to_bytes(16, "big"), token=b"token", attempt=1, queue_name="default",
        job_type=job_type, payload=b"{}", priority=0, max_retries=3, retry_count=0,
        scheduled_at=None, started_at=0, created_at=0, created_by=None, metadata=b"{}",
        error_message=None, suspect=suspect,
    )  # fmt: skip


class Pool:
    """A scheduler with workers whose pages are written by hand, at an instant set by hand."""

    def __init__(self, workers=1, slots=1, mourners=()) -> None:
        self.scheduler = Scheduler(LIMITS)
        self.now = 100.0
        self.mourners = frozenset(mourners)
        self.pages: dict[Seat, dict[int, float]] = {}
        self.seats: list[Seat] = []
        for _ in range(workers):
            self.join(slots)

    def tell(self, event: events.Event) -> list[events.Command]:
        return self.scheduler.step(event, self.now)

    def turn(self) -> dict[Seat, list[wire.ToWorker]]:
        """What each worker is sent when everything that came together has been told."""
        return sent(self.tell(events.Turn()))

    def join(self, slots=1) -> Seat:
        seat = self.seat(len(self.seats) + 1, slots)
        self.seats.append(seat)
        self.pages[seat] = {}
        self.tell(events.Joined(seat, self.mourners))
        return seat

    def seat(self, number: int, slots: int) -> Seat:
        return Seat(number, slots)

    def lease(self, *leases: Lease) -> None:
        self.tell(events.Leased(leases))
        self.turn()

    def start(self, seat: Seat, *serials: int) -> None:
        self.pages[seat] |= dict.fromkeys(serials, self.now)

    def run(self, seat: Seat, serial: int, seconds: float = 0.001) -> None:
        """Have the worker start this job, and succeed."""
        self.start(seat, serial)
        self.say(seat, wire.Done(serial, DONE, seconds))

    def say(self, seat: Seat, *messages: wire.FromWorker) -> list[events.Command]:
        page = self.pages[seat]
        return self.tell(events.Said(seat, messages, page, max(page, default=0)))

    def die(self, seat: Seat, killed_for: str | None = None) -> None:
        page, end = self.pages[seat], Exit(None, signal.SIGSEGV)
        self.tell(events.Died(seat, page, end, killed_for, lambda _: ""))

    def look(self, later: float) -> list[events.Command]:
        self.now += later
        looked = events.Looked({seat.key: page for seat, page in self.pages.items()})
        return self.tell(looked) + self.tell(events.Turn())

    def learn(self, job_type: str, seconds: float) -> None:
        """Have a job of this type run once, so that its run time is known."""
        seat = self.seats[0]
        self.lease(lease(job_type))
        [serial] = seat.inflight
        self.run(seat, serial, seconds)
        self.outcomes()

    def outcomes(self) -> list[Outcome]:
        return self.scheduler.take()


def sent(commands: list[events.Command]) -> dict[Seat, list[wire.ToWorker]]:
    found: dict[Seat, list[wire.ToWorker]] = {}
    for command in commands:
        if isinstance(command, Send):
            found.setdefault(command.seat, []).append(command.message)
    return found


def killed(commands: list[events.Command]) -> list[str]:
    return [command.reason for command in commands if isinstance(command, Kill)]


def held(seat: Seat) -> list[Lease]:
    return [assignment.lease for assignment in seat.inflight.values()]


def test_a_job_goes_to_a_worker_and_its_result_comes_back():
    pool = Pool()
    job = lease()
    pool.lease(job)
    [serial] = pool.seats[0].inflight
    pool.start(pool.seats[0], serial)
    pool.say(pool.seats[0], wire.Done(serial, b'{"n":1}', 0.001))
    assert pool.outcomes() == [Outcome(job, Completed(b'{"n":1}'), 0.001)]
    assert pool.scheduler.empty


def test_jobs_of_an_unknown_type_go_one_at_a_time_and_known_short_ones_in_a_batch():
    pool = Pool()
    pool.lease(lease(), lease())
    assert len(held(pool.seats[0])) == 1
    known = Pool()
    known.learn("short", 0.0001)
    known.lease(*(lease() for _ in range(20)))
    assert len(held(known.seats[0])) == 20


def test_a_death_is_charged_to_the_running_job_and_the_waiting_ones_go_elsewhere():
    pool = Pool()
    pool.learn("short", 0.0001)
    jobs = [lease() for _ in range(3)]
    pool.lease(*jobs)
    seat = pool.seats[0]
    first = next(iter(seat.inflight))
    pool.start(seat, first)
    pool.die(seat)
    [outcome] = pool.outcomes()
    assert outcome.lease is jobs[0]
    assert isinstance(outcome.verdict, Crashed)
    successor = pool.join()
    pool.turn()
    assert held(successor) == jobs[1:]


def test_a_result_that_was_written_before_the_death_counts():
    pool = Pool()
    job = lease()
    pool.lease(job)
    seat = pool.seats[0]
    [serial] = seat.inflight
    pool.start(seat, serial)
    pool.say(seat, wire.Done(serial, DONE, 0.001))
    pool.die(seat)
    assert pool.outcomes() == [Outcome(job, Completed(DONE), 0.001)]


def test_of_several_that_ran_when_their_worker_died_none_is_charged():
    pool = Pool(slots=2)
    pool.lease(lease(), lease())
    seat = pool.seats[0]
    pool.start(seat, *seat.inflight)
    pool.die(seat)
    assert [type(outcome.verdict) for outcome in pool.outcomes()] == [Suspected, Suspected]


def test_a_suspect_shares_its_worker_with_nobody():
    pool = Pool(slots=2)
    suspect, other = lease(suspect=True), lease()
    pool.lease(other, suspect)
    assert held(pool.seats[0]) == [suspect]
    [serial] = pool.seats[0].inflight
    pool.run(pool.seats[0], serial)
    pool.turn()
    assert held(pool.seats[0]) == [other]


def test_what_waits_behind_a_long_job_is_recalled_and_given_to_another_worker():
    pool = Pool()
    pool.learn("short", 0.0001)
    jobs = [lease() for _ in range(3)]
    pool.lease(*jobs)
    seat = pool.seats[0]
    running, *waiting = seat.inflight
    pool.start(seat, running)
    assert sent(pool.look(0.02)) == {seat: [wire.Recall()]}
    pool.say(seat, wire.Recalled(waiting))
    other = pool.join()
    pool.turn()
    assert held(seat) == jobs[:1]
    assert held(other) == jobs[1:]


def test_a_job_past_its_deadline_takes_its_worker_with_it_and_counts_as_timed_out():
    pool = Pool()
    pool.lease(lease())
    seat = pool.seats[0]
    pool.start(seat, *seat.inflight)
    reasons = [reason for _ in range(130) for reason in killed(pool.look(0.1))]
    assert reasons == [Fate.OVERDUE.value]
    pool.die(seat, killed_for=reasons[0])
    [outcome] = pool.outcomes()
    assert isinstance(outcome.verdict, Failed)
    assert outcome.verdict.retryable
    assert outcome.verdict.failure.type == "JobTimeoutError"


def test_a_look_that_was_overslept_kills_nobody():
    pool = Pool()
    pool.lease(lease())
    seat = pool.seats[0]
    pool.start(seat, *seat.inflight)
    assert not pool.look(60.0)  # stopped for a minute: what ended meanwhile is still in the pipe
    pool.say(seat, wire.Done(next(iter(seat.inflight)), DONE, 0.1))
    assert not killed(pool.look(0.1))
    assert [type(outcome.verdict) for outcome in pool.outcomes()] == [Completed]


def test_a_job_whose_lease_is_lost_is_stopped_by_force_and_never_reported():
    pool = Pool()
    job = lease()
    pool.lease(job)
    seat = pool.seats[0]
    [serial] = seat.inflight
    pool.start(seat, serial)
    stopping = pool.tell(events.Stopped([job], Fate.FORFEITED))
    assert sent(stopping) == {seat: [wire.Cancel(serial, False)]}
    pool.turn()
    assert pool.scheduler.held() == []
    looks = int(KILL_AFTER / 0.1) + 3
    reasons = [reason for _ in range(looks) for reason in killed(pool.look(0.1))]
    assert reasons == [Fate.FORFEITED.value]
    pool.die(seat, killed_for=reasons[0])
    assert pool.outcomes() == []


def test_a_success_that_comes_after_a_cancellation_stands_and_a_failure_becomes_cancelled():
    pool = Pool(slots=2)
    one, other = lease(), lease()
    pool.lease(one, other)
    seat = pool.seats[0]
    first, second = seat.inflight
    pool.start(seat, first, second)
    pool.tell(events.Stopped([one, other], Fate.CANCELLED))
    boom = Failed(Failure("Boom", "boom"), retryable=True)
    pool.say(
        seat,
        wire.Done(first, DONE, 0.1),
        wire.Ended.of(second, boom, 0.1, mourning=False),
    )
    assert pool.outcomes() == [
        Outcome(one, Completed(DONE), 0.1),
        Outcome(other, Failed(CANCELLED, retryable=False), 0.1),
    ]


def test_after_a_crash_on_failure_runs_in_another_worker_before_the_crash_is_reported():
    pool = Pool(workers=2, mourners=["listening"])
    job = lease("listening")
    pool.lease(job)
    seat = next(seat for seat in pool.seats if seat.inflight)
    [serial] = seat.inflight
    pool.start(seat, serial)
    pool.die(seat)
    assert pool.outcomes() == []
    [(other, [mourn])] = pool.turn().items()
    assert isinstance(mourn, wire.Mourn)
    assert pool.scheduler.held() == [job]
    pool.say(other, wire.Mourned(mourn.serial))
    [outcome] = pool.outcomes()
    assert isinstance(outcome.verdict, Crashed)


def test_on_failure_that_kills_its_worker_does_not_run_again():
    pool = Pool(mourners=["listening"])
    job = lease("listening")
    pool.lease(job)
    seat = pool.seats[0]
    [serial] = seat.inflight
    pool.start(seat, serial)
    boom = Failed(Failure("Boom", "boom"), retryable=True)
    pool.say(seat, wire.Ended.of(serial, boom, 0.1, mourning=True))
    assert pool.outcomes() == []
    pool.die(seat)
    pool.join()
    assert pool.turn() == {}
    assert pool.outcomes() == [Outcome(job, boom, 0.1)]


def test_a_pause_takes_back_what_has_not_started_and_begins_nothing_until_it_is_over():
    pool = Pool()
    pool.learn("short", 0.0001)
    jobs = [lease() for _ in range(2)]
    pool.lease(*jobs)
    seat = pool.seats[0]
    running, waiting = seat.inflight
    pool.start(seat, running)
    assert sent(pool.tell(events.Paused(True))) == {seat: [wire.Recall()]}
    pool.say(seat, wire.Recalled([waiting]))
    pool.say(seat, wire.Done(running, DONE, 0.1))
    assert pool.turn() == {}
    assert [outcome.lease for outcome in pool.outcomes()] == [jobs[0]]
    pool.tell(events.Paused(False))
    assert pool.scheduler.held() == [jobs[1]]
    [[run]] = pool.turn().values()
    assert run.leases == [jobs[1]]


def test_a_drain_releases_what_has_not_started_and_interrupts_what_does_not_end():
    pool = Pool()
    pool.learn("short", 0.0001)
    jobs = [lease() for _ in range(2)]
    pool.lease(*jobs)
    seat = pool.seats[0]
    running, waiting = seat.inflight
    pool.start(seat, running)
    assert sent(pool.tell(events.Draining(5.0))) == {seat: [wire.Recall()]}
    pool.say(seat, wire.Recalled([waiting]))
    assert pool.outcomes() == [Outcome(jobs[1], Released())]
    assert pool.scheduler.free() == 0
    assert sent(pool.look(5.0)) == {seat: [wire.Cancel(running, False)]}
    [reason] = killed(pool.look(KILL_AFTER))
    pool.die(seat, killed_for=reason)
    [outcome] = pool.outcomes()
    assert isinstance(outcome.verdict, Interrupted)
    assert pool.scheduler.empty


@pytest.mark.parametrize(
    "lie",
    [
        wire.Done(999, DONE, 0.1),
        wire.Ended(1, "Crashed", Failure("", ""), True, 0.1, False),
        wire.Mourned(1),
        wire.Recalled([1]),
        wire.Ready(wire.VERSION, [], []),
    ],
    ids=lambda lie: type(lie).__name__,
)
def test_a_worker_that_lies_is_killed_and_what_it_runs_is_charged(lie):
    pool = Pool()
    pool.lease(lease())
    seat = pool.seats[0]
    assert list(seat.inflight) == [1]
    pool.start(seat, 1)
    [command] = pool.say(seat, lie)
    assert isinstance(command, events.Discredit)
    pool.die(seat)
    assert [type(outcome.verdict) for outcome in pool.outcomes()] == [Crashed]
