"""Types whose jobs share a worker with nothing, before or after them."""

from __future__ import annotations

import pytest

from portico.exceptions import ConfigurationError
from portico.kits.job.handlers import handlers_by_type, lone_types
from portico.ports.job import Job, JobResult
from portico.ports.job_executor import Deferred
from portico.ports.job_handler import JobHandler
from portico.ports.leasing import Failure
from portico.supervisor import wire
from portico.supervisor.scheduling import backlog, events
from portico.supervisor.scheduling.seat import Seat, Told
from tests.unit.supervisor.test_scheduler import Pool, held, lease


class Apart(Pool):
    """A pool in which the jobs of `alone` are; its first worker has run something."""

    def __init__(self, workers=1, used=True) -> None:
        super().__init__(workers)
        if used:
            self.learn("short", 0.0001)

    def seat(self, number: int, slots: int) -> Seat:
        seat = Seat(number, slots)
        seat.told = Told(lone=frozenset({"alone"}))
        return seat

    def finish(self, seat: Seat) -> list[events.Command]:
        found = []
        for serial in list(seat.inflight):
            self.run(seat, serial)
        return found


def recycled(commands: list[events.Command]) -> list[Seat]:
    return [command.seat for command in commands if isinstance(command, events.Recycle)]


def test_such_a_job_waits_for_a_fresh_worker_and_one_is_replaced_for_it():
    pool, job = Apart(), lease("alone")
    pool.tell(events.Leased([job]))
    assert held(pool.seats[0]) == []
    assert recycled(pool.look(1.5)) == [pool.seats[0]], "asked for again: none has come"
    fresh = pool.join()
    pool.turn()
    assert held(fresh) == [job]


def test_its_worker_is_given_nothing_else_and_goes():
    pool = Apart(used=False)
    pool.lease(lease("alone"), lease(), lease())
    [seat] = pool.seats
    assert len(held(seat)) == 1
    assert held(seat)[0].job_type == "alone"
    [serial] = seat.inflight
    pool.start(seat, serial)
    assert recycled(pool.say(seat, wire.Done(serial, b"{}", 0.001))) == [seat]
    assert pool.turn() == {}
    other = pool.join()
    pool.turn()
    assert [one.job_type for one in held(other)] == ["short"]


def test_jobs_of_other_types_run_meanwhile_and_take_turns_at_fresh_workers():
    pool = Apart()
    pool.lease(*(lease("alone") for _ in range(3)), lease())
    assert [one.job_type for one in held(pool.seats[0])] == ["short"]
    pool.finish(pool.seats[0])
    kinds = []
    for _ in range(4):
        pool.lease(lease())
        for old in pool.seats:
            pool.finish(old)
            pool.tell(events.Closing(old))
        pool.turn()
        seat = pool.join()
        pool.lease(lease())
        kinds += [one.job_type for one in held(seat)][:1]
    assert kinds == ["alone", "short", "alone", "short"]


def test_no_more_of_them_are_kept_than_workers_come_to_soon():
    pool = Apart()
    pool.lease(*(lease("alone") for _ in range(backlog._MOST_LONE + 5)))
    deferred = [one for one in pool.outcomes() if isinstance(one.verdict, Deferred)]
    assert len(deferred) == 5
    assert pool.scheduler.room(pool.now)["alone"] == 0


def test_no_more_of_them_run_than_may_however_many_fresh_workers_there_are():
    pool = Apart(workers=3, used=False)
    pool.tell(events.Joined(pool.seats[0], frozenset(), {"alone": 1}))
    pool.lease(lease("alone"), lease("alone"))
    assert sum(len(seat.inflight) for seat in pool.seats) == 1


def test_an_on_failure_is_not_run_beside_it():
    pool = Apart(used=False)
    pool.mourners = frozenset({"short"})
    pool.lease(lease("alone"))
    pool.tell(events.Bereaved(lease(), Failure("WorkerLostError", "gone")))
    assert pool.turn() == {}


def test_its_on_failure_has_a_fresh_worker_to_itself_too():
    pool = Apart()
    pool.mourners = frozenset({"alone", "short"})
    pool.join()
    pool.learn("short", 0.0001)
    for seat in pool.seats:
        seat.load.fresh = False
    pool.tell(events.Bereaved(lease("alone"), Failure("WorkerLostError", "gone")))
    assert not [seat for seat in pool.seats if seat.inflight]
    assert recycled(pool.tell(events.Turn())) != []
    pool.tell(events.Bereaved(lease(), Failure("WorkerLostError", "gone")))
    pool.turn()
    [others] = [seat for seat in pool.seats if seat.inflight]
    assert held(others)[0].job_type == "short"
    fresh = pool.join()
    [[mourn]] = pool.turn().values()
    assert mourn.lease.job_type == "alone"
    pool.lease(lease())
    assert len(fresh.inflight) == 1
    assert recycled(pool.say(fresh, wire.Mourned(mourn.serial))) == [fresh]
    assert pool.turn().keys() <= {others, *pool.seats} - {fresh}


class Handler(JobHandler):
    job_type = "a.b"

    async def handle(self, job: Job) -> JobResult:
        return JobResult(success=True)


def test_a_handler_says_so_by_an_attribute():
    class Alone(Handler):
        alone = True

    class Shared(Handler):
        job_type = "c.d"
        alone = False

    class Silent(Handler):
        job_type = "e.f"

    assert lone_types(handlers_by_type([Alone(), Shared(), Silent()])) == {"a.b"}


@pytest.mark.parametrize("said", ["yes", 1, ()])
def test_what_is_neither_true_nor_false_is_refused(said):
    class Odd(Handler):
        alone = said

    with pytest.raises(ConfigurationError, match=r"alone of .* give True or False"):
        handlers_by_type([Odd()])


def test_a_misspelt_one_is_refused():
    class Odd(Handler):
        alones = True

    with pytest.raises(ConfigurationError, match="did you mean 'alone'"):
        handlers_by_type([Odd()])
