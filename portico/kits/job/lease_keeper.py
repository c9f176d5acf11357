"""Keeping what is held, and recovering what others have lost.

Leases are renewed by one statement for all that the executor holds, a quarter of their length
apart, also when it holds none: that is the owner's sign of life. Renewing tells which jobs someone
asked to stop, and a store that can wake its owners tells at once. Recovery settles the attempts
whose lease ran out under somebody else; it waits for one lease length after an outage of the
store, in which nobody could renew.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterable, Sequence
from math import inf

from portico.exceptions import DatabaseError
from portico.kits.job.journal import Journal
from portico.kits.job.outage import AWAY, Outage
from portico.ports.job import JobStatus
from portico.ports.job_executor import JobExecutor
from portico.ports.job_queue import JobQueueAdapter
from portico.ports.leasing import Answer, Failure, Lease, LeaseKey
from portico.utils.logging import get_logger

Clock = Callable[[], float]

VANISHED = Failure(
    "WorkerLostError", "The lease ran out: the supervisor that ran this job vanished"
)

_BATCH = 1000
_SHORTEST = 0.05
"""Seconds between two questions for requests to cancel: there may be very many."""
_OUTAGE_PAUSE = 1.0
"""Seconds between two questions to a store that does not answer."""

_NEXT_RECOVERY = (
    "jobs whose supervisor vanished stay as they are for now, and this is tried again; a row that "
    "the store refuses to change is its usual cause"
)

logger = get_logger(__name__)


def uptime() -> float:
    """Seconds on a clock that goes on while the machine is suspended, where there is one."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


class LeaseKeeper:
    """Renews and recovers at its own pace; `renew` may be called in between at any time."""

    def __init__(
        self,
        queue: JobQueueAdapter,
        executor: JobExecutor,
        journal: Journal,
        outage: Outage,
        *,
        lease_seconds: float,
        clock: Clock = uptime,
    ) -> None:
        self._queue = queue
        self._executor = executor
        self._journal = journal
        self._outage = outage
        self._lease_seconds = lease_seconds
        self._clock = clock
        self._renewed_at = clock()
        self._told_to_stop: set[LeaseKey] = set()
        self._asked: set[LeaseKey] = set()
        self._asked_at = 0.0

    @property
    def overdue(self) -> bool:
        """Whether leases may have run out unnoticed: the process was stopped, or suspended."""
        return self._clock() - self._renewed_at > self._lease_seconds / 2

    async def keep(self) -> None:
        """Renew for ever, a quarter of a lease apart on a clock that sees a suspended machine."""
        pause = self._lease_seconds / 4
        step = min(1.0, pause / 4)
        while True:
            before = self._clock()
            await asyncio.sleep(step)
            self._tell_of_stall(self._clock() - before - step)
            if not self._outage.on and self._clock() - self._renewed_at >= pause:
                try:
                    await self.renew()
                except AWAY as error:
                    self._outage.begin(error)

    async def renew(self) -> None:
        """Renew all that is held; give up what is lost, stop what someone asked to stop.

        Raises:
            QueueConnectionError: the store cannot be reached; nothing is given up for that.
        """
        started_at = self._clock()
        leases = self._executor.held()
        renewals = await self._queue.renew(leases)
        self._renewed_at = started_at
        held = {lease.key for lease in self._executor.held()}  # some have ended meanwhile
        self._forfeit([
            lease for lease, renewal in zip(leases, renewals, strict=True)
            if lease.key in held and renewal.answer in (Answer.LOST, Answer.NOT_FOUND)
        ])  # fmt: skip
        self._told_to_stop &= held
        self._cancel(
            lease for lease, renewal in zip(leases, renewals, strict=True)
            if lease.key in held and renewal.answer is Answer.OK and renewal.cancel
        )  # fmt: skip

    async def keep_cancelling(self) -> None:
        """Stop for ever what someone asks to stop, as soon as the store tells."""
        while True:
            try:
                asked = await self._queue.cancel_requests()
            except AWAY as error:
                self._outage.begin(error)
                await asyncio.sleep(_OUTAGE_PAUSE)
            else:
                self._asked, self._asked_at = set(asked), self._clock()
                self.cancel_asked()
                await asyncio.sleep(_SHORTEST)

    def cancel_asked(self) -> None:
        """Stop what is held of that; once more after each leasing, for a lease may still have been
        on its way. What was not held within a quarter of its length has ended."""
        if not self._asked:
            return
        if self._clock() - self._asked_at > self._lease_seconds / 4:
            self._asked.clear()
        found = [lease for lease in self._executor.held() if lease.key in self._asked]
        self._asked -= {lease.key for lease in found}
        self._cancel(found)

    async def recover(self) -> None:
        """Settle the attempts whose lease ran out; tell the handlers of those that are dead.

        Raises:
            QueueConnectionError: the store cannot be reached.
        """
        more = True
        while more:
            try:
                found = await self._queue.recover(_BATCH)
            except DatabaseError as error:  # what others have left behind ends nobody here
                logger.error("recovery_refused", error=str(error), next=_NEXT_RECOVERY)  # noqa: TRY400
                return
            for lease, status in found:
                self._journal.recovered(lease, status, VANISHED)
                if status is JobStatus.DEAD_LETTER:
                    self._executor.mourn(lease, VANISHED)
            more = len(found) >= _BATCH

    async def keep_recovering(self) -> None:
        """Recover for ever, a sixth of a lease apart, more or less: others do so too.

        Not for one lease length after this process was stopped, or the store kept it waiting: it
        may have been stopped with the store's lock in its hands, and nobody could renew meanwhile.
        """
        stopped_until = -inf
        while True:
            pause, before = self._lease_seconds / 6 * random.uniform(0.75, 1.25), self._clock()  # noqa: S311
            await asyncio.sleep(pause)
            now = self._clock()
            if now - before > pause + self._lease_seconds / 4:
                stopped_until = now
            since = min(self._outage.seconds_since, now - stopped_until)
            if since > self._lease_seconds:
                try:
                    await self.recover()
                except AWAY as error:
                    self._outage.begin(error)
                if self._clock() - now > self._lease_seconds / 4:
                    stopped_until = self._clock()  # the store kept everybody waiting

    def _tell_of_stall(self, seconds: float) -> None:
        """Say that this process ran nothing for so long, if that brought the leases into danger."""
        if seconds > self._lease_seconds / 2:
            logger.error(
                "supervisor_stalled",
                seconds=round(seconds, 1),
                lease_seconds=self._lease_seconds,
                note="it was stopped or suspended, or its loop was blocked; leases are renewed "
                "before anything else is started",
                hint="where this comes again: less load on the machine, or a longer --lease",
            )

    def _forfeit(self, lost: Sequence[Lease]) -> None:
        if lost:
            self._executor.forfeit(lost)
            for lease in lost:
                self._journal.lease_lost(lease)

    def _cancel(self, asked: Iterable[Lease]) -> None:
        new = [lease for lease in asked if lease.key not in self._told_to_stop]
        self._told_to_stop |= {lease.key for lease in new}
        if new:
            for lease in new:
                self._journal.cancel_requested(lease)
            self._executor.cancel(new)
