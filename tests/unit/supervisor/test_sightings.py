"""What runs is judged by what was seen of it first, whatever a page says later."""

from __future__ import annotations

import json

import pytest

from portico.ports.job_executor import Failed, Suspected
from portico.ports.leasing import Lease
from portico.ports.time_limits import LONGEST, TimeLimits
from portico.supervisor import wire
from portico.supervisor.scheduling import events
from portico.supervisor.scheduling.assignment import Fate
from portico.supervisor.scheduling.scheduler import Scheduler
from portico.supervisor.scheduling.seat import Seat, Told
from portico.supervisor.scheduling.watch import Limits
from tests.unit.supervisor.test_scheduler import DONE, Pool, killed, lease

CAP = 20.0
STEP = 0.1


def with_metadata(metadata: bytes) -> Lease:
    return lease()._replace(metadata=metadata)


def running(job: Lease | None = None, *, cap: float | None = None, **limits: float | None) -> Pool:
    """A pool in which one job runs; it has 10 s and a grace of 1 s unless it says otherwise."""
    pool = Pool()
    pool.scheduler = Scheduler(
        Limits(
            usual=TimeLimits(10.0, 1.0),
            max_job_timeout=cap,
            on_failure_timeout=5.0,
            unresponsive=3.0,
        )
    )
    seat = pool.join()
    seat.told = Told({"short": limits})
    pool.lease(job or lease())
    pool.start(seat, *seat.inflight)
    return pool


def killed_after(pool: Pool, most: float = 60.0) -> float | None:
    """Seconds until the worker is killed for its job's deadline; `None`: not within `most`."""
    begin = pool.now
    while pool.now - begin < most:
        if Fate.OVERDUE.value in killed(pool.look(STEP)):
            return pool.now - begin
    return None


def rewritten(pool: Pool, seat: Seat) -> None:
    pool.pages[seat] = dict.fromkeys(seat.inflight, pool.now)


def wiped(pool: Pool, seat: Seat) -> None:
    pool.pages[seat] = {}


def foreign(pool: Pool, seat: Seat) -> None:
    pool.pages[seat] = {2**63: pool.now}


def in_the_future(pool: Pool, seat: Seat) -> None:
    pool.pages[seat] = dict.fromkeys(seat.inflight, 1e12)


@pytest.mark.parametrize("forge", [rewritten, wiped, foreign, in_the_future])
def test_a_page_that_is_written_anew_does_not_put_a_deadline_off(forge):
    pool = running()
    seat = pool.seats[-1]
    pool.look(STEP)
    for _ in range(200):
        forge(pool, seat)
        if Fate.OVERDUE.value in killed(pool.look(STEP)):
            break
    assert 111 <= round((pool.now - 100.0) / STEP) <= 115


def test_a_job_whose_start_was_put_into_the_future_at_once_is_timed_from_its_first_sight():
    pool = running()
    in_the_future(pool, pool.seats[-1])
    assert killed_after(pool) == pytest.approx(11.3, abs=0.15)


def test_a_job_that_was_seen_running_is_charged_also_where_its_page_was_wiped_before_the_death():
    pool = running()
    seat = pool.seats[-1]
    pool.look(STEP)
    wiped(pool, seat)
    pool.die(seat)
    [outcome] = pool.outcomes()
    assert outcome.verdict.failure.type == "WorkerLostError"


def test_where_another_job_was_put_in_its_place_neither_is_charged_alone():
    pool = Pool()
    pool.learn("short", 0.0001)
    pool.lease(lease(), lease())
    seat = pool.seats[0]
    first, second = seat.inflight
    pool.start(seat, first)
    pool.look(0.02)
    pool.pages[seat] = {second: pool.now}
    pool.die(seat)
    assert [type(outcome.verdict) for outcome in pool.outcomes()] == [Suspected, Suspected]


def test_what_was_seen_running_cannot_be_given_back():
    pool = running()
    seat = pool.seats[-1]
    pool.look(STEP)
    wiped(pool, seat)
    [command] = pool.say(seat, wire.Recalled(list(seat.inflight)))
    assert isinstance(command, events.Discredit)


