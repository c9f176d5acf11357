"""What a job type that kills its workers again and again costs: itself, and nobody else."""

from __future__ import annotations

import signal
from itertools import count
from random import Random

from portico.ports.job_executor import Crashed, Deferred
from portico.ports.leasing import Failure, Lease
from portico.ports.time_limits import TimeLimits
from portico.supervisor import wire
from portico.supervisor.exit import Exit
from portico.supervisor.scheduling import confinement, events
from portico.supervisor.scheduling.events import Note, Send
from portico.supervisor.scheduling.scheduler import Scheduler
from portico.supervisor.scheduling.seat import Seat
from portico.supervisor.scheduling.watch import Limits

LIMITS = Limits(usual=TimeLimits(10.0, 1.0), on_failure_timeout=5.0, unresponsive=30.0)
PAUSE = 1.0
"""More than any that follows a death here."""
_ids = count(1)


def lease(job_type: str = "healthy", *, suspect: bool = False) -> Lease:
    return Lease(
        next(_ids).to_bytes(16, "big"), b"token", 1, "default", job_type, b"{}", 0, 3, 0, None, 0,
        0, None, b"{}", None, suspect,
    )  # fmt: skip


class Pool:
    """A scheduler whose workers die when told to, and are replaced at once."""

    def __init__(self, workers: int = 3, slots: int = 1) -> None:
        self.scheduler = Scheduler(LIMITS)
        self.now = 100.0
        self.slots = slots
        self.seats: list[Seat] = []
        self.notes: list[Note] = []
        self.recalled: list[Seat] = []
        self.keys = count(1)
        for _ in range(workers):
            self.join()

    def tell(self, event: events.Event) -> None:
        for told in (event, events.Turn()):
            for command in self.scheduler.step(told, self.now):
                if isinstance(command, Note):
                    self.notes.append(command)
                elif isinstance(command, Send) and isinstance(command.message, wire.Recall):
                    self.recalled.append(command.seat)

    def join(self) -> Seat:
        seat = Seat(next(self.keys), self.slots)
        self.seats.append(seat)
        self.tell(events.Joined(seat, frozenset()))
        return seat

    def lease(self, *leases: Lease) -> None:
        self.tell(events.Leased(leases))

    def wait(self, seconds: float = PAUSE) -> None:
        self.now += seconds
        self.tell(events.Looked({}))

    def holders(self, job_type: str) -> list[Seat]:
        return [seat for seat in self.seats if seat.holds(job_type)]

    def end(self, seat: Seat, seconds: float = 0.01) -> None:
        """All that it holds has run, one after the other."""
        ends = [(serial, b"{}", seconds) for serial in seat.inflight]
        self.tell(events.Said(seat, [wire.Batch(1, ends)], {}, max(seat.inflight)))

    def die(self, seat: Seat, ran: float = 0.0, *, replaced: bool = True) -> Seat:
        """The first job that it holds kills it."""
        self.seats.remove(seat)
        started = {min(seat.inflight): self.now - ran}
        seat.inflight[min(seat.inflight)].since = self.now - ran
        end = Exit(None, signal.SIGKILL)
        self.tell(events.Died(seat, started, end, None, lambda _: ""))
        return self.join() if replaced else seat

    def crash(self, times: int = confinement.FEWEST, job_type: str = "killer") -> None:
        """Jobs of one type kill a worker each, one after another."""
        for _ in range(times):
            self.lease(lease(job_type))
            [seat] = self.holders(job_type)
            self.die(seat)

    def events(self, name: str) -> list[object]:
        return [note.facts["job_type"] for note in self.notes if note.event == name]


def test_a_type_whose_jobs_kill_again_and_again_is_confined_and_the_log_names_it() -> None:
    pool = Pool()
    pool.crash(confinement.FEWEST - 1)
    assert not pool.scheduler.confined
    pool.crash(1)
    assert pool.scheduler.confined == ["killer"]
    assert pool.events("type_confined") == ["killer"]


