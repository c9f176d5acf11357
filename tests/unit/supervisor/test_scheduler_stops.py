"""What the scheduling core does about jobs that are to stop while other things happen to them."""

from __future__ import annotations

import signal
from itertools import count
from uuid import uuid4

from portico.ports.job_executor import Failed, Interrupted
from portico.ports.leasing import CANCELLED, Failure, Lease
from portico.ports.time_limits import TimeLimits
from portico.supervisor import wire
from portico.supervisor.exit import Exit
from portico.supervisor.scheduling import events
from portico.supervisor.scheduling.assignment import Fate
from portico.supervisor.scheduling.events import (
    Command,
    Discredit,
    Kill,
    Note,
    Recycle,
    Send,
    ShowStack,
)
from portico.supervisor.scheduling.memory import Bounds
from portico.supervisor.scheduling.scheduler import Scheduler
from portico.supervisor.scheduling.seat import Seat
from portico.supervisor.scheduling.watch import Limits

TYPE = "a.b"
WRONG = Failure("ValueError", "wrong")
CEILING = 1000
keys = count(1)


class Bench:
    """A scheduler, one worker, and the page of that worker."""

    def __init__(self, slots: int = 1) -> None:
        limits = Limits(usual=TimeLimits(60.0, 5.0), on_failure_timeout=30.0, unresponsive=10.0)
        self.scheduler = Scheduler(limits, Bounds(ceiling=CEILING, reserve=1))
        self.seat = Seat(next(keys), slots)
        self.started: dict[int, float] = {}
        self.now = 0.0
        self.tell(events.Joined(self.seat, frozenset({TYPE})))

    def tell(self, event: events.Event) -> list[Command]:
        return [
            *self.scheduler.step(event, self.now),
            *self.scheduler.step(events.Turn(), self.now),
        ]

    def run(self) -> tuple[int, Lease]:
        """Lease a job, and have the worker start it."""
        lease = Lease(
            uuid4().bytes, uuid4().bytes, 1, "default", TYPE, b"{}", 0, 3, 0, None, 1, 1, None,
            b"{}", None, False,
        )  # fmt: skip
        before = set(self.seat.inflight)
        self.tell(events.Leased([lease]))
        [serial] = set(self.seat.inflight) - before
        self.started[serial] = self.now
        return serial, lease

    def say(self, *messages: wire.FromWorker) -> list[Command]:
        latest = max(self.started, default=0)
        return self.tell(events.Said(self.seat, messages, self.started, latest))

    def fail(self, serial: int, kind: str = "Failed") -> list[Command]:
        """The attempt has failed, and its `on_failure` runs."""
        return self.say(wire.Ended(serial, kind, WRONG, True, 0.1, True))

    def goes_on(self, serial: int, kind: str = "Failed") -> list[Command]:
        """The attempt has failed, and something of it could not be ended."""
        return self.say(wire.Ended(serial, kind, WRONG, True, 0.1, True, ["thread rows"]))

    def waiting(self) -> list[Lease]:
        return list(self.scheduler.held()) if self.scheduler.waiting else []

    def look_until(self, end: float) -> list[Command]:
        commands = []
        while self.now < end:
            self.now += 0.1
            page = {self.seat.key: self.started}
            commands += self.tell(events.Looked(page))
        return commands

    def weigh(self, resident: int, family: int = 0) -> list[Command]:
        key = self.seat.key
        weighed = events.Weighed({key: resident}, {key: self.started}, None, {key: family})
        return self.tell(weighed)

    def die(self, killed_for: str) -> list[Command]:
        dead = Exit(None, signal.SIGKILL, 1)
        return self.tell(events.Died(self.seat, self.started, dead, killed_for, lambda _: ""))


def kills(commands: list[Command]) -> list[str]:
    return [command.reason for command in commands if isinstance(command, Kill)]


def test_a_job_that_heeds_its_cancellation_has_all_the_time_of_its_on_failure() -> None:
    bench = Bench()
    serial, lease = bench.run()
    bench.tell(events.Stopped([lease], Fate.CANCELLED))
    bench.fail(serial)
    assert not kills(bench.look_until(30.0))
    bench.say(wire.Mourned(serial))
    [outcome] = bench.scheduler.take()
    assert outcome.verdict == Failed(outcome.verdict.failure, retryable=False)  # type: ignore[union-attr]


def test_a_cancellation_during_on_failure_ends_the_job_and_spares_the_worker() -> None:
    bench = Bench()
    serial, lease = bench.run()
    bench.fail(serial)
    commands = bench.tell(events.Stopped([lease], Fate.CANCELLED))
    assert not any(isinstance(command, Send) for command in commands)
    assert not kills(bench.look_until(20.0))
    bench.say(wire.Mourned(serial))
    [outcome] = bench.scheduler.take()
    assert isinstance(outcome.verdict, Failed)
    assert not outcome.verdict.retryable


