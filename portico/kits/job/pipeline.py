"""The one loop that moves jobs: lease, submit, collect, settle.

    store                          Pipeline                          executor
      exchange(settlements, ◄─────── _turn ◄── outbox.add ◄─── finished(): outcomes
               queues, limit)          │        settle: outcome → settlement
        receipts, leases ────────────► │ ── journal: counted, logged, audited
                                       └───── leases ────────► submit()
      wait ──► lookout ──► wakes the loop ◄────────────────── on_change
      renew, recover,
      cancel_requests ◄─── lease_keeper ────────────────────► forfeit, cancel, mourn

One exchange per turn settles what is finished and leases what can be started, and there is no
turn without something to do. While it is under way the executor goes on with what it holds, and
outcomes gather for the next turn: that is the group commit, and no batch size has to be set.

Settlements stay in the outbox, in order, until the store has answered. After a lost connection
they are sent again; the tokens in them make that harmless. An outbox that has no more room, after
a long outage, stops the executor from beginning anything; what runs by then goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from math import inf
from typing import Any

from portico.exceptions import ConfigurationError, DatabaseError, PorticoError
from portico.kits.job.audit_feed import Audit
from portico.kits.job.drain import Drain
from portico.kits.job.journal import Journal
from portico.kits.job.lease_keeper import Clock, LeaseKeeper, uptime
from portico.kits.job.lookout import Lookout
from portico.kits.job.outage import AWAY, Outage
from portico.kits.job.outbox import Outbox
from portico.kits.job.retry import RetryPolicies
from portico.kits.job.served import Served
from portico.ports.job_executor import JobExecutor, Outcome, Released
from portico.ports.job_queue import JobQueueAdapter
from portico.ports.leasing import Exchange, Lease, Settlement
from portico.utils.logging import get_logger

LEASE_SECONDS = 60.0
FLUSH_SECONDS = 5.0
"""Seconds that the last settlements have after the executor has drained."""
_SLOW = 1.0
"""Seconds of one exchange after which to look how much gathers meanwhile."""
_ITS_STATE = ("full", "locked")
"""Reasons of a `QueueConnectionError` that have nothing to do with what was sent, as those of a
`ConfigurationError` never have."""

logger = get_logger(__name__)


def plan_turn(outbox: int, free: int, *, dry: bool, stopping: bool) -> int | None:
    """How many jobs to ask for in an exchange now; `None`: there is no reason for one.

    `outbox` counts the settlements that wait, `free` the jobs that could be started, and `dry`
    says that the last look at the queues found nothing more that is due.
    """
    limit = 0 if stopping else max(0, free)
    if outbox or (limit > 0 and not dry):
        return limit
    return None


class Pipeline:
    """Runs the jobs of some queues with an executor until it is stopped.

    `run` does all the work and returns after `stop`, or, with `drain_when_empty`, when nothing is
    due any more and everything is settled; jobs that are due later do not count. An unexpected
    error in any part ends `run` with that error, after trying to give back what is held.
    """

    def __init__(  # noqa: PLR0913 - two parts, and the settings of the loop
        self,
        queue: JobQueueAdapter,
        executor: JobExecutor,
        queues: Sequence[str],
        *,
        policies: RetryPolicies | None = None,
        lease_seconds: float = LEASE_SECONDS,
        audit: Audit | None = None,
        drain_when_empty: bool = False,
        flush_seconds: float = FLUSH_SECONDS,
        clock: Clock = uptime,
    ) -> None:
        """Build it; nothing happens before `open` or `run`.

        Args:
            queue: initialized; nobody here closes it.
            executor: where jobs run; it is drained at the end, and not closed.
            queues: served in this strict order.
            policies: when to retry.
            lease_seconds: how long the adapter's leases hold.
            audit: told of every job that ended.
            drain_when_empty: stop when nothing is due any more.
            flush_seconds: what the last settlements have after the executor has drained.
            clock: seconds, going on while the machine is suspended.
        """
        self._queue = queue
        self._executor = executor
        self._queues = tuple(queues)
        self._drain_when_empty = drain_when_empty
        self._flush_seconds = flush_seconds
        self._wake = asyncio.Event()
        self._drain = Drain(executor, flush_seconds, self._wake.set)
        self._served = Served(queue)
        self._outbox = Outbox(policies or RetryPolicies(), keeps_places=self._served.can_choose)
        self._lookout = Lookout(queue, self._queues, self._wake.set)
        self._journal = Journal(audit)
        self.progress = self._journal.progress
        self._outage = Outage(self._wake.set, clock, lambda: len(self._outbox))
        self._clock = clock
        self._asked_at = inf
        """Since when the store has owed an answer."""
        self._paused = self._renewed = False
        self._keeper = LeaseKeeper(
            queue, executor, self._journal, self._outage, lease_seconds=lease_seconds, clock=clock
        )
        self._opened = self._ended = False
        executor.on_change(self._changed)

    @property
    def unsettled(self) -> int:
        """How many attempts ended without the store knowing; after `run`, for good."""
        return len(self._outbox)

    @property
    def outage(self) -> Outage:
        """Whether the store can be reached, to be looked at."""
        return self._outage

    async def open(self) -> None:
        """Make contact with the store and recover what others have lost; `run` does it too.

        Raises:
            QueueConnectionError: the store cannot be reached.
            ConfigurationError: it cannot be used as it is.
        """
        if self._opened:
            return
        self._journal.opened(self._queue)
        await self._keeper.renew()
        await self._keeper.recover()
        self._opened = True

    async def run(self) -> None:
        """Move jobs until stopped.

        Raises:
            QueueConnectionError: the store cannot be reached at the start.
            ConfigurationError: it cannot be used as it is at the start. Later it is waited for,
                whichever of the two it says.
        """
        await self.open()
        tasks = [asyncio.create_task(part) for part in self._parts()]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            await self._journal.flush(self._flush_seconds)
        except BaseException:
            await _cancel(tasks)
            await self._give_back()
            raise
        finally:
            self._ended = True
            await _cancel([*tasks, *self._drain.tasks()])
            await self._lookout.close()

    def serve_only(self, types: Iterable[str]) -> None:
        """Lease jobs of these types alone, and leave all others as they are."""
        self._served.serve_only(types)

    def stop(self, grace: float) -> None:
        """Lease no more, let running jobs go on for `grace` seconds, settle everything.

        Returns at once; `run` returns when all is done. A second call with a shorter grace
        shortens the first.
        """
        if not self._ended:
            self._drain.begin(grace)

    def _parts(self) -> Iterable[Coroutine[Any, Any, None]]:
        yield self._serve()
        yield self._keeper.keep()
        yield self._keeper.keep_recovering()
        yield self._keeper.keep_cancelling()
        if self._journal.audit is not None:
            yield self._journal.audit.feed()

    async def _serve(self) -> None:
        try:
            async with self._drain:
                while not self._over():
                    self._wake.clear()
                    await self._step()
        except TimeoutError:
            if not self._drain.expired:
                raise
            self._outbox.add(self._executor.finished())  # what ended during the last exchange
            logger.error("settlements_given_up", count=self.unsettled)  # noqa: TRY400

    async def _step(self) -> None:
        try:
            self._lookout.listen()
            self._gather(weigh=self._outage.on or self._paused)
            waiting, free = len(self._outbox), 0 if self._paused else self._executor.free()
            stopping = self._drain.begun.is_set()
            limit = plan_turn(waiting, free, dry=self._lookout.dry, stopping=stopping)
            if limit is not None:
                await self._turn(limit)
            elif self._outage.on:
                await self._turn(0)  # asks for nothing, only whether the store is back
            else:
                await self._idle()
        except AWAY as error:
            if self._renewed and self._outbox and not _is_its_state(error):
                self._outbox.put_off()
            self._renewed = False
            self._outage.begin(error)
            await self._outage.rest(self._drain.begun, self._flush_seconds / 8)

    def _changed(self) -> None:
        self._wake.set()
        if self._clock() - self._asked_at > _SLOW:
            self._gather(weigh=True)

    def _gather(self, *, weigh: bool) -> None:
        """Collect what has ended; let nothing more begin while there is no room for it."""
        self._outbox.add(self._executor.finished())
        if not weigh:
            return
        if not self._paused and self._outbox.over(1.0):
            self._paused = True
            self._executor.pause(paused=True)
            logger.error("outbox_full", results=len(self._outbox), bytes=self._outbox.bytes,
                         next="nothing more is begun until the store has taken most of it; jobs "
                         "that run go on")  # fmt: skip
        elif self._paused and not self._outbox.over(0.5):
            self._paused = False
            self._executor.pause(paused=False)
            logger.warning("outbox_has_room", results=len(self._outbox))

    async def _turn(self, limit: int) -> None:
        self._renewed = self._outage.on or self._keeper.overdue
        if self._renewed:
            self._renewed = False
            await self._keeper.renew()  # before anything is dispatched
            self._renewed = True
        exchange = await self._exchange(self._queues, limit)
        self._lookout.looked(exchange, limit)
        self._accept(exchange.leases)
        await asyncio.sleep(0)  # a store in memory never suspends, and pipes have to be read

    async def _exchange(self, queues: Sequence[str], limit: int) -> Exchange:
        outcomes, settlements = self._outbox.batch()
        self._asked_at = self._clock()
        try:
            exchange = await self._asked(settlements, queues, limit)
        except DatabaseError as error:
            if not settlements:
                raise
            self._outbox.refused(error)
            return Exchange([], [])
        finally:
            self._asked_at = inf
        self._outage.end(len(settlements))
        self._outbox.told(len(settlements))
        snoozed = self.progress.snoozed
        self._journal.settled(outcomes, settlements, exchange.receipts)
        if self.progress.snoozed > snoozed:
            self._served.put_off(outcomes, self._clock())
        return exchange

    async def _asked(
        self, settlements: Sequence[Settlement], queues: Sequence[str], limit: int
    ) -> Exchange:
        room = {kind: n for kind, n in self._executor.room().items() if n < limit}
        wanted = self._served.wanted(self._clock(), room)
        if wanted.everything or not limit:
            return await self._queue.exchange(settlements, queues, limit)
        return await self._queue.exchange(settlements, queues, limit, wanted)

    def _accept(self, leases: Sequence[Lease]) -> None:
        self.progress.leased += len(leases)
        if self._drain.begun.is_set():
            self._outbox.add([Outcome(lease, Released()) for lease in leases])
        elif leases:
            self._executor.submit(leases)
            self._keeper.cancel_asked()

    async def _idle(self) -> None:
        """Wait until something may have changed, here or in the store."""
        if self._lookout.dry and not self._drain.begun.is_set():
            if self._drain_when_empty and not self._executor.held():
                self.stop(self._flush_seconds)
            else:
                self._lookout.watch()
        await self._wake.wait()

    def _over(self) -> bool:
        """Whether nothing runs any more and the store knows everything."""
        if not self._drain.done():
            return False
        self._outbox.add(self._executor.finished())
        return not self._outbox

    async def _give_back(self) -> None:
        """After an error: settle what can be settled, without insisting."""
        try:
            async with asyncio.timeout(self._flush_seconds):
                await self._executor.drain(0)
                self._outbox.add(self._executor.finished())
                await self._exchange((), 0)
        except Exception:
            logger.exception("could_not_give_back", count=self.unsettled)


def _is_its_state(error: PorticoError) -> bool:
    return isinstance(error, ConfigurationError) or error.details.get("reason") in _ITS_STATE


async def _cancel(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