@pytest.mark.parametrize(
    ("metadata", "seconds"),
    [
        (b"{}", 11),
        (b'{"job_timeout": 2}', 3),
        (b'{"job_timeout": 2, "kill_grace": 0}', 2),
        (b'{"a": [1, {"job_timeout": 1}], "job_timeout": 4.5, "kill_grace": 0.5}', 5),
        (b'{"job_timeout": "2"}', 11),
        (b'{"job_timeout": -1, "kill_grace": true}', 11),
        (b'{"job_timeout": 1e999}', 11),
        (b'{"job_timeout": 2, "x": "\\ud800"}', 3),
        (b'{"job_timeout": NaN}', 11),
        (b'{"job_timeout": ' + b"[" * 100_000, 11),
        (b'["job_timeout"]', 11),
        (b'"job_timeout"', 11),
        (b'{"job_timeout": 2', 11),
        (b'\xff\xfe{"job_timeout": 2}', 11),
        (b'{"job_timeout": 3, "job_timeout": 2}', 3),
        (b'{"job_timeout": 1' + b"0" * 5000 + b"}", 11),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_the_limits_of_one_job_are_those_that_the_store_has(metadata, seconds):
    after = killed_after(running(with_metadata(metadata)))
    assert after == pytest.approx(seconds + 0.2, abs=0.25)


def test_no_limit_is_heard_from_a_job_whose_metadata_say_that_it_has_none():
    assert killed_after(running(with_metadata(b'{"job_timeout": null}'))) is None


def test_the_limits_of_a_type_are_those_that_its_worker_told_before_it_ran_anything():
    assert killed_after(running(job_timeout=3.0)) == pytest.approx(4.2, abs=0.25)
    assert killed_after(running(job_timeout=float("nan"))) == pytest.approx(11.2, abs=0.25)


@pytest.mark.parametrize(
    "asked",
    [
        {"job_timeout": None},
        {"job_timeout": LONGEST},
        {"job_timeout": 1.0, "kill_grace": LONGEST},
        {"job_timeout": None, "kill_grace": LONGEST},
    ],
    ids=str,
)
@pytest.mark.parametrize("by_type", [False, True])
def test_nobody_gets_more_time_than_the_operator_allows_and_that_is_told_once(asked, by_type):
    job = lease() if by_type else with_metadata(json.dumps(asked).encode())
    pool = running(job, cap=CAP, **(asked if by_type else {}))
    noted = [c for c in pool.look(STEP) if isinstance(c, events.Note)]
    assert [note.event for note in noted] == ["job_timeout_cut"]
    assert killed_after(pool) == pytest.approx(CAP + 1.0 + 0.2, abs=0.25)
    [serial] = pool.seats[-1].inflight
    assert pool.seats[-1].inflight[serial].fate is Fate.OVERDUE


def test_whoever_asks_for_less_than_the_operator_allows_gets_that():
    pool = running(with_metadata(b'{"job_timeout": 3, "kill_grace": 5}'), cap=CAP)
    assert killed_after(pool) == pytest.approx(8.2, abs=0.25)


@pytest.mark.parametrize("job_timeout", [None, 5.0, CAP, 300.0])
def test_a_cap_bounds_all_that_has_no_limits_of_its_own(job_timeout):
    limits = TimeLimits(job_timeout, 2.0).within(CAP, 2.0)
    assert limits.hard is not None
    assert limits.hard <= CAP + 2.0
    assert limits.job_timeout == min(CAP, job_timeout or CAP)


def test_an_end_that_comes_after_all_is_believed():
    pool = running()
    seat = pool.seats[-1]
    pool.look(STEP)
    wiped(pool, seat)
    pool.look(STEP)
    [serial] = seat.inflight
    pool.start(seat, serial)
    pool.say(seat, wire.Done(serial, DONE, 0.1))
    assert not any(isinstance(one.verdict, Failed) for one in pool.outcomes())
