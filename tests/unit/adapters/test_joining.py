"""Inserts that are joined: who is stored with whom, and that each hears of his own alone."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from portico.adapters.job_queue._joining import JoinedInserts
from portico.adapters.job_queue._turns import Turns
from portico.exceptions import QueueConnectionError, QueueFullError
from portico.ports.draft import Draft
from portico.ports.job import JobStatus
from portico.ports.leasing import Inserted
from tests.support.jobs import make_job


class Store:
    """Stores what it is told to, or raises what it was told; `gate` holds an insert up."""

    def __init__(self) -> None:
        self.inserts: list[list[str]] = []
        self.wrong: dict[str, Exception] = {}
        self.asked, self.gate = asyncio.Event(), asyncio.Event()
        self.gate.set()

    async def insert(self, drafts: Sequence[Draft]) -> list[Inserted | None]:
        types = [draft.job_type for draft in drafts]
        self.inserts.append(types)
        self.asked.set()
        await self.gate.wait()
        for name in types:
            if name in self.wrong:
                raise self.wrong[name]
        return [
            None if name == "taken" else Inserted(JobStatus.PENDING, at(int(name[1:])))
            for name in types
        ]


def at(second: int) -> datetime:
    return datetime.fromtimestamp(second, UTC)


def answer(*seconds: int) -> list[Inserted]:
    return [Inserted(JobStatus.PENDING, at(second)) for second in seconds]


def drafts(*types: str, **fields: Any) -> list[Draft]:
    return [Draft.of(make_job(job_type=name, **fields)) for name in types]


@pytest.fixture
async def store() -> Store:
    return Store()


@pytest.fixture
async def joined(store: Store) -> JoinedInserts:
    return JoinedInserts(store.insert)


async def begun(store: Store, *calls: Coroutine[Any, Any, Any]) -> list[asyncio.Task[Any]]:
    """Tasks of these calls, the first insert being held up."""
    store.gate.clear()
    tasks = [asyncio.ensure_future(call) for call in calls]
    await store.asked.wait()
    return tasks


async def test_callers_that_come_at_once_are_stored_together_in_their_order(
    store: Store, joined: JoinedInserts
) -> None:
    calls = (drafts("n1"), drafts("n2", "taken"), drafts("n3"))
    answers = await asyncio.gather(*map(joined.insert, calls))
    assert store.inserts == [["n1", "n2", "taken", "n3"]]
    assert answers == [answer(1), [*answer(2), None], answer(3)]


async def test_who_comes_while_an_insert_is_under_way_is_in_the_next(
    store: Store, joined: JoinedInserts
) -> None:
    [first] = await begun(store, joined.insert(drafts("n1")))
    others = [asyncio.ensure_future(joined.insert(drafts(f"n{n}"))) for n in (2, 3, 4)]
    await asyncio.sleep(0)
    assert store.inserts == [["n1"]]
    store.gate.set()
    assert await asyncio.gather(first, *others) == [answer(n) for n in (1, 2, 3, 4)]
    assert store.inserts == [["n1"], ["n2", "n3", "n4"]]


async def test_what_is_refused_of_one_is_refused_of_nobody_else(
    store: Store, joined: JoinedInserts
) -> None:
    store.wrong["n2"] = QueueFullError("full")
    calls = [joined.insert(drafts(f"n{n}")) for n in (1, 2, 3)]
    first, refused, last = await asyncio.gather(*calls, return_exceptions=True)
    assert (first, last) == (answer(1), answer(3))
    assert isinstance(refused, QueueFullError)


async def test_a_caller_that_is_cancelled_before_its_turn_has_stored_nothing(
    store: Store, joined: JoinedInserts
) -> None:
    [first] = await begun(store, joined.insert(drafts("n1")))
    second, third = (asyncio.ensure_future(joined.insert(drafts(f"n{n}"))) for n in (2, 3))
    await asyncio.sleep(0)
    second.cancel()
    first.cancel()  # under way: what it does is done
    await asyncio.sleep(0)
    store.gate.set()
    assert await third == answer(3)
    assert store.inserts == [["n1"], ["n3"]]


async def test_one_insert_that_finds_no_store_fails_its_callers_and_two_all_who_wait(
    store: Store, joined: JoinedInserts
) -> None:
    lost = QueueConnectionError("gone", {"reason": "unreachable"}, OSError())
    store.wrong = {f"n{n}": lost for n in range(3)}
    [first] = await begun(store, joined.insert(drafts("n1")))
    many = [asyncio.ensure_future(joined.insert(drafts(*["n2"] * 1500))) for _ in range(3)]
    await asyncio.sleep(0)
    store.gate.set()
    told = await asyncio.gather(first, *many, return_exceptions=True)
    assert [str(error) for error in told] == ["gone"] * 4
    assert [len(one) for one in store.inserts] == [1, 1500]
    assert len({id(error) for error in told}) == 4  # each has a traceback of its own
    assert all(isinstance(error.__cause__, OSError) for error in told if error is not lost)
    assert await joined.insert(drafts("n7")) == answer(7)  # the next call tries


async def test_an_insert_is_bounded_by_count_and_by_bytes(
    store: Store, joined: JoinedInserts
) -> None:
    await asyncio.gather(*(joined.insert(drafts(*["n1"] * 900)) for _ in range(4)))
    large = {"x": "a" * 1_000_000}
    await asyncio.gather(*(joined.insert(drafts("n1", payload=large)) for _ in range(10)))
    await joined.insert(drafts(*["n1"] * 5000))  # one's own is never cut
    assert [len(one) for one in store.inserts] == [1800, 1800, 8, 2, 5000]


async def test_who_waits_when_the_work_is_cancelled_is_cancelled_too(
    store: Store, joined: JoinedInserts
) -> None:
    [first] = await begun(store, joined.insert(drafts("n1")))
    second = asyncio.ensure_future(joined.insert(drafts("n2")))
    await asyncio.sleep(0)
    others = asyncio.all_tasks() - {asyncio.current_task(), first, second}
    [work] = (task for task in others if "_work" in repr(task.get_coro()))
    work.cancel()
    told = await asyncio.gather(first, second, return_exceptions=True)
    assert [type(error) for error in told] == [asyncio.CancelledError] * 2


class TestTurns:
    """Time is real here, but nothing depends on how much of it passes."""

    async def test_who_waits_for_his_turn_while_others_are_answered_is_not_told_of_silence(
        self,
    ) -> None:
        turns = Turns(1, patience=0.01)

        async def work() -> None:
            async with turns.turn(AssertionError):
                await asyncio.sleep(0.004)

        await asyncio.gather(*(work() for _ in range(20)))

    async def test_who_waits_while_nobody_is_answered_is(self) -> None:
        turns, hanging = Turns(1, patience=0.01), asyncio.Event()

        async def hang() -> None:
            async with turns.turn(AssertionError):
                await hanging.wait()

        first = asyncio.ensure_future(hang())
        await asyncio.sleep(0)
        with pytest.raises(QueueConnectionError, match="silent"):
            async with turns.turn(lambda error: QueueConnectionError("silent", cause=error)):
                raise AssertionError
        hanging.set()
        await first
