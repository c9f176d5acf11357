"""Workers that serve so many jobs and no more: what they are given, and when they are replaced."""

from __future__ import annotations

import pytest

from portico.ports.job_executor import Failed
from portico.ports.leasing import Failure
from portico.supervisor import wire
from portico.supervisor.scheduling import events
from portico.supervisor.scheduling.seat import Seat
from tests.unit.supervisor.test_scheduler import DONE, Pool, held, lease, sent


class Serving(Pool):
    """A pool whose workers serve so many jobs each; the first job is one of a known short type."""

    def __init__(self, most: int | None, workers=1, slots=1, mourners=()) -> None:
        self.most: int | None = None
        super().__init__(slots=slots, mourners=mourners)
        self.learn("short", 0.0001)
        self.tell(events.Closing(self.seats[0]))
        self.most = most
        for _ in range(workers):
            self.join(slots)

    def seat(self, number: int, slots: int) -> Seat:
        return Seat(number, slots, self.most, None, self.most)


def recycled(commands) -> list[str]:
    return [command.reason for command in commands if isinstance(command, events.Recycle)]


def test_a_worker_for_each_job_is_given_one_and_never_another():
    pool = Serving(1)
    jobs = [lease() for _ in range(5)]
    pool.lease(*jobs)
    seat = pool.seats[-1]
    assert held(seat) == jobs[:1]
    [serial] = seat.inflight
    pool.start(seat, serial)
    assert recycled(pool.say(seat, wire.Done(serial, DONE, 0.0001))) == ["max jobs"]
    assert pool.turn() == {}, "it has served its job"
    successor = pool.join()
    pool.turn()
    assert held(successor) == jobs[1:2]


@pytest.mark.parametrize("slots", [1, 4])
@pytest.mark.parametrize("most", [3, 7])
def test_a_worker_is_never_given_more_jobs_than_it_serves(most, slots):
    pool = Serving(most, slots=slots)
    pool.lease(*(lease() for _ in range(20)))
    seat, given = pool.seats[-1], 0
    while seat.inflight:
        serial = next(iter(seat.inflight))
        given += 1
        pool.run(seat, serial, 0.0001)
        pool.turn()
    assert given == most


def test_the_mourning_for_another_job_is_what_a_worker_for_one_job_serves():
    pool = Serving(1, workers=2, mourners=["listening"])
    job = lease("listening")
    pool.lease(job)
    seat = next(seat for seat in pool.seats if seat.inflight)
    pool.start(seat, *seat.inflight)
    pool.die(seat)
    [(other, [mourn])] = pool.turn().items()
    pool.lease(lease())
    assert len(other.inflight) == 1, "no job beside it"
    pool.start(other, mourn.serial)
    assert recycled(pool.say(other, wire.Mourned(mourn.serial))) == ["max jobs"]
    assert pool.turn() == {}, "nor after it"


def test_the_on_failure_of_its_own_job_is_part_of_it():
    pool = Serving(1, mourners=["listening"])
    pool.lease(lease("listening"))
    seat = pool.seats[-1]
    [serial] = seat.inflight
    pool.start(seat, serial)
    boom = Failed(Failure("Boom", "boom"), retryable=True)
    assert recycled(pool.say(seat, wire.Ended.of(serial, boom, 0.1, mourning=True))) == []
    assert recycled(pool.say(seat, wire.Mourned(serial))) == ["max jobs"]


def test_a_suspect_is_the_one_job_of_its_worker():
    pool = Serving(1)
    suspect, other = lease(suspect=True), lease()
    pool.lease(other, suspect)
    seat = pool.seats[-1]
    assert held(seat) == [suspect]
    pool.run(seat, *seat.inflight)
    assert pool.turn() == {}


def test_a_worker_for_one_job_that_gives_it_back_gets_no_other():
    """It has seen that one: of its own accord it could look through all that wait."""
    pool = Serving(1)
    jobs = [lease(), lease()]
    pool.lease(*jobs)
    seat = pool.seats[-1]
    [serial] = seat.inflight
    assert recycled(pool.say(seat, wire.Recalled([serial]))) == ["it gave its one job back"]
    assert pool.turn() == {}
    successor = pool.join()
    pool.turn()
    assert held(successor) == jobs[:1]


def test_what_a_worker_gives_back_it_may_be_given_again_where_it_serves_several():
    pool = Serving(3)
    pool.lease(*(lease() for _ in range(3)))
    seat = pool.seats[-1]
    first, *waiting = seat.inflight
    pool.start(seat, first)
    pool.say(seat, wire.Recalled(waiting))
    pool.say(seat, wire.Done(first, DONE, 0.0001))
    assert len(sent(pool.tell(events.Turn()))[seat][0].leases) == 2


def test_no_more_is_leased_than_workers_will_take_in_their_life():
    pool = Serving(1, workers=2)
    assert pool.scheduler.free() <= 2 * len(pool.seats)
