"""Random histories of leasing, on every store, against the model in `queue_model`.

After every step the store must say what the model says, and nothing that the port promises may be
broken. A failure prints the steps and a `@reproduce_failure` line: put that on `QueueMachine`.
"""

from __future__ import annotations

import asyncio
import faulthandler
import os
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from math import ceil
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from portico.exceptions import ConflictError
from portico.ports.draft import Draft
from portico.ports.job import TERMINAL, Job, JobStatus
from portico.ports.job_queue import JobQueueAdapter, queue_stats
from portico.ports.leasing import (
    MAX_CRASHES,
    MAX_EXPIRIES,
    Answer,
    Evidence,
    Failure,
    JobFilter,
    Lease,
    Settlement,
    Transition,
)
from tests.contract.model_stores import OWNERS, STORES, Clock, Held, Store
from tests.contract.queue_model import MICROSECOND, Model, Row
from tests.contract.unheard_rules import LOSSES, UnheardRules
from tests.support.postgres_queues import ModelSchema
from tests.support.redis_queues import ModelDatabase

T = TypeVar("T")

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
QUEUES = ("fast", "slow")
SEEN = Evidence(77, None, "SIGSEGV", False, 1.5, 2.5, 2**20, "a line")
FAILURES = (
    None, Failure("ValueError", "it broke", "Traceback: ..."), Failure("", "no type"),
    Failure("WorkerLostError", "the worker died", "the stack", SEEN),
)  # fmt: skip

ids = st.integers(1, 14).map(lambda number: UUID(int=number))
owners = st.sampled_from(OWNERS)
some_queues = st.sampled_from([("fast",), ("slow",), ("fast", "slow"), ("slow", "fast")])
limits = st.integers(-1, 6)
picks = st.integers(0, 200)
lost = st.booleans()
UNHEARD = (
    "exchange", "exchange", "dequeue", "insert", "acknowledge", "reject", "renew", "recover",
    "cancel", "redrive", "purge",
)  # fmt: skip


class NewJob(NamedTuple):
    id: UUID
    queue: str
    priority: int
    max_retries: int
    due_in: int | None

    def draft(self, clock: Clock) -> Draft:
        at = None
        if self.due_in is not None:
            at = datetime.fromtimestamp(clock.wall + self.due_in, UTC)
        body = b'{"n":%d}' % self.id.int
        return Draft(
            self.id, self.queue, "test.job", body, self.priority, self.max_retries, at, None, b"{}"
        )


class End(NamedTuple):
    """A settlement to be made: whose, with which token, and how."""

    token: str
    pick: int
    transition: Transition
    failure: Failure | None
    delay: int
    patience: int | None


new_jobs = st.builds(
    NewJob,
    ids,
    st.sampled_from(QUEUES),
    st.sampled_from([0, 0, -1, 7]),
    st.sampled_from([3, 0, 1, 20]),
    st.sampled_from([None, None, -100, 0, 1, 45, 90]),
)
ends = st.builds(
    End,
    st.sampled_from(["current", "current", "current", "stale", "foreign", "random", "none"]),
    picks,
    st.sampled_from([*Transition, Transition.COMPLETE, Transition.COMPLETE]),
    st.sampled_from(FAILURES),
    st.sampled_from([0, 0, 1, 45, 90]),
    st.sampled_from([None, 0, 60]),
)


