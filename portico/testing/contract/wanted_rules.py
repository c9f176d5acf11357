"""Leasing jobs of some types only: the others stay as they are, and in their places."""

from __future__ import annotations

from datetime import UTC, datetime

from portico.ports.draft import Draft
from portico.ports.job import Job, JobStatus
from portico.ports.job_queue import JobQueueAdapter
from portico.ports.leasing import Settlement, Transition
from portico.ports.wanted import Wanted
from portico.testing.contract.queue_support import Clocks, leased_job, record
from portico.testing.jobs import make_job

_ALL = 100
_FLOOD = 1200
"""More than one exchange looks at."""


async def stored(queue: JobQueueAdapter, *types: str, **fields: object) -> list[Job]:
    """One job of each type, in this order."""
    jobs = [make_job(job_type=job_type, **fields) for job_type in types]
    await queue.insert([Draft.of(job) for job in jobs])
    return jobs


async def types_leased(
    queue: JobQueueAdapter, wanted: Wanted, limit: int = _ALL, *queues: str
) -> list[str]:
    """The types of what is leased, in order."""
    exchange = await queue.exchange((), queues or ("default",), limit, wanted)
    return [lease.job_type for lease in exchange.leases]


class WantedRules:
    async def test_only_the_wanted_types_are_leased_in_their_order(
        self, queue: JobQueueAdapter
    ) -> None:
        await stored(queue, "t.a", "t.b", "t.c", "t.a", "t.b")
        await stored(queue, "t.c", priority=1)
        only = Wanted(frozenset({"t.a", "t.c", "t.x"}), only=True)
        assert await types_leased(queue, only, 2) == ["t.c", "t.a"]
        assert await types_leased(queue, only) == ["t.c", "t.a"]
        assert await types_leased(queue, only) == []

    async def test_all_but_the_unwanted_types_are_leased(self, queue: JobQueueAdapter) -> None:
        await stored(queue, *(["t.a"] * 20), "t.b", "t.c", "t.a")
        without = Wanted(frozenset({"t.a"}))
        assert await types_leased(queue, without, 1) == ["t.b"]
        assert await types_leased(queue, without) == ["t.c"]
        assert await types_leased(queue, without) == []

    async def test_what_is_not_wanted_is_not_touched_and_keeps_its_place(
        self, queue: JobQueueAdapter
    ) -> None:
        first, _, last = await stored(queue, "t.a", "t.b", "t.a")
        before = await record(queue, first.id)
        assert await types_leased(queue, Wanted(frozenset({"t.a"}))) == ["t.b"]
        assert await record(queue, first.id) == before
        leases = (await queue.exchange((), ["default"], _ALL)).leases
        assert [lease.job_id for lease in leases] == [first.id, last.id]

    async def test_due_jobs_of_a_wanted_type_are_found_behind_unwanted_ones(
        self, queue: JobQueueAdapter, clocks: Clocks
    ) -> None:
        for job_type in ("t.a", "t.b"):
            lease = await leased_job(queue, job_type=job_type)
            retry = Settlement(lease.id, lease.token, Transition.RETRY, delay=5.0)
            await queue.exchange([retry], (), 0)
        without = Wanted(frozenset({"t.a"}))
        assert await types_leased(queue, without) == []
        clocks.advance(10)
        assert await types_leased(queue, without) == ["t.b"]
        assert await types_leased(queue, Wanted()) == ["t.a"]

    async def test_no_more_of_a_type_are_leased_than_are_wanted(
        self, queue: JobQueueAdapter
    ) -> None:
        await stored(queue, *(["t.a"] * 5), "t.b", *(["t.a"] * 5))
        two = Wanted().within({"t.a": 2})
        assert await types_leased(queue, two) == ["t.a", "t.a", "t.b"]
        assert await types_leased(queue, two) == ["t.a", "t.a"]
        only = Wanted(frozenset({"t.a"}), only=True).within({"t.a": 1, "t.b": 1})
        assert await types_leased(queue, only) == ["t.a"]
        assert await types_leased(queue, Wanted().within({"t.a": 0})) == []
        assert await types_leased(queue, Wanted()) == ["t.a"] * 5

    async def test_how_many_of_a_type_are_wanted_holds_for_all_queues_together(
        self, queue: JobQueueAdapter
    ) -> None:
        for name in ("one", "two", "three"):
            await stored(queue, "t.a", "t.a", "t.b", queue_name=name)
        three = Wanted().within({"t.a": 3})
        leased = await types_leased(queue, three, _ALL, "one", "two", "three")
        assert leased == ["t.a", "t.a", "t.b", "t.a", "t.b", "t.b"]

    async def test_wanted_jobs_are_found_behind_any_number_of_unwanted_ones(
        self, queue: JobQueueAdapter
    ) -> None:
        flood = await stored(queue, *(["t.a"] * _FLOOD))
        await stored(queue, "t.b", "t.c", "t.c", "t.c")
        without = Wanted(frozenset({"t.a"})).within({"t.c": 1})
        assert await self._all_leased(queue, without) == ["t.b", "t.c"]
        await stored(queue, "t.b")
        assert await types_leased(queue, without) == ["t.c", "t.b"], "that was seen already"
        await stored(queue, "t.b", priority=1)
        assert await types_leased(queue, without) == ["t.b", "t.c"], "it comes before all others"
        first = (await queue.exchange((), ["default"], 3)).leases
        assert [lease.job_id for lease in first] == [job.id for job in flood[:3]]

    async def _all_leased(self, queue: JobQueueAdapter, wanted: Wanted) -> list[str]:
        """In as many exchanges as it takes to see everything; none of these types again."""
        types: list[str] = []
        while True:
            exchange = await queue.exchange((), ["default"], _ALL, wanted)
            leased = [lease.job_type for lease in exchange.leases]
            types, wanted = types + leased, wanted.after(leased)
            if not exchange.unseen:
                return types

    async def test_due_jobs_that_are_not_wanted_hide_no_others_however_many_they_are(
        self, queue: JobQueueAdapter, clocks: Clocks
    ) -> None:
        soon = clocks.wall() + 5.0
        for kinds in (["t.a"] * _FLOOD, ["t.b"]):
            when = datetime.fromtimestamp(soon, UTC)
            await stored(queue, *kinds, scheduled_at=when)
        without = Wanted(frozenset({"t.a"}))
        assert await self._all_leased(queue, without) == []
        clocks.advance(10)
        assert await self._all_leased(queue, without) == ["t.b"]

    async def test_what_is_settled_with_it_is_settled(self, queue: JobQueueAdapter) -> None:
        lease = await leased_job(queue, job_type="t.a")
        await stored(queue, "t.a", "t.b")
        done = Settlement(lease.id, lease.token, Transition.COMPLETE, b"{}")
        exchange = await queue.exchange([done], ["default"], _ALL, Wanted(frozenset({"t.a"})))
        assert [one.status for one in exchange.receipts] == [JobStatus.COMPLETED]
        assert [one.job_type for one in exchange.leases] == ["t.b"]

    async def test_queues_are_served_in_their_order_there_too(self, queue: JobQueueAdapter) -> None:
        await stored(queue, "t.a", "t.b", queue_name="low")
        await stored(queue, "t.a", "t.c", queue_name="high")
        without = Wanted(frozenset({"t.a"}))
        assert await types_leased(queue, without, _ALL, "high", "low") == ["t.c", "t.b"]

    async def test_when_the_next_is_due_is_told_though_unwanted_ones_are_due_now(
        self, queue: JobQueueAdapter
    ) -> None:
        lease = await leased_job(queue, job_type="t.b", priority=9)
        await stored(queue, "t.a")
        retry = Settlement(lease.id, lease.token, Transition.RETRY, delay=20.0)
        await queue.exchange([retry], (), 0)
        exchange = await queue.exchange((), ["default"], _ALL, Wanted(frozenset({"t.a"})))
        assert exchange.leases == []
        assert exchange.next_due is not None
        assert 1 < exchange.next_due <= 20
