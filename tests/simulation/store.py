"""The store as one supervisor reaches it: late, sometimes not at all, sometimes without an answer.

A request that was sent is on its way, whatever becomes of who sent it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from portico.adapters.job_queue import MemoryJobQueueAdapter
from portico.exceptions import QueueConnectionError
from portico.ports.leasing import Answer, Exchange, Lease, LeaseKey, Recovered, Renewal, Settlement
from portico.ports.wanted import EVERYTHING, Wanted
from tests.simulation.clockwork import World
from tests.simulation.ledger import Ledger


def value_of(pending: Awaitable[Any]) -> Any:
    """The result of a coroutine that never waits."""
    coroutine = pending.__await__()
    try:
        next(coroutine)
    except StopIteration as done:
        return done.value
    raise AssertionError("the memory adapter waited")


class Line:
    """One supervisor's connection to the store; to it, an adapter."""

    def __init__(
        self, world: World, ledger: Ledger, store: MemoryJobQueueAdapter, owner: Any
    ) -> None:
        self._world = world
        self._ledger = ledger
        self._store = store
        self._owner = owner
        self._told: set[LeaseKey] = set()
        self._bell = asyncio.Event()
        self.down_until = 0.0

    def limitations(self) -> tuple[str, ...]:
        return ()

    async def exchange(
        self,
        settlements: Sequence[Settlement],
        queues: Sequence[str],
        limit: int,
        wanted: Wanted = EVERYTHING,
    ) -> Exchange:
        settlements, granted = list(settlements), []
        for settlement in settlements:
            if self._ledger.attempts[settlement.id, settlement.token].known_lost:
                self._world.violated(f"{self._owner} settles what it knows it has lost")

        def apply() -> Exchange:
            ledger = self._ledger
            due = ledger.before_lease() if limit else {}
            exchange = value_of(self._store.exchange(settlements, queues, limit, wanted))
            self._world.say(
                "{}: exchange of {} settlements, {} leases of {}",
                self._owner,
                len(settlements),
                len(exchange.leases),
                limit,
            )
            for settlement, receipt in zip(settlements, exchange.receipts, strict=True):
                ledger.settled(settlement, receipt.answer)
            if len(exchange.leases) > limit:
                self._world.violated("more leases than asked for")
            self._check_types(Counter(lease.job_type for lease in exchange.leases), wanted)
            for lease in exchange.leases:
                granted.append(ledger.granted(lease, self._owner, due))
                self._world.say("  {}: leased by {}", granted[-1], self._owner)
            for key in {s.id: None for s in settlements} | {x.id: None for x in exchange.leases}:
                ledger.row(key)
            ledger.exchanged(self._owner, exchange)
            return exchange

        exchange = await self._ask(apply)
        for attempt in granted:
            attempt.arrived = True
        return exchange

    def _check_types(self, leased: Counter[str], wanted: Wanted) -> None:
        if not wanted.everything:
            self._world.hit("types left out")
        for kind, count in leased.items():
            if not wanted.has(kind) or count > wanted.most.get(kind, count):
                self._world.violated(f"{count} leases of {kind}, and {wanted} was asked for")

    async def renew(self, leases: Sequence[Lease]) -> list[Renewal]:
        leases = list(leases)
        mentioned = {(x.id, x.token) for x in (*leases, *self._owner.unsettled())}
        for attempt in self._ledger.left_out(self._owner, mentioned):
            self._world.violated(f"{attempt}: {self._owner} does not renew it")

        def apply() -> list[Renewal]:
            renewals = value_of(self._store.renew(leases))
            self._world.say("{}: renews {}", self._owner, len(leases))
            return renewals

        renewals = await self._ask(apply)
        self._note_lost([
            lease
            for lease, renewal in zip(leases, renewals, strict=True)
            if renewal.answer is not Answer.OK
        ])  # fmt: skip
        self._note_cancelled({
            lease.key for lease, renewal in zip(leases, renewals, strict=True) if renewal.cancel
        })  # fmt: skip
        return renewals

    def _note_cancelled(self, asked: set[LeaseKey]) -> None:
        for lease in self._owner.undecided() if asked else ():
            if lease.key in asked:
                self._world.hit("running job cancelled")
                self._ledger.attempts[lease.key].known_cancelled = True

    async def cancel_requests(self) -> list[LeaseKey]:
        """Each request once: the store's own bell belongs to one loop."""
        while self._owner.up and self._world.now >= self.down_until and not self._untold():
            self._bell.clear()
            await self._bell.wait()
        asked = await self._ask(self._untold)
        self._told |= asked
        self._note_cancelled(asked)
        return list(asked)

    def ring(self) -> None:
        """Someone asks for a job to be stopped, or the connection is lost."""
        delay = self._world.rng.choice((0.0, 0.001, 0.05))
        self._world.after(delay, lambda: self._owner.tell(self._bell.set))

    def _untold(self) -> set[LeaseKey]:
        rows = self._store._rows
        return {
            attempt.lease.key
            for key, attempt in self._ledger.current.items()
            if attempt.holder is self._owner and rows[key].cancel_requested
        } - self._told

    def _note_lost(self, lost: list[Lease]) -> None:
        held = {(lease.id, lease.token) for lease in self._owner.pool.held()}
        known = {(lease.id, lease.token) for lease in lost} & held
        if not known:
            return
        self._world.hit("lease lost")
        for key in known:
            self._ledger.attempts[key].known_lost = True

        def still() -> None:
            owner = self._owner
            awake = owner.up and not owner.loop.frozen
            if awake and known & {(lease.id, lease.token) for lease in owner.pool.held()}:
                self._world.violated(f"{owner} goes on with what it has lost")

        self._world.after(0.05, still)

    async def recover(self, limit: int = 1000) -> list[Recovered]:
        def apply() -> list[Recovered]:
            found = value_of(self._store.recover(limit))
            for recovered in found:
                self._ledger.expired(recovered)
            return found

        return await self._ask(apply)

    async def wait(self, queues: Sequence[str], timeout: float) -> None:
        if self._world.now < self.down_until:
            await asyncio.sleep(0.05)
            raise QueueConnectionError("down")
        if self._world.chance("notification lost"):
            await asyncio.sleep(timeout)
            return
        await self._store._bell.wait(queues, timeout)

    async def _ask(self, apply: Callable[[], Any]) -> Any:
        world = self._world
        if not self._owner.up:
            raise asyncio.CancelledError
        if world.now < self.down_until:
            self._owner.disturbed()
            await asyncio.sleep(0.01)
            raise QueueConnectionError("down")
        there, back = self._delays()
        fails = self._fault()
        answer = asyncio.get_running_loop().create_future()

        def arrive() -> None:
            result = None if fails == "before" else apply()
            world.after(back, lambda: self._owner.tell(lambda: deliver(result)))

        def deliver(result: Any) -> None:
            if answer.done():
                return
            if fails:
                answer.set_exception(QueueConnectionError(f"lost {fails} it was applied"))
            else:
                answer.set_result(result)

        world.after(there, arrive)
        return await answer

    def _delays(self) -> tuple[float, float]:
        """How long a request and its answer are on their way."""
        world = self._world
        if world.chance("store very slow"):
            self._owner.disturbed()
            return world.rng.uniform(0.5, 4.0), 0.0
        if world.chance("store slow"):
            return world.rng.uniform(0, 0.05), world.rng.uniform(0, 0.05)
        return 0.0005, 0.0

    def _fault(self) -> str | None:
        """Whether the connection is lost, and on which way."""
        if self._world.chance("store error before"):
            self._owner.disturbed()
            return "before"
        if self._world.chance("store answer lost"):
            self._owner.disturbed()
            return "after"
        return None