class QueueMachine(UnheardRules, RuleBasedStateMachine):
    store_of: Callable[[Clock], Store] = STORES["memory"]

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = Clock()
        self.store = self.store_of(self.clock)
        self.model = Model()
        self.step = 0
        self.adapters = {}
        self.losses = {}
        for name in OWNERS:
            self._open(name)
        self.leases: list[Lease] = []
        """Every lease that reached its caller, in order."""
        self.tokens: set[tuple[bytes, bytes]] = set()
        self.held: dict[UUID, Held] = {}
        self.ended: dict[UUID, JobStatus] = {}
        """Terminal jobs that nobody has redriven or purged."""

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(asyncio.wait_for(coroutine, 10))

    def _open(self, owner: str) -> None:
        self.adapters[owner] = self.run(self.store.open(owner))
        if losing := LOSSES.get(type(self.store).__name__):
            self.losses[owner] = losing(self.adapters[owner])

    def teardown(self) -> None:
        for adapter in self.adapters.values():
            self.run(adapter.close())
        self.store.remove()
        self.loop.close()

    # Jobs come.

    @initialize(jobs=st.lists(new_jobs, min_size=1, max_size=6))
    def begin(self, jobs: list[NewJob]) -> None:
        self.insert("one", jobs, lost=False)

    @rule(owner=owners, jobs=st.lists(new_jobs, max_size=4), lost=lost)
    def insert(self, owner: str, jobs: list[NewJob], lost: bool) -> None:
        drafts = [job.draft(self.clock) for job in jobs]
        for _ in range(1 + lost):
            expected = [self.model.insert(draft, self.clock.now()) for draft in drafts]
            answers = self.run(self.adapters[owner].insert(drafts))
            assert [answer and answer.status for answer in answers] == expected
            for answer in answers:
                assert answer is None or micros(answer.created_at) == self.clock.now()

    @rule(owner=owners, job=new_jobs)
    def enqueue(self, owner: str, job: NewJob) -> None:
        draft = job.draft(self.clock)
        fresh = draft.stored(JobStatus.PENDING, EPOCH)
        expected = self.model.insert(draft, self.clock.now())
        if expected is None:
            with pytest.raises(ConflictError):
                self.run(self.adapters[owner].enqueue(fresh))
        else:
            assert self.run(self.adapters[owner].enqueue(fresh)).status is expected

    @rule(owner=owners, job_id=ids)
    def enqueue_as_found(self, owner: str, job_id: UUID) -> None:
        """What `get_job` returned, enqueued again: a job that died starts afresh."""
        found = self.run(self.adapters[owner].get_job(job_id))
        if found is None:
            return
        if self.model.redrive([job_id], self.clock.now()):
            self.ended.pop(job_id)
            again = self.run(self.adapters[owner].enqueue(found))
            assert again.status is JobStatus.PENDING
        else:
            with pytest.raises(ConflictError):
                self.run(self.adapters[owner].enqueue(found))

    # Attempts begin and end.

    @rule(owner=owners, queues=some_queues, limit=limits, lost=lost)
    def lease(self, owner: str, queues: Sequence[str], limit: int, lost: bool) -> None:
        """A lost answer leaves the jobs running with nobody who knows, until the lease ends."""
        self._exchange(owner, [], queues, limit, lost=lost)

    @rule(
        owner=owners,
        what=st.lists(ends, min_size=1, max_size=4),
        queues=some_queues,
        limit=st.sampled_from([0, 0, 2]),
        lost=lost,
    )
    def settle(
        self, owner: str, what: list[End], queues: Sequence[str], limit: int, lost: bool
    ) -> None:
        settlements = [self._settlement(end) for end in what]
        first = self._exchange(owner, settlements, queues, 0 if lost else limit, lost=False)
        if lost:
            again = self._exchange(owner, settlements, (), 0, lost=False)
            self._repeated_is_known(settlements, first, again)

    @precondition(lambda self: self.model.rows)
    @rule(
        owner=owners,
        queue=st.sampled_from(QUEUES),
        how=st.sampled_from(
            [Transition.COMPLETE, Transition.CRASH, Transition.RETRY, Transition.SNOOZE]
        ),
        times=st.integers(2, 5),
        patience=st.sampled_from([None, 0, 60]),
    )
    def lease_and_end_again_and_again(
        self, owner: str, queue: str, how: Transition, times: int, patience: int | None
    ) -> None:
        for _ in range(times):
            known = len(self.leases)
            self._exchange(owner, [], (queue,), 6, lost=False)
            for lease in self.leases[known:]:
                end = Settlement(lease.id, lease.token, how, failure=FAILURES[1], patience=patience)
                self._exchange(owner, [end], (), 0, lost=False)

    @precondition(lambda self: self.leases)
    @rule(owner=owners, pick=picks, forged=st.booleans())
    def what_is_over_is_claimed_again(self, owner: str, pick: int, forged: bool) -> None:
        """Every lease that a job ever had, but the present one: ended in all ways, and renewed."""
        job_id = self.leases[pick % len(self.leases)].id
        for lease in [lease for lease in self.leases if lease.id == job_id]:
            claim = lease._replace(token=lease.token[:4] + bytes(12)) if forged else lease
            if not self._is_current(claim):
                ends = [Settlement(claim.id, claim.token, how) for how in Transition]
                self._exchange(owner, ends, (), 0, lost=False)
                self._renew(owner, [claim])

    @rule(queues=some_queues, limit=st.integers(1, 4), others=st.integers(1, 4))
    def both_lease_at_once(self, queues: Sequence[str], limit: int, others: int) -> None:
        """Whoever comes first takes the first jobs, and the other one those that follow."""
        rows = self.model.due(queues, limit + others, self.clock.now())

        async def together() -> list[Any]:
            one, other = (self.adapters[name] for name in OWNERS)
            if self.store.interleaves:  # no history would be the same twice
                return [
                    await one.exchange((), queues, limit),
                    await other.exchange((), queues, others),
                ]
            return await asyncio.gather(
                one.exchange((), queues, limit), other.exchange((), queues, others)
            )

        mine, theirs = (exchange.leases for exchange in self.run(together()))
        taken_ids = {lease.job_id for lease in (*mine, *theirs)}
        assert taken_ids == {row.draft.id for row in rows}
        first = not theirs or (bool(mine) and mine[0].job_id == rows[0].draft.id)
        taken = [("one", mine, limit), ("other", theirs, others)]
        for owner, leases, most in taken if first else taken[::-1]:
            self._granted(owner, leases, rows[:most], lost=False)
            rows = rows[most:]

    @rule(owner=owners, queue=st.sampled_from(QUEUES))
    def dequeue(self, owner: str, queue: str) -> None:
        expected = self.model.due((queue,), 1, self.clock.now())
        job = self.run(self.adapters[owner].dequeue(queue, timeout=0))
        assert [row.draft.id for row in expected] == ([] if job is None else [job.id])
        if job is None:
            return
        token = self._token_of(job)
        self._started(owner, expected[0], token)
        assert_same_job(job, expected[0])

    @rule(owner=owners, job_id=ids)
    def acknowledge(self, owner: str, job_id: UUID) -> None:
        self.model.settle(Settlement(job_id.bytes, None, Transition.COMPLETE), self.clock.now())
        self.run(self.adapters[owner].acknowledge(job_id))

    @rule(owner=owners, job_id=ids, requeue=st.booleans(), delay=st.sampled_from([0, 45]))
    def reject(self, owner: str, job_id: UUID, requeue: bool, delay: int) -> None:
        how = Transition.RETRY if requeue else Transition.FAIL
        end = Settlement(job_id.bytes, None, how, failure=Failure("", "rejected"), delay=delay)
        self.model.settle(end, self.clock.now())
        self.run(self.adapters[owner].reject(job_id, requeue, "rejected", delay=delay))

    # Leases are renewed and run out.

    @rule(owner=owners, which=st.lists(picks, max_size=4), forged=st.booleans())
    def renew(self, owner: str, which: list[int], forged: bool) -> None:
        leases = [self.leases[pick % len(self.leases)] for pick in which if self.leases]
        if forged and leases:
            leases.append(leases[0]._replace(token=leases[0].token[:4] + bytes(12)))
        self._renew(owner, leases)

    @rule(owner=owners)
    def renew_all(self, owner: str) -> None:
        """What a supervisor does, for whatever it believes to hold."""
        self._renew(owner, [lease for lease in self.leases if self._is_current(lease)])

    @rule(owner=owners, limit=st.sampled_from([1000, 1000, 1, 0, -1]), lost=lost)
    def recover(self, owner: str, limit: int, lost: bool) -> None:
        for _ in range(1 + lost):
            self._recover(owner, limit)

    @rule(owner=owners, forgetful=st.booleans(), seconds=st.sampled_from([59, 60, 60, 61]))
    def everything_runs_out(self, owner: str, forgetful: bool, seconds: int) -> None:
        """The way a recovery goes in the field: it looks, waits for a lease length, and takes."""
        self._renew(owner, [])
        self._recover(owner, 1000)
        self.clock.advance(seconds)
        if not forgetful:
            self.renew_all(owner)
        self._recover(owner, 1000)

    # Time passes, owners come and go.

    @rule(
        seconds=st.sampled_from([1, 30, 59, 60, 61, 180]), whose=st.sampled_from([OWNERS, *OWNERS])
    )
    def time_passes(self, seconds: int, whose: str | tuple[str, ...]) -> None:
        """For both, or for one: the monotonic clock of a host that sleeps stands still."""
        self.clock.advance(seconds, (whose,) if isinstance(whose, str) else whose)

    @rule(seconds=st.sampled_from([-3600, -50, -1, 50, 86_400]))
    def the_wall_clock_is_set(self, seconds: int) -> None:
        self.clock.wall += seconds

    @precondition(lambda self: self.store.outlives_its_adapter)
    @rule(owner=owners)
    def close_and_open(self, owner: str) -> None:
        self.run(self.adapters[owner].close())
        self._open(owner)

    @precondition(lambda self: self.store.outlives_its_adapter)
    @rule(owner=owners, row_too=st.booleans(), limit=st.integers(0, 2), missed=st.booleans())
    def an_owner_dies(self, owner: str, row_too: bool, limit: int, missed: bool) -> None:
        """Often in the middle of some jobs, and often somebody notices at once."""
        self._exchange(owner, [], QUEUES, limit, lost=False)
        holder = self.store.holders[owner]
        jobs = [job_id for job_id, held in self._running().items() if held.holder is holder]
        self.run(self.adapters[owner].close())
        self.run(self.store.vanish(owner, jobs, row_too=row_too))
        self._open(owner)
        if missed:
            self._recover(OWNERS[owner == OWNERS[0]], 1000)

    # People act.

    @rule(owner=owners, job_id=ids, lost=lost)
    def cancel(self, owner: str, job_id: UUID, lost: bool) -> None:
        for _ in range(1 + lost):
            expected = self.model.cancel(job_id, self.clock.now())
            assert self.run(self.adapters[owner].cancel_job(job_id)) is expected

    @rule(owner=owners, job_id=ids, pick=picks)
    def request_cancel(self, owner: str, job_id: UUID, pick: int) -> None:
        at_work = list(self._running())
        if at_work and pick % 2:
            job_id = at_work[pick % len(at_work)]
        row = self.model.rows.get(job_id)
        running = row is not None and row.status is JobStatus.RUNNING
        assert self.run(self.adapters[owner].request_cancel(job_id)) is running
        if row is not None and running:
            row.cancel_requested = True

    @rule(owner=owners, job_ids=st.lists(ids, max_size=6), lost=lost)
    def redrive(self, owner: str, job_ids: list[UUID], lost: bool) -> None:
        for _ in range(1 + lost):
            expected = self.model.redrive(job_ids, self.clock.now())
            for job_id in expected:
                self.ended.pop(job_id)
            assert self.run(self.adapters[owner].redrive(job_ids)) == expected

    @rule(
        owner=owners,
        queue=st.sampled_from([None, *QUEUES]),
        statuses=st.sampled_from(
            [(), (JobStatus.COMPLETED,), (JobStatus.FAILED,), tuple(TERMINAL)]
        ),
        age=st.sampled_from([None, None, 0.0, 60.0]),
        limit=st.sampled_from([1000, 2, 0]),
    )
    def purge(
        self,
        owner: str,
        queue: str | None,
        statuses: tuple[JobStatus, ...],
        age: float | None,
        limit: int,
    ) -> None:
        jobs = JobFilter(queue_name=queue, statuses=statuses, older_than=age)
        wide = replace(jobs, statuses=statuses or tuple(TERMINAL))
        matching = {row.draft.id for row in self._matching(wide)}
        adapter = self.adapters[owner]
        removed = self.run(adapter.purge(jobs, limit))
        left = {job.id for job in self.run(adapter.list_jobs(JobFilter(), 1000)).jobs}
        missing = self.model.rows.keys() - left
        assert missing <= matching
        assert removed == len(missing)
        # By age a store may pass over rows whose creation the wall clock put out of order.
        if age is None or self._created_in_order():
            assert removed == min(limit, len(matching))
        for job_id in missing:
            del self.model.rows[job_id]
            del self.ended[job_id]
            self.held.pop(job_id, None)

    @rule(
        owner=owners,
        queue=st.sampled_from([None, *QUEUES]),
        statuses=st.lists(st.sampled_from(JobStatus), max_size=3),
        age=st.sampled_from([None, 0.0, 60.0]),
    )
    def list_some(
        self, owner: str, queue: str | None, statuses: list[JobStatus], age: float | None
    ) -> None:
        jobs = JobFilter(queue_name=queue, statuses=tuple(statuses), older_than=age)
        expected = [row.draft.id for row in self._matching(jobs)]
        seen: list[UUID] = []
        cursor = None
        while True:
            page = self.run(self.adapters[owner].list_jobs(jobs, 3, cursor))
            seen += [job.id for job in page.jobs]
            if (cursor := page.cursor) is None:
                break
        assert seen == expected

    # Answers get lost inside of the adapter; whoever asked asks again.

    @precondition(lambda self: self.losses)
    @rule(
        owner=owners,
        op=st.sampled_from(UNHEARD),
        what=st.lists(ends, max_size=4),
        queues=some_queues,
        limit=st.integers(0, 4),
        jobs=st.lists(new_jobs, max_size=4),
        job_id=ids,
        job_ids=st.lists(ids, max_size=6),
    )
    def an_answer_is_lost(
        self,
        owner: str,
        op: str,
        what: list[End],
        queues: Sequence[str],
        limit: int,
        jobs: list[NewJob],
        job_id: UUID,
        job_ids: list[UUID],
    ) -> None:
        match op:
            case "exchange":
                settlements = [self._settlement(end) for end in what]
                self._unheard_exchange(owner, settlements, queues, limit)
                self._exchange(owner, settlements, (), 0, lost=False)
            case "dequeue":
                self._unheard_dequeue(owner, queues[0])
            case "insert":
                self._unheard_insert(owner, [job.draft(self.clock) for job in jobs])
                self.insert(owner, jobs, lost=False)
            case "acknowledge":
                self._unheard_end(owner, job_id, rejected=False)
                self.acknowledge(owner, job_id)
            case "reject":
                self._unheard_end(owner, job_id, rejected=True)
                self.reject(owner, job_id, False, 0)
            case "renew":
                self._unheard_renew(owner)
            case "recover":
                self._unheard_recover(owner, heard=limit % 3)
                self._recover(owner, 1000)
            case "cancel":
                self._unheard_cancel(owner, job_id)
                self.cancel(owner, job_id, lost=False)
            case "redrive":
                self._unheard_redrive(owner, job_ids)
                self.redrive(owner, job_ids, lost=False)
            case "purge":
                self._unheard_purge(owner)
                self.purge(owner, None, (), None, 1000)

    def _unheard_renew(self, owner: str) -> None:
        mine = [lease for lease in self.leases if self._is_current(lease)]
        self._unheard(owner, self.adapters[owner].renew(mine))
        self._renew(owner, mine)

    # What must hold after every step.

    @invariant()
    def the_store_says_what_the_model_says(self) -> None:
        self.step += 1
        # Each step is looked at by the one who did not make it as often as by the one who did.
        adapter = self.adapters[OWNERS[self.step % 2]]
        rows = sorted(self.model.rows.values(), key=lambda row: -row.seq)
        self.run(self._compare(adapter, rows))

    @invariant()
    def what_has_ended_stays_so(self) -> None:
        for job_id, status in self.ended.items():
            assert self.model.rows[job_id].status is status
        rows = self.model.rows.values()
        self.ended |= {row.draft.id: row.status for row in rows if row.status in TERMINAL}

    async def _compare(self, adapter: JobQueueAdapter, rows: list[Row]) -> None:
        job_ids = [row.draft.id for row in rows]
        listed, stats, *found = await asyncio.gather(
            adapter.list_jobs(JobFilter(), 1000),
            adapter.all_stats(),
            *(adapter.inspect(job_id) for job_id in job_ids),
        )
        jobs = await asyncio.gather(*(adapter.get_job(job_id) for job_id in job_ids))
        assert [job.id for job in listed.jobs] == job_ids  # none is lost, none is there twice
        assert listed.jobs == [record.job for record in found] == jobs
        for row, record in zip(rows, found, strict=True):
            assert_same(record, row)
        assert stats == {
            name: queue_stats(name, Counter(r.status for r in rows if r.draft.queue_name == name))
            for name in sorted({row.draft.queue_name for row in rows})
        }
        for name in QUEUES:
            assert await adapter.get_queue_stats(name) == stats.get(name, queue_stats(name, {}))

    # The steps that several rules take.

    def _exchange(
        self,
        owner: str,
        settlements: list[Settlement],
        queues: Sequence[str],
        limit: int,
        *,
        lost: bool,
    ) -> list[Answer]:
        now = self.clock.now()
        expected = [self.model.settle(settlement, now) for settlement in settlements]
        rows = self.model.due(queues, limit, now)
        exchange = self.run(self.adapters[owner].exchange(settlements, queues, limit))
        assert exchange.receipts == expected
        self._granted(owner, exchange.leases, rows, lost=lost)
        if len(rows) < limit:
            due = self.model.next_due(queues)
            assert exchange.next_due == (None if due is None else (due - now) / 1_000_000)
        return [receipt.answer for receipt in exchange.receipts]

    def _granted(self, owner: str, leases: list[Lease], rows: list[Row], *, lost: bool) -> None:
        now = self.clock.now()
        assert [lease.job_id for lease in leases] == [row.draft.id for row in rows]
        for lease, row in zip(leases, rows, strict=True):
            assert row.status is JobStatus.PENDING or row.run_at <= now
            assert (lease.id, lease.token) not in self.tokens
            self.tokens.add((lease.id, lease.token))
            self._started(owner, row, lease.token)
            assert_lease(lease, row)
            if not lost:
                self.leases.append(lease)

    def _started(self, owner: str, row: Row, token: bytes | None) -> None:
        row.start(token, self.clock.now())
        self._touched(owner, row.draft.id)

    def _touched(self, owner: str, job_id: UUID) -> None:
        at = self.store.clock_of(owner)
        self.held[job_id] = Held(self.store.holders[owner], self.step, at)

    def _renew(self, owner: str, leases: list[Lease]) -> None:
        self.step += 1
        holder = self.store.holders[owner]
        if holder.renews_since is None:
            holder.renews_since = self.step
        renewals = self.run(self.adapters[owner].renew(leases))
        for lease, renewal in zip(leases, renewals, strict=True):
            row = self.model.rows.get(lease.job_id)
            if row is None:
                assert renewal.answer is Answer.NOT_FOUND
            elif row.status is JobStatus.RUNNING and row.token == lease.token:
                assert (renewal.answer, renewal.cancel) == (Answer.OK, row.cancel_requested)
                self._touched(owner, lease.job_id)
            else:
                assert (renewal.answer, renewal.cancel) == (Answer.LOST, False)

    def _recover(self, owner: str, limit: int) -> None:
        self.step += 1
        overdue = {
            job_id for job_id, held in self._running().items() if self.store.run_out(held, owner)
        }
        recovered = self.run(self.adapters[owner].recover(limit))
        self.store.looked(owner, self.step)
        taken = [found.lease.job_id for found in recovered]
        assert len(taken) == len(set(taken)) == min(max(0, limit), len(overdue))
        assert set(taken) <= overdue
        for found in recovered:
            row = self.model.rows[found.lease.job_id]
            assert_lease(found.lease, row)
            row.expire(self.clock.now())
            assert found.status is row.status

    def _running(self) -> dict[UUID, Held]:
        rows = self.model.rows
        return {i: h for i, h in self.held.items() if rows[i].status is JobStatus.RUNNING}

    def _is_current(self, lease: Lease) -> bool:
        row = self.model.rows.get(lease.job_id)
        return row is not None and row.status is JobStatus.RUNNING and row.token == lease.token

    def _token_of(self, job: Job) -> bytes | None:
        """The nine methods show no token: whoever uses them cannot be told from another."""
        del job
        return None

    def _settlement(self, end: End) -> Settlement:
        current = [lease for lease in self.leases if self._is_current(lease)]
        known = current if end.token == "current" and current else self.leases
        target, token = UUID(int=end.pick % 15).bytes, bytes(16)
        if known:
            lease = known[end.pick % len(known)]
            other = self.leases[(end.pick * 7 + 3) % len(self.leases)]
            target, token = lease.id, lease.token
            forged = {"foreign": other.token, "random": token[:4] + b"guessed once", "none": None}
            token = forged.get(end.token, token)
        result = b'{"done":1}' if end.transition is Transition.COMPLETE else None
        return Settlement(
            target, token, end.transition, result, end.failure, end.delay, end.patience
        )

    def _repeated_is_known(
        self, settlements: list[Settlement], first: list[Answer], again: list[Answer]
    ) -> None:
        for settlement, before, after in zip(settlements, first, again, strict=True):
            assert after is not Answer.OK or settlement.token is None
            if before is Answer.OK and settlement.token is not None:
                assert after is Answer.ALREADY

    def _matching(self, jobs: JobFilter) -> list[Row]:
        now = self.clock.now()
        found = [
            row
            for row in self.model.rows.values()
            if jobs.queue_name in (None, row.draft.queue_name)
            and (not jobs.statuses or row.status in jobs.statuses)
            and (
                jobs.older_than is None
                or (row.ended_at if row.ended_at is not None else row.created_at)
                <= now - jobs.older_than * 1_000_000
            )
        ]
        return sorted(found, key=lambda row: -row.seq)

    def _created_in_order(self) -> bool:
        created = [row.created_at for row in sorted(self.model.rows.values(), key=lambda r: r.seq)]
        return created == sorted(created)


