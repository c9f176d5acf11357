"""What is withdrawn by the page: of each job exactly one of worker and supervisor has it."""

from __future__ import annotations

from itertools import product

import pytest

from portico.supervisor import running_page, wire
from portico.supervisor.running_page import RunningPage
from portico.supervisor.scheduling import events
from tests.unit.supervisor.test_scheduler import DONE, LIMITS, Pool, held, killed, lease

JOBS = range(1, 5)
_FEW = 64
"""Accesses of the worker's memory, more than it needs for these."""


class Processor:
    """The shared words as one worker sees them, while its supervisor withdraws at one access and
    looks at another one.

    Stores become visible in order. What was stored after the withdrawal had become visible may not
    be when the supervisor looks: it has not waited for that.
    """

    def __init__(self, withdraw_at: int, look_at: int, *, late: bool) -> None:
        self.words: dict[int, int] = {}
        self.seen: dict[int, int] | None = None
        """By the supervisor, when it looked."""
        self._visible: dict[int, int] = {}
        self._accesses = 0
        self._withdraw_at, self._look_at, self._late = withdraw_at, look_at, late

    def __setitem__(self, word: int, value: int) -> None:
        self._pass()
        self.words[word] = value
        if self._accesses <= self._withdraw_at or not self._late:
            self._visible[word] = value

    def __getitem__(self, word: int) -> int:
        self._pass()
        return self.words.get(word, 0)

    def _pass(self) -> None:
        if self._accesses == self._withdraw_at:
            self.words[running_page._WITHDRAWN] = max(JOBS)
        if self._accesses == self._look_at:
            self.seen = dict(self._visible)
        self._accesses += 1

    def rest(self) -> None:
        """Time passes, and the worker does nothing."""
        while self.seen is None:
            self._pass()


def page_of(words: object) -> RunningPage:
    page = RunningPage.__new__(RunningPage)
    page._words = words  # type: ignore[assignment]
    page._withdrawn_at = -1e9
    return page


class Seen(dict[int, int]):
    def __missing__(self, word: int) -> int:
        return 0


@pytest.mark.parametrize("hook", [False, True])
def test_every_job_is_started_or_taken_back_or_turned_down_however_the_two_are_interleaved(hook):
    outcomes = set()
    for withdraw_at, look_after, late in product(range(_FEW), range(_FEW), (False, True)):
        processor = Processor(withdraw_at, withdraw_at + look_after, late=late)
        worker = page_of(processor)
        started = {serial for serial in JOBS if worker.begin(0, serial, hook=hook)}
        processor.rest()
        reached = page_of(Seen(processor.seen or {})).reached()
        assert reached is not None
        taken = {serial for serial in JOBS if serial > (reached.hook if hook else reached.job)}
        turned_down = set(JOBS) - started
        assert not started & taken, "it runs twice"
        assert started | taken | turned_down == set(JOBS), "it is lost"
        outcomes.add((len(started), len(taken)))
    assert {(0, 4), (1, 3), (2, 2), (4, 0), (2, 1)} <= outcomes


def test_nobody_asks_what_a_worker_has_come_to_before_it_can_know(monkeypatch):
    now = 100.0
    monkeypatch.setattr(running_page, "monotonic", lambda: now)
    page = RunningPage.create(2)
    page.begin(0, 1)
    page.withdraw(5)
    now += running_page.SETTLED / 2
    assert page.reached() is None
    now += running_page.SETTLED
    assert page.reached() == (1, 0)
    assert not page.begin(1, 5)
    assert not page.begin(1, 4, hook=True)
    assert page.reached() == (5, 4)
    assert set(page.started()) == {1}
    assert page.begin(1, 6)
    page.close()


# In the scheduling core


class Withdrawing(Pool):
    """A pool with one worker that has begun the first of some short jobs."""

    def __init__(self, jobs: int = 4, slots: int = 1) -> None:
        super().__init__(slots=slots)
        self.learn("short", 0.0001)
        self.jobs = [lease() for _ in range(jobs)]
        self.lease(*self.jobs)
        self.worker = self.seats[0]
        self.serials = list(self.worker.inflight)
        self.start(self.worker, self.serials[0])

    def look_at(self, job: int, hook: int = 0) -> list[events.Command]:
        self.now += 0.01
        looked = events.Looked(
            {seat.key: page for seat, page in self.pages.items()},
            {self.worker.key: running_page.Reached(job, hook)},
        )
        return self.tell(looked) + self.tell(events.Turn())


