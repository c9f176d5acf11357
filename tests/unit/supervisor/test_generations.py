"""Which code new workers are started from while an application is reloaded."""

from __future__ import annotations

import asyncio

import pytest

from portico.supervisor.birth import Descriptors
from portico.supervisor.generations import Generations
from portico.supervisor.launch import AppError, Launcher


class Code(Launcher):
    """Loads when it is let go, or fails to."""

    def __init__(self, *, error: Exception | None = None, loaded: bool = True) -> None:
        self.error = error
        self.closed = False
        self.begun = False
        self.go = asyncio.Event()
        if loaded:
            self.go.set()

    async def start(self) -> None:
        self.begun = True
        await self.go.wait()
        if self.error:
            raise self.error

    async def launch(self, fds: Descriptors) -> int:
        raise NotImplementedError

    def close(self) -> None:
        self.closed = True


async def test_the_old_code_is_kept_until_a_worker_with_the_new_is_ready() -> None:
    old, new = Code(), Code()
    generations = Generations(old)
    assert await generations.replace(new)
    assert generations.current is new
    generations.proved(old)  # a worker that had been starting
    assert not old.closed
    generations.proved(new)
    assert old.closed
    assert not generations.failed(new, "later, for another reason")
    assert generations.current is new


async def test_code_whose_first_worker_fails_is_dropped_for_the_old_one() -> None:
    old, new = Code(), Code()
    generations = Generations(old)
    await generations.replace(new)
    assert generations.failed(new, "cannot be opened")
    assert generations.current is old
    assert new.closed
    assert not old.closed
    assert not generations.failed(new, "its second worker")


@pytest.mark.parametrize("error", [AppError("no such module"), OSError("too many open files")])
async def test_code_that_cannot_be_loaded_changes_nothing(error: Exception) -> None:
    old = Code()
    generations = Generations(old)
    assert not await generations.replace(Code(error=error))
    assert generations.current is old
    assert not old.closed


async def test_code_that_is_replaced_before_it_has_proved_itself_leaves_the_proven_one() -> None:
    old, hasty, last = Code(), Code(), Code()
    generations = Generations(old)
    await generations.replace(hasty)
    await generations.replace(last)
    assert hasty.closed
    assert generations.failed(last, "cannot be opened")
    assert generations.current is old


async def test_of_two_reloads_the_later_one_counts_however_long_the_first_takes() -> None:
    generations = Generations(Code())
    slow, newest = Code(loaded=False), Code()
    first = asyncio.create_task(generations.replace(slow))
    await asyncio.sleep(0)
    second = asyncio.create_task(generations.replace(newest))
    await asyncio.sleep(0)
    assert slow.begun
    assert not newest.begun  # what it would load now may be older than what it loads in its turn
    slow.go.set()
    assert await first
    assert await second
    assert generations.current is newest


async def test_the_end_lets_go_of_all_code() -> None:
    old, new = Code(), Code()
    generations = Generations(old)
    await generations.replace(new)
    await generations.end(0)
    assert old.closed
    assert new.closed
