"""Exchanges: settling and leasing in one transaction, and what to do when its answer got lost."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from portico.adapters.job_queue._postgres import choosing, settling
from portico.adapters.job_queue._postgres.burying import bury_refused
from portico.adapters.job_queue._postgres.connections import AnyConnection, Connections
from portico.adapters.job_queue._postgres.errors import REFUSED
from portico.adapters.job_queue._postgres.leasing import Owner
from portico.adapters.job_queue._rows import token_of
from portico.adapters.job_queue._sweep import Sweeps
from portico.exceptions import DatabaseError, QueueConnectionError
from portico.ports.document import MAX_STORED
from portico.ports.leasing import Answer, Exchange, Failure, Lease, Receipt, Settlement, Transition
from portico.ports.wanted import EVERYTHING, Wanted
from portico.utils.logging import get_logger

TOO_LARGE = Failure(
    "PayloadTooLarge", f"the stored job has more than {MAX_STORED:,} bytes, too many to be run"
)
logger = get_logger(__name__)


class _Granted(NamedTuple):
    receipts: list[Receipt]
    leases: list[Any]
    next_due: int | None
    unseen: bool = False


class Exchanging:
    """The exchanges of one owner."""

    def __init__(
        self,
        connections: Connections,
        owner: Owner,
        ring_cancels: Callable[[], None],
        sweeps: Sweeps,
    ) -> None:
        schema = connections.place.quoted_schema
        self._connections = connections
        self._owner = owner
        self._ring_cancels = ring_cancels
        self._exchange = settling.exchange_statement(schema)
        self._settle = settling.settle_statement(schema)
        self._whole = settling.whole_statement(schema)
        self._choose = choosing.statements(schema)
        self._sweeps = sweeps
        self._unheard = (
            f"SELECT id, attempt, nonce FROM {schema}.portico_jobs "
            "WHERE status = 'running' AND nonce = ANY ($1::bytea[])"
        )
        self._doubtful: dict[bytes, int] = {}
        """Nonces of grants that may have been committed unheard, and how often to look for them."""

    async def exchange(
        self, settlements: Sequence[Settlement], queues: Sequence[str], limit: int, wanted: Wanted
    ) -> Exchange:
        """Settle, then lease."""
        if self._doubtful:
            await self.give_back()
        try:
            return await self._together(settlements, queues, limit, wanted)
        except DatabaseError as error:
            if not isinstance(error.cause, REFUSED):
                raise
        receipts = await self._apart(settlements) if settlements else []
        leased = await self._leased_carefully(queues, limit, wanted)
        return leased._replace(receipts=receipts)

    async def _leased_carefully(
        self, queues: Sequence[str], limit: int, wanted: Wanted
    ) -> Exchange:
        """Lease, and where that is refused because of a row, without that one."""
        try:
            return await self._together((), queues, limit, wanted)
        except DatabaseError as error:
            if not isinstance(error.cause, REFUSED):
                raise
            if not await bury_refused(self._connections, queues):
                raise
        return await self._together((), queues, limit, wanted)

    async def give_back(self) -> None:
        """Release what was granted by a commit whose answer got lost.

        Nobody knows of these leases, so nobody would run the jobs before the leases ran out, and
        that would be charged to jobs that never started. A server that hung may commit later yet,
        so each is looked for again at the next renewals.
        """
        nonces = list(self._doubtful)
        if not nonces:
            return

        async def work(connection: AnyConnection) -> None:
            rows = await connection.fetch(self._unheard, nonces)
            await self._settled(
                connection,
                [
                    Settlement(row[0].bytes, token_of(row[1], row[2]), Transition.RELEASE)
                    for row in sorted(rows)
                ],
            )

        await self._connections.run(work, atomic=True)
        for nonce in nonces:
            self._doubtful[nonce] -= 1
            if self._doubtful[nonce] <= 0:
                del self._doubtful[nonce]

    async def _together(
        self,
        settlements: Sequence[Settlement],
        queues: Sequence[str],
        limit: int,
        wanted: Wanted = EVERYTHING,
    ) -> Exchange:
        plan = settling.plan_of(settlements)
        nonce = secrets.token_bytes(12)
        holder = await self._owner.id() if limit > 0 else 0

        asked = (queues, max(0, min(limit, 2**20)), nonce, holder, self._owner.lease_micros)
        apart = limit > 0 and not wanted.everything  # it is leased in a statement of its own
        at_once = (queues, 0, *asked[2:]) if apart else asked

        async def work(connection: AnyConnection) -> _Granted:
            granted = await self._granted(connection, settlements, plan, at_once)
            if not apart:
                return granted
            try:
                chosen = await choosing.choose(
                    connection, self._choose, asked, self._sweeps, wanted
                )
            except Exception:  # it may be tried again
                self._sweeps.forget()
                raise
            due = 0 if chosen.contended else granted.next_due
            return granted._replace(leases=chosen.rows, next_due=due, unseen=chosen.unseen)

        try:
            granted = await self._connections.run(work, atomic=apart or len(plan.waves) > 1)
        except (QueueConnectionError, BaseExceptionGroup):
            self._sweeps.forget()
            if limit > 0:
                self._doubtful[nonce] = _LOOKS
            raise
        leases = await self._fit(granted.leases, queues, limit, wanted)
        if any(map(settling.is_to_stop, granted.leases)):
            self._ring_cancels()
        due = granted.next_due
        next_due = None if due is None else max(0, due) / 1_000_000
        return Exchange(granted.receipts, leases, next_due, granted.unseen)

    async def _granted(
        self,
        connection: AnyConnection,
        settlements: Sequence[Settlement],
        plan: settling.Plan,
        asked: tuple[Any, ...],
    ) -> _Granted:
        receipts: dict[int, Receipt] = {}
        for wave in plan.waves[:-1]:
            told = await self._settled(connection, [settlements[n] for n in wave])
            receipts.update(zip(wave, told, strict=True))
        last = plan.waves[-1] if plan.waves else []
        ends, completions = ([settlements[n] for n in one] for one in (last, plan.completions))
        rows = await self._rows(connection, ends, completions, asked)
        told = settling.settle_receipts(ends, (row for row in rows if row[0] == "settled"))
        receipts.update(zip(last, told, strict=True))
        standing = (row for row in rows if row[0] == "standing")
        told = settling.completion_receipts(completions, standing)
        receipts.update(zip(plan.completions, told, strict=True))
        leases = settling.in_order(row for row in rows if row[0] == "lease")
        due = rows[-1]["run_at"] if rows else None
        return _Granted([receipts[n] for n in range(len(settlements))], leases, due)

    async def _rows(
        self,
        connection: AnyConnection,
        ends: Sequence[Settlement],
        completions: Sequence[Settlement],
        asked: tuple[Any, ...],
    ) -> list[Any]:
        """What one statement says that does all of it."""
        if not (ends or completions or asked[0]):
            return []
        values = (*settling.completion_arguments(completions), *asked, MAX_STORED)
        if not ends:
            return await connection.fetch(self._exchange, *values)
        channel = self._connections.place.channel
        settled = settling.settle_arguments(ends, channel)
        return await connection.fetch(self._whole, *settled, *values)

    async def _fit(
        self, rows: list[Any], queues: Sequence[str], limit: int, wanted: Wanted
    ) -> list[Lease]:
        """The leases that can be carried to a worker; others take the place of what cannot."""
        large = [row for row in rows if settling.is_too_large(row)]
        fitting = [row for row in rows if not settling.is_too_large(row)] if large else rows
        leases = settling.leases_of(fitting)
        if large:
            await self._bury(large)
            wanted = wanted.after(lease.job_type for lease in leases)
            leases += (await self._together((), queues, limit - len(leases), wanted)).leases
        return leases

    async def _bury(self, rows: list[Any]) -> None:
        """Dead-letter what is too large to be carried to a worker."""
        buried = [
            Settlement(row["id"], row["token"], Transition.QUARANTINE, failure=TOO_LARGE)
            for row in rows
        ]
        await self._connections.run(lambda found: self._settled(found, buried), atomic=True)
        for row in rows:
            logger.error(
                "job_dead_lettered",
                job_id=UUID(bytes=row["id"]),
                job_type=row["job_type"],
                queue=row["queue_name"],
                attempt=row["attempt"],
                error_type=TOO_LARGE.type,
                error=TOO_LARGE.message,
                next="dead-lettered: it is too large to be sent to a worker",
            )

    async def _settled(
        self, connection: AnyConnection, settlements: Sequence[Settlement]
    ) -> list[Receipt]:
        """Settle in the given order, each job once."""
        if not settlements:
            return []
        channel = self._connections.place.channel
        rows = await connection.fetch(
            self._settle, *settling.settle_arguments(settlements, channel)
        )
        return settling.settle_receipts(settlements, rows)

    async def _apart(self, settlements: Sequence[Settlement]) -> list[Receipt]:
        """Settle in halves, because one of them is refused, and let the others go through."""
        if len(settlements) == 1:
            return [await self._alone(settlements[0])]
        middle = len(settlements) // 2
        receipts: list[Receipt] = []
        for part in (settlements[:middle], settlements[middle:]):
            try:
                receipts += (await self._together(part, (), 0)).receipts
            except DatabaseError as error:
                if not isinstance(error.cause, REFUSED):
                    raise
                receipts += await self._apart(part)
        return receipts

    async def _alone(self, settlement: Settlement) -> Receipt:
        """Dead-letter a job whose outcome cannot be stored; with that refused too, let it go."""
        try:
            return (await self._together((settlement,), (), 0)).receipts[0]
        except DatabaseError as error:
            if not isinstance(error.cause, REFUSED):
                raise
            said = error.message
        failure = Failure("OutcomeNotStorable", f"the store refused the outcome: {said}")
        last = Settlement(settlement.id, settlement.token, Transition.QUARANTINE, failure=failure)
        logger.error(
            "outcome_refused",
            job_id=UUID(bytes=settlement.id),
            outcome=settlement.transition.value,
            error=said,
            next="dead-lettering the job, or leaving it until its lease runs out",
        )
        try:
            return (await self._together((last,), (), 0)).receipts[0]
        except DatabaseError as error:
            if not isinstance(error.cause, REFUSED):
                raise
            return Receipt(Answer.LOST, None)


_LOOKS = 5
"""At the next exchange or renewal, and at further ones for a lease length."""
