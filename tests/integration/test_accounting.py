"""Any history of a job, on both stores: every attempt is accounted for, and both agree."""

from __future__ import annotations

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import example, given, settings
from hypothesis import strategies as st

from portico.adapters.job_queue import DatabaseJobQueueAdapter, MemoryJobQueueAdapter
from portico.ports.job_queue import JobQueueAdapter
from portico.ports.leasing import JobRecord, Lease, Transition
from portico.testing.contract.queue_support import (
    LEASE_SECONDS,
    Clocks,
    ended,
    failure,
    leased,
    run_out,
)
from tests.support.jobs import make_job

STEPS = [
    "lease", "lease", "lease", "run out", "cancel", "redrive", "a day", "an old token",
    *Transition,
]  # fmt: skip


class History:
    """One job in one store, and the leases that were granted for it."""

    def __init__(self, queue: JobQueueAdapter, clocks: Clocks) -> None:
        self.queue = queue
        self.clocks = clocks
        self.leases: list[Lease] = []

    async def step(self, step: str | Transition) -> str:
        """Do it, and say what the store answered."""
        match step:
            case "lease":
                granted = await leased(self.queue)
                self.leases += granted
                return f"{len(granted)} leased"
            case "run out":
                return f"{len(await run_out(self.queue, self.clocks))} recovered"
            case "cancel":
                return str(await self.queue.cancel_job(self.job_id))
            case "redrive":
                return f"{len(await self.queue.redrive([self.job_id]))} redriven"
            case "a day":
                self.clocks.advance(86400)
                return "later"
            case "an old token":
                return await self._settle(Transition.COMPLETE, self.leases[-2:-1])
        assert isinstance(step, Transition)
        return await self._settle(step, self.leases[-1:])

    async def _settle(self, transition: Transition, held: list[Lease]) -> str:
        receipts = [await ended(self.queue, lease, transition, failure=failure()) for lease in held]
        return " ".join(receipt.answer.value for receipt in receipts)

    async def begin(self, max_retries: int) -> None:
        self.job_id = (await self.queue.enqueue(make_job(max_retries=max_retries))).id

    async def record(self) -> JobRecord:
        found = await self.queue.inspect(self.job_id)
        assert found is not None
        return found


def facts(found: JobRecord) -> tuple[object, ...]:
    return (
        found.job.status, found.attempt, found.job.retry_count, found.release_count,
        found.snooze_count, found.crash_count, found.expiry_count, found.ended_by_attempt,
    )  # fmt: skip


async def live(steps: list[str | Transition], max_retries: int, folder: Path) -> None:
    stores = []
    for kind in (MemoryJobQueueAdapter, DatabaseJobQueueAdapter):
        clocks = Clocks()
        known = {"clock": clocks.wall, "monotonic": clocks.monotonic}
        address = () if kind is MemoryJobQueueAdapter else (f"sqlite:///{folder / 'jobs.db'}",)
        queue = kind(*address, LEASE_SECONDS, **known)
        await queue.initialize()
        stores.append(History(queue, clocks))
    try:
        for history in stores:
            await history.begin(max_retries)
        for number, step in enumerate(steps):
            answers = [await history.step(step) for history in stores]
            records = [await history.record() for history in stores]
            for found in records:
                assert found.accounted, (steps[: number + 1], found)
                assert found.job.retry_count <= max_retries
            assert answers[0] == answers[1], steps[: number + 1]
            assert facts(records[0]) == facts(records[1]), steps[: number + 1]
    finally:
        for history in stores:
            await history.queue.close()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(STEPS), max_size=40), st.integers(0, 4))
@example(["lease", Transition.RETRY, "a day"] * 4 + ["redrive", "lease", "an old token"], 3)
@example(["lease", "run out", "a day"] * 12, 20)
@example(["lease", Transition.CRASH, "a day"] * 4, 20)
def test_attempts_are_accounted_for_whatever_happens_and_both_stores_agree(
    steps: list[str | Transition], max_retries: int
) -> None:
    with TemporaryDirectory() as folder:
        asyncio.run(live(steps, max_retries, Path(folder)))