def test_a_type_whose_on_failure_kills_again_and_again_is_confined_as_well() -> None:
    pool = Pool()
    failed = Failure("ValueError", "wrong")
    for _ in range(confinement.FEWEST):
        pool.lease(lease("killer"))
        [seat] = pool.holders("killer")
        [serial] = seat.inflight
        ended = wire.Ended(serial, "Failed", failed, True, 0.001, True)
        pool.tell(events.Said(seat, [ended], {serial: pool.now}, serial))
        pool.die(seat)
        assert seat.blamed
    assert pool.scheduler.confined == ["killer"]


def test_a_worker_that_dies_with_nothing_to_do_is_nobodys_fault() -> None:
    pool = Pool()
    for _ in range(2 * confinement.FEWEST):
        seat = pool.seats.pop()
        pool.tell(events.Died(seat, {}, Exit(None, signal.SIGKILL), None, lambda _: ""))
        pool.join()
        assert not seat.blamed


def test_one_poison_job_does_not_confine_its_type() -> None:
    pool = Pool()
    pool.crash(3)
    pool.wait(confinement.WINDOW)
    pool.crash(3)
    assert not pool.scheduler.confined


def test_deaths_far_apart_do_not_confine_a_type() -> None:
    pool = Pool()
    for _ in range(5 * confinement.FEWEST):
        pool.crash(1)
        pool.wait(confinement.WINDOW / 3)
    assert not pool.scheduler.confined


def test_a_type_whose_work_is_worth_its_deaths_goes_on_in_all_workers() -> None:
    """A few of very many of its jobs die: to confine it would cost more than the deaths do."""
    pool = Pool(workers=1)
    for _ in range(5 * confinement.FEWEST):
        pool.lease(lease("killer"))
        pool.end(pool.seats[0], seconds=0.5)
        pool.crash(1)
    assert not pool.scheduler.confined


def test_a_type_that_works_for_long_before_it_dies_is_not_confined_for_the_start_of_a_worker() -> (
    None
):
    pool = Pool(workers=1)
    for _ in range(3 * confinement.FEWEST):
        pool.lease(lease("killer"))
        pool.die(pool.seats[0], ran=0.9)
    assert not pool.scheduler.confined


def test_where_starting_a_worker_takes_long_the_same_deaths_do_confine_it() -> None:
    pool = Pool(workers=1)
    for _ in range(3 * confinement.FEWEST):
        pool.lease(lease("killer"))
        pool.seats[0].birth = 2.0
        if pool.seats[0].inflight:
            pool.die(pool.seats[0], ran=0.9)
    assert pool.scheduler.confined == ["killer"]


def test_confined_jobs_run_one_at_a_time_in_one_worker_and_all_others_take_the_rest() -> None:
    pool = Pool(slots=4)
    pool.crash()
    pool.wait()
    pool.lease(*[lease("killer") for _ in range(5)])
    pool.lease(*[lease() for _ in range(20)])
    [seat] = pool.holders("killer")
    assert [one.lease.job_type for one in seat.inflight.values()] == ["killer"]
    assert all(other.holds("healthy") for other in pool.seats if other is not seat)


def test_the_next_confined_job_waits_for_the_replacement_of_the_worker_it_is_confined_to() -> None:
    pool = Pool()
    pool.crash()
    pool.wait()
    pool.lease(lease("killer"), lease("killer"))
    [seat] = pool.holders("killer")
    others = [other for other in pool.seats if other is not seat]
    pool.die(seat, replaced=False)
    pool.wait()
    assert not pool.holders("killer"), "the other workers are not for it"
    replacement = pool.join()
    assert pool.holders("killer") == [replacement]
    assert [other for other in pool.seats if other is not replacement] == others


def test_after_a_death_the_confined_pause_and_their_worker_does_other_work() -> None:
    pool = Pool(workers=1)
    pool.crash()
    pool.wait()
    pool.lease(lease("killer"), lease("killer"))
    replacement = pool.die(pool.seats[0])
    assert not pool.holders("killer")
    assert pool.scheduler.due is not None
    assert pool.now < pool.scheduler.due <= pool.now + PAUSE, "it asks to be told when that is over"
    pool.lease(lease())
    assert pool.holders("healthy") == [replacement]
    pool.end(replacement)
    pool.wait()
    assert pool.holders("killer") == [replacement]