def micros(instant: datetime) -> int:
    return (instant - EPOCH) // MICROSECOND


def same_text(found: str | None, row: Row) -> bool:
    """A store may add to a message what the job's last state means."""
    return found is None if row.error is None else (found or "").startswith(row.error.message)


def assert_same_job(job: Job, row: Row) -> None:
    assert same_text(job.error_message, row)
    assert replace(job, error_message=None) == row.record().job


def assert_same(record: Any, row: Row) -> None:
    assert record.accounted, record
    assert record.job.retry_count <= record.job.max_retries
    assert record.crash_count <= MAX_CRASHES
    assert record.expiry_count <= MAX_EXPIRIES
    assert record.owner is None or row.status is JobStatus.RUNNING
    assert (record.error_type or "") == ("" if row.error is None else row.error.type)
    assert_same_job(record.job, row)
    bare = replace(record.job, error_message=None)
    nameless = tuple(replace(attempt, owner=None) for attempt in record.attempts)
    assert (
        replace(record, job=bare, owner=None, error_type=None, traceback=None, attempts=nameless)
        == row.record()
    )


def assert_lease(lease: Lease, row: Row) -> None:
    draft = row.draft
    assert same_text(lease.error_message, row)
    assert row.token is None or lease.token == row.token
    assert lease == Lease(
        id=draft.id.bytes,
        token=lease.token,
        attempt=row.attempt,
        queue_name=draft.queue_name,
        job_type=draft.job_type,
        payload=draft.payload,
        priority=draft.priority,
        max_retries=draft.max_retries,
        retry_count=row.retries,
        scheduled_at=None if draft.scheduled_at is None else micros(draft.scheduled_at),
        started_at=row.started_at or 0,
        created_at=row.created_at,
        created_by=None,
        metadata=draft.metadata,
        error_message=lease.error_message,
        suspect=row.suspect,
    )


