from __future__ import annotations

import asyncio

import pytest

from portico.adapters.job_queue._bell import Bell


async def resting(bell: Bell, *queues: str) -> asyncio.Task[None]:
    """A task that waits for these queues, which were found empty."""
    bell.quiet(queues, bell.count)
    task = asyncio.create_task(bell.wait(queues, 30))
    await asyncio.sleep(0)
    assert not task.done()
    return task


async def test_a_ring_wakes_whoever_waits_for_that_queue() -> None:
    bell = Bell()
    mine, other = await resting(bell, "a", "b"), await resting(bell, "c")
    bell.ring(["b"])
    await asyncio.wait_for(mine, 1)
    assert not other.done()
    bell.ring()
    await asyncio.wait_for(other, 1)


async def test_a_ring_after_the_look_ends_the_wait_at_once() -> None:
    bell = Bell()
    looked = bell.count
    bell.ring(["a"])
    bell.quiet(["a"], looked)
    async with asyncio.timeout(1):
        await bell.wait(["a"], 30)


async def test_a_ring_is_heard_once() -> None:
    bell = Bell()
    bell.ring(["a"])
    await bell.wait(["a"], 30)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await bell.wait(["a"], 30)


async def test_whoever_gives_up_leaves_nothing_behind() -> None:
    bell = Bell()
    task = await resting(bell, "a", "a")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert not bell._waiting


async def test_names_that_nobody_here_asks_for_are_not_kept() -> None:
    bell = Bell()
    task = await resting(bell, "mine")
    for number in range(30_000):
        bell.ring([f"{number}" * 100])
    assert not task.done()
    assert set(bell._rung) | set(bell._quiet) == {"mine"}
    bell.ring(["mine"])
    await asyncio.wait_for(task, 1)


async def test_a_strange_ring_ends_one_wait_at_most_of_whoever_asks_for_the_first_time() -> None:
    bell = Bell()
    looked = bell.count
    bell.ring(["another"])
    bell.quiet(["a"], looked)
    async with asyncio.timeout(1):
        await bell.wait(["a"], 30)
    bell.ring(["another"])
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await bell.wait(["a"], 30)