def test_confined_jobs_that_wait_for_their_worker_and_not_for_time_ask_for_no_look_at_once() -> (
    None
):
    pool = Pool(workers=1)
    pool.crash()
    pool.wait()
    pool.lease(lease("killer"), lease("killer"))
    pool.die(pool.seats[0], replaced=False)
    pool.wait()
    assert pool.scheduler.due is not None
    assert pool.scheduler.due > pool.now


def test_in_a_pool_of_one_confined_jobs_and_others_take_turns() -> None:
    pool = Pool(workers=1)
    pool.crash()
    pool.wait()
    pool.lease(*[lease("killer") for _ in range(4)], *[lease() for _ in range(4)])
    ran = []
    for _ in range(8):
        [held] = {one.lease.job_type for one in pool.seats[0].inflight.values()}
        ran.append(held)
        pool.end(pool.seats[0], seconds=0.5)
    assert ran == ["healthy", "killer"] * 4


def test_a_worker_that_closes_while_it_runs_one_is_waited_for() -> None:
    pool = Pool()
    pool.crash()
    pool.wait()
    pool.lease(lease("killer"), lease("killer"))
    [ward] = pool.holders("killer")
    pool.tell(events.Closing(ward))
    assert pool.holders("killer") == [ward]
    pool.end(ward)
    assert len(pool.holders("killer")) == 1, "and then another worker takes its place"


def test_several_confined_types_share_one_worker() -> None:
    pool = Pool()
    pool.crash()
    pool.crash(job_type="murderer")
    assert pool.scheduler.confined == ["killer", "murderer"]
    pool.wait()
    pool.lease(lease("killer"), lease("murderer"))
    assert len(pool.holders("killer") + pool.holders("murderer")) == 1


def test_what_other_workers_have_not_started_of_it_is_taken_back() -> None:
    pool = Pool(workers=2)
    pool.lease(lease("killer"))
    pool.end(pool.holders("killer")[0], seconds=0.0001)
    pool.crash(confinement.FEWEST - 1)
    pool.lease(*[lease("killer") for _ in range(20)])
    first, second = pool.seats
    assert len(first.inflight) > 1
    assert len(second.inflight) > 1
    pool.die(first)
    assert pool.scheduler.confined == ["killer"]
    assert pool.recalled == [second]
    running, *waiting = second.inflight
    pool.tell(events.Said(second, [wire.Recalled(waiting)], {running: pool.now}, running))
    assert pool.holders("killer") == [second]
    assert len(second.inflight) == 1


def test_suspects_of_a_confined_type_wait_for_its_worker_too() -> None:
    pool = Pool()
    pool.crash()
    pool.wait()
    pool.lease(*[lease("killer", suspect=True) for _ in range(3)])
    assert len(pool.holders("killer")) == 1


def test_no_more_confined_jobs_are_kept_than_their_worker_comes_to_soon() -> None:
    pool = Pool()
    pool.crash()
    pool.scheduler.take()
    pool.lease(*[lease("killer") for _ in range(100)], lease())
    put_off = [one.verdict for one in pool.scheduler.take() if isinstance(one.verdict, Deferred)]
    kept = pool.scheduler.waiting + pool.scheduler.running
    assert len(put_off) + kept == 101
    assert kept < 20
    assert pool.holders("healthy")
    assert pool.scheduler.free() > 0, "and they do not keep others from being leased"
    assert pool.scheduler.room(pool.now) == {"killer": 0}, "nor are more of them asked for"


def test_a_type_that_has_behaved_is_released() -> None:
    pool = Pool()
    pool.crash()
    pool.lease(*[lease("killer") for _ in range(3)])
    assert pool.scheduler.due is not None
    pool.wait(confinement.GOOD_CONDUCT)
    assert pool.scheduler.confined == []
    assert pool.events("type_released") == ["killer"]
    assert len(pool.holders("killer")) == 3, "they go to all workers again"