def machine_on(store_of: Callable[[Clock], Store]) -> type[QueueMachine]:
    return type("QueueMachineHere", (QueueMachine,), {"store_of": staticmethod(store_of)})


CI = bool(os.environ.get("CI"))
HISTORIES = 200 if CI else 60
"""On every store."""
PARTS = {"postgres": 3}
"""In so many tests, which may run at once: every look at a job goes to a server and back."""
CASES = [(kind, part) for kind in STORES for part in range(PARTS.get(kind, 1))]

MANY = settings(
    stateful_step_count=40,
    deadline=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)


def store_here(kind: str, request: pytest.FixtureRequest) -> Callable[[Clock], Store]:
    """How examples of a test make their stores, on its server."""
    store_of: Callable[..., Store] = STORES[kind]
    if kind == "postgres":
        schema = ModelSchema(request.getfixturevalue("postgres"))
        request.addfinalizer(schema.close)
        return partial(store_of, schema=schema)
    if kind == "redis":
        database = ModelDatabase(request.getfixturevalue("redis"))
        request.addfinalizer(database.close)
        return partial(store_of, database=database)
    return store_of


@pytest.mark.timeout(420)  # shrinking a failure may take five minutes; a run takes less than one
@pytest.mark.parametrize(("kind", "part"), CASES)
def test_whatever_happens_a_store_does_what_the_model_says(
    kind: str, part: int, request: pytest.FixtureRequest
) -> None:
    # This test is long by design: its own limit is the marker's, and a dump is not wanted earlier.
    faulthandler.cancel_dump_traceback_later()
    machine = machine_on(store_here(kind, request))
    if CI and part:  # else its parts would be the same histories
        machine = seed(part)(machine)
    often = settings(MANY, max_examples=ceil(HISTORIES / PARTS.get(kind, 1)))
    run_state_machine_as_test(machine, settings=often)


@pytest.mark.parametrize("heard", [0, 1, 2])
@pytest.mark.parametrize("kind", ["sqlite", "postgres", "redis"])
def test_a_recovery_that_is_not_heard_of_takes_each_job_once(
    kind: str, heard: int, request: pytest.FixtureRequest
) -> None:
    history = machine_on(store_here(kind, request))()
    try:
        history.begin([NewJob(UUID(int=1), "fast", 0, 3, None)])
        history.lease("one", ("fast",), 1, lost=False)
        history.renew_all("one")
        history.recover("other", 1000, lost=False)
        history.time_passes(61, OWNERS)
        history.an_answer_is_lost(
            "other", "recover", [], ("fast",), heard, jobs=[], job_id=UUID(int=1), job_ids=[]
        )
        history.the_store_says_what_the_model_says()
        history.everything_runs_out("other", forgetful=True, seconds=61)
        history.the_store_says_what_the_model_says()
        assert history.model.rows[UUID(int=1)].status is JobStatus.RETRYING
    finally:
        history.teardown()