def test_on_failure_of_a_cancelled_job_is_ended_at_its_own_deadline() -> None:
    bench = Bench()
    serial, lease = bench.run()
    bench.tell(events.Stopped([lease], Fate.CANCELLED))
    bench.fail(serial)
    assert kills(bench.look_until(36.0)) == ["on_failure ran past its deadline"]


def overdue() -> tuple[Bench, int, Lease]:
    """A job that is past its deadline, and whose worker is killed at the next look."""
    bench = Bench()
    serial, lease = bench.run()
    while not any(isinstance(c, ShowStack) for c in bench.look_until(bench.now + 0.05)):
        assert bench.now < 70.0
    return bench, serial, lease


def test_a_job_past_its_deadline_that_fails_in_time_can_still_be_cancelled() -> None:
    bench, serial, lease = overdue()
    bench.fail(serial)
    bench.tell(events.Stopped([lease], Fate.CANCELLED))
    assert not kills(bench.look_until(80.0))
    bench.say(wire.Mourned(serial))
    [outcome] = bench.scheduler.take()
    assert outcome.verdict == Failed(CANCELLED, retryable=False)


def test_a_job_whose_cancellation_comes_between_its_deadline_and_its_death_is_cancelled() -> None:
    bench, _, lease = overdue()
    bench.tell(events.Stopped([lease], Fate.CANCELLED))
    [reason] = kills(bench.look_until(66.0))
    bench.die(reason)
    [outcome] = bench.scheduler.take()
    assert isinstance(outcome.verdict, Failed)
    assert not outcome.verdict.retryable
    assert outcome.verdict.failure.type == CANCELLED.type


def test_on_failure_whose_lease_was_lost_is_not_waited_for() -> None:
    bench = Bench()
    serial, lease = bench.run()
    bench.fail(serial)
    bench.tell(events.Stopped([lease], Fate.FORFEITED))
    assert kills(bench.look_until(3.0)) == ["its lease was lost"]


def test_a_worker_past_the_ceiling_whose_job_ends_in_time_gets_no_other_one() -> None:
    bench = Bench()
    serial, _ = bench.run()
    bench.weigh(CEILING + 1)
    bench.say(wire.Done(serial, b"{}", 0.1))
    commands = bench.weigh(CEILING - 1)
    assert not bench.seat.load.open, "the next job would be charged for what this one has left"
    assert [command.seat for command in commands if isinstance(command, Recycle)] == [bench.seat]


def test_what_a_worker_has_started_counts_towards_the_ceiling() -> None:
    bench = Bench()
    serial, _ = bench.run()
    assert not bench.weigh(CEILING - 1, 1)
    bench.weigh(CEILING - 1, 2)
    assert bench.seat.inflight[serial].fate is Fate.OVERSIZED
    assert "with what it has started" in bench.seat.inflight[serial].reason


def test_a_worker_that_is_to_be_killed_for_another_reason_is_not_weighed_any_more() -> None:
    bench = Bench(slots=2)
    serial, lease = bench.run()
    other, _ = bench.run()
    bench.tell(events.Stopped([lease], Fate.FORFEITED))
    assert kills(bench.look_until(3.0)) == ["its lease was lost"]
    assert not bench.weigh(CEILING + 1)
    assert bench.seat.inflight[other].fate is None
    assert serial in bench.seat.inflight


def test_an_on_failure_that_outgrows_the_ceiling_after_its_job_did_is_ended() -> None:
    bench = Bench()
    serial, _ = bench.run()
    bench.weigh(CEILING + 1)
    bench.fail(serial)
    assert kills(bench.weigh(CEILING + 2))


def lose(bench: Bench, lease: Lease) -> list[Command]:
    return bench.tell(events.Stopped([lease], Fate.FORFEITED))


def test_no_on_failure_is_begun_for_an_attempt_whose_lease_is_lost() -> None:
    """The next attempt may run elsewhere by now, and must not overlap it."""
    bench = Bench()
    bench.run()  # keeps the only worker busy
    [lease] = [a.lease for a in bench.seat.inflight.values()]
    lost = lease._replace(id=uuid4().bytes)
    bench.tell(events.Bereaved(lost, WRONG))
    lose(bench, lost)
    [serial] = bench.seat.inflight
    assert not [c for c in bench.say(wire.Done(serial, b"{}", 0.1)) if isinstance(c, Send)]
    assert bench.scheduler.empty