def test_a_death_starts_the_time_of_good_conduct_anew() -> None:
    pool = Pool()
    pool.crash()
    pool.wait(confinement.GOOD_CONDUCT * 0.9)
    pool.crash(1)
    pool.wait(confinement.GOOD_CONDUCT * 0.9)
    assert pool.scheduler.confined == ["killer"]


def test_where_workers_start_slowly_the_confined_still_come_to_their_end() -> None:
    pool = Pool()
    pool.crash()
    pool.wait()
    pool.lease(lease("killer"), lease("killer"))
    [seat] = pool.holders("killer")
    seat.birth = 60.0
    pool.die(seat)
    pool.wait(5.0)
    assert not pool.holders("killer"), "each death costs a minute of a worker"
    pool.wait(5.0)
    assert pool.holders("killer")


def test_the_confined_are_charged_as_ever() -> None:
    pool = Pool()
    pool.crash()
    pool.wait()
    pool.scheduler.take()
    pool.crash(1)
    assert [type(one.verdict) for one in pool.scheduler.take()] == [Crashed]


def test_a_confined_job_moves_on_when_its_worker_is_busy_for_long() -> None:
    pool = Pool(workers=2)
    pool.crash()
    pool.wait()
    pool.lease(lease("killer"))
    [ward] = pool.holders("killer")
    pool.end(ward)
    pool.lease(lease(), lease())
    [other] = [seat for seat in pool.seats if seat is not ward]
    pool.end(other)
    pool.lease(lease("killer"))
    assert not pool.holders("killer"), "it waits for the worker that it knows"
    ward.load.stuck = True
    pool.tell(events.Turn())
    assert pool.holders("killer") == [other]


class Walk:
    """A random history of a pool, with what has to hold after each step of it."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.pool = Pool(self.random.randint(1, 4), self.random.choice((1, 1, 2)))
        self.leased: list[Lease] = []
        self.reported: list[Lease] = []

    def step(self) -> None:
        random, pool = self.random, self.pool
        busy = [seat for seat in pool.seats if seat.inflight]
        kind = random.choice(("lease", "end", "end", "wait"))
        if kind == "lease":
            types = random.choices(("healthy", "killer", "murderer"), (6, 3, 1), k=4)
            self.leased += (leases := [lease(job_type) for job_type in types])
            pool.lease(*leases)
        elif kind == "end" and busy:
            self.end(random.choice(busy))
        else:
            pool.wait(random.choice((0.01, 0.3, 3.0)))
        self.check()

    def end(self, seat: Seat) -> None:
        """Its first job kills it, or all that it holds has run."""
        first = seat.inflight[min(seat.inflight)].lease
        if first.job_type == "healthy":
            healthy = [s for s, a in seat.inflight.items() if a.lease.job_type == "healthy"]
            ends = [(serial, b"{}", 0.001) for serial in healthy]
            self.pool.tell(events.Said(seat, [wire.Batch(1, ends)], {}, max(healthy)))
        else:
            self.pool.die(seat)

    def check(self) -> None:
        pool = self.pool
        self.reported += [outcome.lease for outcome in pool.scheduler.take()]
        confined = [seat for seat in pool.seats if seat.load.alone]
        assert len(confined) <= 1, "one worker for all of them"
        assert all(len(seat.inflight) == 1 for seat in confined)
        idle = [seat for seat in pool.seats if seat.load.open and not seat.load.jobs]
        assert not idle or not pool.scheduler._backlog.ahead, "others wait, and a worker is idle"

    def finish(self) -> None:
        for _ in range(20 * len(self.leased)):
            for seat in [seat for seat in self.pool.seats if seat.inflight]:
                self.end(seat)
            self.pool.wait()
            self.check()
            if self.pool.scheduler.empty:
                break
        assert sorted(self.reported) == sorted(self.leased), "each has ended, once"


def test_whatever_happens_no_worker_idles_and_no_two_run_confined_jobs() -> None:
    confined = 0
    for seed in range(60):
        walk = Walk(seed)
        for _ in range(150):
            walk.step()
        confined += bool(walk.pool.events("type_confined"))
        walk.finish()
    assert confined > 30, "or it tells nothing"
