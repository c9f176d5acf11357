"""Steps of the state machine in which a store does what it was asked, and its answer is lost inside
of the adapter: each is taken again afterwards, as whoever asked would do."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any
from uuid import UUID

from portico.adapters.job_queue._postgres.exchanging import _LOOKS
from portico.exceptions import QueueConnectionError
from portico.ports.draft import Draft
from portico.ports.job import TERMINAL, JobStatus
from portico.ports.job_queue import JobQueueAdapter
from portico.ports.leasing import Failure, JobFilter, Settlement, Transition
from tests.contract.model_stores import Held
from tests.contract.queue_model import Model, Row
from tests.support.unheard import Loss, loss_on_postgres, loss_on_redis, loss_on_sqlite

LOSSES: dict[str, Callable[[JobQueueAdapter], Loss]] = {
    "SqliteStore": loss_on_sqlite,
    "PostgresStore": loss_on_postgres,
    "RedisStore": loss_on_redis,
}
"""By the store's class; a call into memory has no answer that could be lost."""


class UnheardRules:
    """What `QueueMachine` does with these answers."""

    adapters: dict[str, Any]
    held: dict[UUID, Held]
    ended: dict[UUID, Any]
    losses: dict[str, Loss]
    model: Model
    clock: Any
    step: int
    store: Any
    run: Callable[[Coroutine[Any, Any, Any]], Any]
    _started: Callable[[str, Row, bytes | None], None]
    _running: Callable[[], dict[UUID, Held]]
    _matching: Callable[[JobFilter], list[Row]]

    def _unheard(self, owner: str, asked: Coroutine[Any, Any, Any], *, heard: int = 0) -> bool:
        """Have the answer to this lost, unless it takes none; whether it was.

        Where a store is asked several times for it, so many answers are heard before.
        """
        loss = self.losses[owner]
        loss.armed, loss.heard = True, heard
        try:
            self.run(asked)
        except QueueConnectionError:
            self.store.interrupted(owner)
            return True
        finally:
            loss.armed = False
        return False

    def _unheard_exchange(
        self, owner: str, settlements: Sequence[Settlement], queues: Sequence[str], limit: int
    ) -> None:
        """What was granted is given back by the next exchange, uncharged."""
        self._has_a_name(owner)
        now = self.clock.now()
        for settlement in settlements:
            self.model.settle(settlement, now)
        rows = self.model.due(queues, limit, now)
        adapter = self.adapters[owner]
        lost = self._unheard(owner, adapter.exchange(settlements, queues, limit))
        self._given_back(owner, rows, lost=lost)

    def _unheard_dequeue(self, owner: str, queue: str) -> None:
        self._has_a_name(owner)
        rows = self.model.due((queue,), 1, self.clock.now())
        lost = self._unheard(owner, self.adapters[owner].dequeue(queue, timeout=0))
        self._given_back(owner, rows, lost=lost)

    def _has_a_name(self, owner: str) -> None:
        """And has stopped looking for what was granted unheard before: else that is what the store
        is asked for first, and what is not heard of."""
        for _ in range(1 + _LOOKS):
            self.run(self.adapters[owner].exchange((), ("nobody's",), 1))

    def _given_back(self, owner: str, rows: Sequence[Row], *, lost: bool) -> None:
        assert lost or not rows, "leases were granted, and nothing was committed for that"
        for row in rows:
            self._started(owner, row, None)
        self.run(self.adapters[owner].exchange((), (), 0))
        for row in rows:
            release = Settlement(row.draft.id.bytes, None, Transition.RELEASE)
            self.model.settle(release, self.clock.now())

    def _unheard_insert(self, owner: str, drafts: Sequence[Draft]) -> None:
        for draft in drafts:
            self.model.insert(draft, self.clock.now())
        self._unheard(owner, self.adapters[owner].insert(drafts))

    def _unheard_end(self, owner: str, job_id: UUID, *, rejected: bool) -> None:
        adapter, how = self.adapters[owner], Transition.COMPLETE
        failure = Failure("", "rejected") if rejected else None
        asked = adapter.acknowledge(job_id)
        if rejected:
            asked.close()
            how, asked = Transition.FAIL, adapter.reject(job_id, False, "rejected")
        end = Settlement(job_id.bytes, None, how, failure=failure)
        self.model.settle(end, self.clock.now())
        self._unheard(owner, asked)

    def _unheard_cancel(self, owner: str, job_id: UUID) -> None:
        self.model.cancel(job_id, self.clock.now())
        self._unheard(owner, self.adapters[owner].cancel_job(job_id))

    def _unheard_redrive(self, owner: str, job_ids: Sequence[UUID]) -> None:
        for job_id in self.model.redrive(list(job_ids), self.clock.now()):
            self.ended.pop(job_id)
        self._unheard(owner, self.adapters[owner].redrive(job_ids))

    def _unheard_purge(self, owner: str) -> None:
        """A store may take several steps for it: all, some or none of them are done."""
        matching = {row.draft.id for row in self._matching(JobFilter(statuses=tuple(TERMINAL)))}
        adapter = self.adapters[owner]
        self._unheard(owner, adapter.purge(JobFilter(), 1000))
        left = {job.id for job in self.run(adapter.list_jobs(JobFilter(), 1000)).jobs}
        missing = self.model.rows.keys() - left
        assert missing <= matching
        for job_id in missing:
            del self.model.rows[job_id]
            self.ended.pop(job_id, None)
            self.held.pop(job_id, None)

    def _unheard_recover(self, owner: str, heard: int) -> None:
        """A store may ask for the time before it takes anything: that may be what is not heard."""
        self.step += 1
        overdue = {i for i, held in self._running().items() if self.store.run_out(held, owner)}
        adapter = self.adapters[owner]
        lost = self._unheard(owner, adapter.recover(1000), heard=heard)
        if not lost:
            self.store.looked(owner, self.step)
        running = JobFilter(statuses=(JobStatus.RUNNING,))
        left = {job.id for job in self.run(adapter.list_jobs(running, 1000)).jobs} & overdue
        assert left in (set(), overdue), "what is taken at once is taken whole"
        assert not left or (lost and not heard), "after the time, nothing but the taking is left"
        for job_id in overdue - left:
            self.model.rows[job_id].expire(self.clock.now())
