"""Types of which only so many jobs may run at a time: no slot of theirs idles, and they keep their
order."""

from __future__ import annotations

from itertools import count

from portico.kits.job.turns import EASE, SHORTEST
from portico.ports.job_executor import Deferred, Released
from portico.ports.leasing import Lease
from portico.ports.time_limits import TimeLimits
from portico.supervisor import wire
from portico.supervisor.scheduling import events
from portico.supervisor.scheduling.scheduler import Scheduler
from portico.supervisor.scheduling.seat import Seat
from portico.supervisor.scheduling.watch import Limits

LIMITS = Limits(usual=TimeLimits(600.0, 1.0), on_failure_timeout=5.0, unresponsive=1e9)
_ids = count(1)


def lease(job_type: str = "report") -> Lease:
    return Lease(
        next(_ids).to_bytes(16, "big"), b"token", 1, "default", job_type, b"{}", 0, 3, 0, None, 0,
        0, None, b"{}", None, False,
    )  # fmt: skip


class Pool:
    """Four workers, and a limit of two."""

    def __init__(self, most: int = 2) -> None:
        self.scheduler = Scheduler(LIMITS)
        self.now = 100.0
        self.seats = [Seat(number, 1) for number in range(4)]
        for seat in self.seats:
            self.tell(events.Joined(seat, frozenset(), {"report": most}))

    def tell(self, event: events.Event) -> None:
        self.scheduler.step(event, self.now)
        self.scheduler.step(events.Turn(), self.now)

    def lease(self, *leases: Lease) -> None:
        self.tell(events.Leased(leases))

    def room(self) -> dict[str, int]:
        return self.scheduler.room(self.now)

    def running(self, job_type: str = "report") -> list[Lease]:
        held = (one.lease for seat in self.seats for one in seat.inflight.values())
        return sorted(lease for lease in held if lease.job_type == job_type)

    def end(self, ended: Lease, seconds: float = 5.0) -> None:
        for seat in self.seats:
            for serial, one in list(seat.inflight.items()):
                if one.lease is ended:
                    done = wire.Batch(1, [(serial, b"{}", seconds)])
                    self.tell(events.Said(seat, [done], {}, serial))


def test_the_next_one_begins_as_soon_as_one_ends() -> None:
    pool, jobs = Pool(), [lease() for _ in range(4)]
    pool.lease(*jobs)
    assert pool.running() == jobs[:2]
    pool.end(jobs[0])
    assert pool.running() == jobs[1:3], "in the same step, and in order"
    pool.end(jobs[2])
    assert pool.running() == [jobs[1], jobs[3]]


def test_what_waits_for_its_turn_takes_no_place_from_other_types() -> None:
    pool = Pool()
    pool.lease(*[lease() for _ in range(4)], lease("mail"))
    assert len(pool.running("mail")) == 1
    assert pool.scheduler.free() > 0


def test_short_jobs_are_kept_for_as_long_as_it_takes_to_get_more() -> None:
    pool = Pool()
    first = lease()
    pool.lease(first)
    pool.end(first, seconds=0.01)
    pool.lease(*[lease() for _ in range(300)])
    kept = pool.scheduler.waiting + pool.scheduler.running
    assert kept == 300
    assert kept * 0.01 / 2 > SHORTEST


def test_a_flood_is_not_kept_from_other_supervisors() -> None:
    pool = Pool()
    pool.lease(*[lease() for _ in range(100)])
    put_off = [one for one in pool.scheduler.take() if isinstance(one.verdict, Deferred)]
    assert len(put_off) == 96
    assert pool.scheduler.waiting == 2


def test_no_more_of_a_type_are_asked_for_than_may_wait_here() -> None:
    pool = Pool()
    jobs = [lease() for _ in range(4)]
    assert pool.room() == {}, "nothing is known of it"
    pool.lease(*jobs[:2])
    assert pool.room() == {"report": 2}
    pool.lease(*jobs[2:])
    assert pool.room() == {"report": 0}
    pool.end(jobs[0])
    assert pool.room() == {"report": 1}
    assert pool.scheduler.free() > 0, "and others may be leased"


def test_what_waits_for_a_worker_takes_the_room_of_its_type_too() -> None:
    pool = Pool(most=4)
    pool.lease(*[lease("mail") for _ in range(4)])
    pool.lease(*[lease() for _ in range(3)])
    assert pool.room() == {}, "none runs, so that any number may come"
    pool = Pool()
    first = [lease() for _ in range(2)]
    pool.lease(*first, *[lease("mail") for _ in range(2)])
    pool.lease(lease("mail"), lease())
    assert pool.room() == {"report": 1}


def test_what_is_asked_for_is_kept() -> None:
    pool = Pool()
    running = [lease() for _ in range(2)]
    pool.lease(*running)
    for _ in range(200):
        pool.lease(*[lease() for _ in range(pool.room().get("report", 0))])
        pool.end(pool.running()[0], seconds=0.01)
    assert [one for one in pool.scheduler.take() if isinstance(one.verdict, Deferred)] == []


def test_a_type_of_which_fewer_run_again_is_asked_for_without_a_bound() -> None:
    pool, job = Pool(most=1), lease()
    pool.lease(job)
    assert pool.room() == {"report": 1}
    pool.end(job)
    pool.now += EASE / 2
    assert pool.room() == {"report": 2}
    pool.now += EASE
    assert pool.room() == {}


def test_waiting_for_a_turn_is_no_reason_to_go_back_to_the_store() -> None:
    pool, jobs = Pool(), [lease() for _ in range(4)]
    pool.lease(*jobs)
    pool.now += 10 * LIMITS.patience
    pool.tell(events.Looked({}))
    assert pool.scheduler.take() == []
    assert {*jobs} <= {*pool.scheduler.held()}, "and their leases are renewed"


def test_a_higher_limit_after_a_reload_counts_at_once() -> None:
    pool, jobs = Pool(), [lease() for _ in range(4)]
    pool.lease(*jobs, *[lease("mail") for _ in range(3)])
    newcomer = Seat(9, 1)
    pool.seats.append(newcomer)
    pool.tell(events.Joined(newcomer, frozenset(), {"report": 3}))
    assert pool.running() == jobs[:3], "what waited for its turn is older than what came after it"


def test_a_drain_releases_what_waits_for_its_turn() -> None:
    pool, jobs = Pool(), [lease() for _ in range(4)]
    pool.lease(*jobs)
    pool.tell(events.Draining(5.0))
    released = [one.lease for one in pool.scheduler.take() if isinstance(one.verdict, Released)]
    assert sorted(released) == jobs[2:]
    pool.end(jobs[0])
    assert pool.running() == [jobs[1]]
