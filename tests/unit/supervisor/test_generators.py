from __future__ import annotations

import asyncio
import contextlib
import gc

import pytest

from portico.supervisor import generators
from portico.supervisor.generators import Generators
from portico.supervisor.leaks import Scope
from portico.utils.logging import bind_context


@pytest.fixture
async def here():
    """The generators of this loop; its next run takes the hooks away from them again."""
    return Generators(asyncio.get_running_loop())


class Stream:
    """Gives three rows; cleaning up after them takes a while, and may go wrong."""

    def __init__(self, ends_with=None, takes=0.01):
        self.ends_with, self.takes = ends_with, takes
        self.closed = asyncio.Event()

    async def rows(self):
        try:
            for row in range(3):
                yield row
        finally:
            await asyncio.sleep(self.takes)
            self.closed.set()
            if self.ends_with is not None:
                raise self.ends_with


async def as_a_job(number, handler):
    """In a scope of its own, under a number that its log lines carry."""
    scope = Scope()

    async def job():
        scope.enter()
        bind_context(job=number)
        await handler()

    await asyncio.Task(job())
    await asyncio.sleep(0)
    return scope


async def first(rows):
    async for _ in rows:
        return


async def test_one_that_was_left_early_is_cleaned_up_to_the_end(here):
    here.watch()
    stream = Stream()

    async def handler():
        await first(stream.rows())

    scope = await as_a_job(1, handler)
    assert len(here.of(scope)) == 1
    assert not scope.tasks
    await stream.closed.wait()
    await here.settle(1.0)
    assert not here.of(scope)


@pytest.mark.parametrize("leaves", ["by an error", "in a global", "in a cycle"])
async def test_what_goes_wrong_is_told_under_the_job_that_began_it(here, leaves, caplog):
    """Whoever runs when it is collected has nothing to do with it."""
    here.watch()
    stream, kept = Stream(ends_with=RuntimeError("the connection broke")), []

    async def handler():
        rows = stream.rows()
        if leaves == "in a global":
            kept.append(rows)
        elif leaves == "in a cycle":
            cycle = [rows]
            cycle.append(cycle)
        async for _ in rows:
            if leaves == "by an error":
                with contextlib.suppress(ValueError):
                    raise ValueError
            break

    async def innocent():
        kept.clear()
        gc.collect()

    await as_a_job(1, handler)
    await as_a_job(2, innocent)
    await stream.closed.wait()
    await here.settle(1.0)
    (record,) = [r for r in caplog.records if "generator_cleanup" in r.getMessage()]
    assert "generator_cleanup_failed" in record.getMessage()
    assert "job=1" in record.getMessage() or getattr(record, "job", None) == 1


async def test_one_that_hangs_is_ended_and_told(here, monkeypatch, caplog):
    here.watch()
    monkeypatch.setattr(generators, "LONGEST", 0.01)
    stream = Stream(takes=1e6)

    async def handler():
        await first(stream.rows())

    scope = await as_a_job(1, handler)
    await here.settle(30.0)
    assert not here.of(scope)
    assert "generator_cleanup_overdue" in caplog.text


async def test_those_that_were_closed_or_came_to_their_end_leave_nothing_behind(here):
    here.watch()

    async def handler():
        for _ in range(50):
            assert [row async for row in Stream(takes=0).rows()] == [0, 1, 2]
            async with contextlib.aclosing(Stream(takes=0).rows()) as rows:
                await first(rows)

    scope = await as_a_job(1, handler)
    assert not here.of(scope)
    assert not here._begun_in
    assert len(here._dying) <= 1


async def test_the_loop_still_knows_those_that_are_open(here):
    here.watch()
    stream = Stream(takes=0)
    rows = stream.rows()
    await first(rows)
    await asyncio.get_running_loop().shutdown_asyncgens()
    assert stream.closed.is_set()