def test_what_waits_behind_a_job_that_answers_nothing_runs_elsewhere():
    pool = Withdrawing()
    [withdraw] = [c for c in pool.look(0.02) if isinstance(c, events.Withdraw)]
    assert withdraw == (pool.worker, pool.serials[-1])
    other = pool.join()
    pool.look_at(pool.serials[0])
    pool.turn()
    assert held(pool.worker) == pool.jobs[:1]
    assert held(other) == pool.jobs[1:]


def test_what_comes_back_twice_is_taken_back_once():
    pool = Withdrawing()
    pool.look(0.02)
    other = pool.join()
    pool.look_at(pool.serials[0])
    assert pool.say(pool.worker, wire.Recalled(pool.serials[1:])) == []
    pool.turn()
    assert held(other) == pool.jobs[1:]
    assert not pool.worker.recalling


def test_what_a_worker_had_come_to_is_left_to_it_until_it_says_what_became_of_that():
    pool = Withdrawing()
    pool.look(0.02)
    pool.look_at(pool.serials[2])
    assert held(pool.worker) == pool.jobs[:3]
    pool.start(pool.worker, pool.serials[1])
    pool.say(pool.worker, wire.Batch(1, [(serial, DONE, 0.01) for serial in pool.serials[:2]]))
    pool.say(pool.worker, wire.Recalled(pool.serials[2:]))
    assert len(pool.outcomes()) == 2
    pool.turn()
    assert held(pool.worker) == pool.jobs[2:]


def test_a_worker_that_gives_back_what_it_was_never_given_is_not_believed():
    pool = Withdrawing()
    pool.look(0.02)
    [command] = pool.say(pool.worker, wire.Recalled([10**6]))
    assert isinstance(command, events.Discredit)


def test_no_second_recall_is_sent_for_what_was_withdrawn_already():
    pool = Withdrawing()
    pool.look(0.02)
    pool.look_at(pool.serials[-1])
    assert not [c for c in pool.look(0.02) if isinstance(c, events.Send | events.Withdraw)]


def test_a_worker_that_reads_nothing_gets_nothing_for_its_free_slots_until_it_answers():
    """Else the same jobs would be sent and withdrawn again and again, and pile up in its pipe."""
    pool = Withdrawing(slots=4)
    pool.look(0.2)
    sent = [c for c in pool.look_at(pool.serials[0]) if isinstance(c, events.Send)]
    assert held(pool.worker) == pool.jobs[:1]
    assert not sent
    assert pool.scheduler.free() == 0
    pool.say(pool.worker, wire.Recalled(pool.serials[1:]))
    pool.turn()
    assert held(pool.worker) == pool.jobs


def test_a_worker_that_has_not_answered_and_ends_what_it_ran_gets_what_came_back_from_it():
    pool = Withdrawing(slots=4)
    pool.look(0.2)
    pool.look_at(pool.serials[0])
    pool.run(pool.worker, pool.serials[0])
    pool.turn()
    assert held(pool.worker) == pool.jobs[1:]


def while_silent(pool: Withdrawing) -> list[str]:
    """Why workers are killed while all is looked at, for twice as long as one may be silent."""
    looks = round(2 * LIMITS.unresponsive / 0.1)
    return [reason for _ in range(looks) for reason in killed(pool.look(0.1))]


def test_a_worker_that_holds_nothing_any_more_and_owes_an_answer_is_not_waited_for():
    pool = Withdrawing()
    pool.look(0.02)
    pool.join()
    pool.look_at(pool.serials[0])
    pool.say(pool.worker, wire.Done(pool.serials[0], DONE, 0.02))
    other = pool.seats[1]
    for serial in list(other.inflight):
        pool.run(other, serial)
    assert pool.scheduler.empty
    assert while_silent(pool) == ["it answered nothing"]


def test_a_worker_that_answers_in_the_end_is_kept():
    pool = Withdrawing()
    pool.look(0.02)
    pool.join()
    pool.look_at(pool.serials[0])
    other = pool.seats[1]
    for serial in list(other.inflight):
        pool.run(other, serial)
    assert while_silent(pool) == [], "its job holds the GIL"
    pool.say(pool.worker, wire.Done(pool.serials[0], DONE, 6.0), wire.Recalled([]))
    assert while_silent(pool) == []