def test_what_is_leased_while_everything_stops_goes_back_at_once() -> None:
    bench = Bench()
    _, lease = bench.run()
    bench.tell(events.Draining(10.0))
    late = lease._replace(id=uuid4().bytes)
    assert not [c for c in bench.tell(events.Leased([late])) if isinstance(c, Send)]
    assert [o.lease for o in bench.scheduler.take()] == [late]


def test_a_worker_cannot_end_an_attempt_for_which_it_only_mourns_or_which_it_has_ended() -> None:
    bench = Bench(slots=2)
    serial, lease = bench.run()
    bench.fail(serial)
    assert any(isinstance(c, Discredit) for c in bench.say(wire.Done(serial, b"{}", 0.1)))

    bench = Bench(slots=2)
    bench.tell(events.Bereaved(lease, WRONG))
    [serial] = bench.seat.inflight
    bench.started[serial] = bench.now
    assert any(isinstance(c, Discredit) for c in bench.say(wire.Done(serial, b"{}", 0.1)))
    assert bench.scheduler.take() == []


def test_a_drain_takes_back_what_a_worker_that_is_to_go_has_not_started() -> None:
    bench = Bench()
    bench.run()
    bench.seat.load.open = False
    commands = bench.tell(events.Draining(10.0))
    assert [c.message for c in commands if isinstance(c, Send)] == [wire.Recall()]


def test_a_drain_mourns_also_while_the_machine_is_short_of_memory() -> None:
    bench = Bench()
    _, lease = bench.run()
    bench.tell(events.Weighed({}, {}, 0))
    bench.tell(events.Draining(10.0))
    bench.tell(events.Bereaved(lease._replace(id=uuid4().bytes), WRONG))
    [serial, *_] = bench.seat.inflight
    commands = bench.say(wire.Done(serial, b"{}", 0.1))
    assert [type(c.message) for c in commands if isinstance(c, Send)] == [wire.Mourn]


WENT_ON = "what a failed job had started went on"


def test_a_worker_in_which_something_of_a_failed_attempt_goes_on_is_killed_at_once() -> None:
    bench = Bench()
    serial, lease = bench.run()
    bench.tell(events.Leased([waiting := lease._replace(id=uuid4().bytes, token=uuid4().bytes)]))
    commands = bench.goes_on(serial)
    assert kills(commands) == [WENT_ON]
    [told] = [c for c in commands if isinstance(c, Note)]
    assert (told.event, told.facts["goes_on"]) == ("attempt_goes_on", ["thread rows"])
    assert not bench.scheduler.take(), "it is reported when its worker is gone"
    bench.die(WENT_ON)
    assert not bench.scheduler.take(), "and when on_failure has run, elsewhere"
    other = Seat(next(keys), 1)
    commands = bench.tell(events.Joined(other, frozenset({TYPE})))
    [mourn] = [c.message for c in commands if isinstance(c, Send)]
    assert isinstance(mourn, wire.Mourn)
    assert (mourn.lease, mourn.failure.type) == (lease, "ValueError")
    bench.tell(events.Said(other, [wire.Mourned(mourn.serial)], {}, 0))
    [outcome] = bench.scheduler.take()
    assert outcome.verdict == Failed(outcome.verdict.failure, retryable=True)  # type: ignore[union-attr]
    assert {a.lease for a in other.inflight.values()} | set(bench.waiting()) == {waiting}


def test_those_that_run_beside_it_have_their_time_first() -> None:
    bench = Bench(slots=2)
    serial, _ = bench.run()
    beside, _ = bench.run()
    assert not kills(bench.goes_on(serial))
    assert not kills(bench.look_until(50.0)), "no on_failure of it is overdue: none has begun"
    bench.say(wire.Batch(1, [(beside, b"{}", 50.0)]))
    assert kills(bench.look_until(51.0)) == [WENT_ON]


def test_an_interrupted_attempt_of_which_something_goes_on_is_given_back_when_that_is_gone() -> (
    None
):
    bench = Bench()
    serial, lease = bench.run()
    bench.tell(events.Draining(0.0))
    assert kills(bench.goes_on(serial, "Interrupted")) == [WENT_ON]
    assert not bench.scheduler.take()
    bench.die(WENT_ON)
    [outcome] = bench.scheduler.take()
    assert isinstance(outcome.verdict, Interrupted)
    assert outcome.lease == lease


def test_an_attempt_whose_lease_was_lost_is_not_reported_either_way() -> None:
    bench = Bench()
    serial, lease = bench.run()
    bench.tell(events.Stopped([lease], Fate.FORFEITED))
    bench.goes_on(serial, "Interrupted")
    bench.die(WENT_ON)
    assert not bench.scheduler.take()
    assert bench.scheduler.empty
