from __future__ import annotations

import asyncio
from contextvars import Context

import pytest

from portico.supervisor.leaks import Leak, Scope, watch_tasks

FOR_EVER = 1e6


@pytest.fixture
async def loop():
    running = asyncio.get_running_loop()
    watch_tasks(running)
    return running


@pytest.fixture
def scope(loop):
    return Scope()


async def in_scope(scope, handler):
    """Run a handler the way a slot does, in a context that descends from the scope's."""

    async def slot():
        scope.enter()
        await asyncio.Task(handler(), loop=asyncio.get_running_loop())
        return await scope.clear()

    return await asyncio.create_task(slot())


async def test_nothing_is_noted_where_no_task_is_started(scope):
    async def handler():
        assert not scope.tasks

    assert await in_scope(scope, handler) is None


async def test_tasks_that_are_done_are_forgotten_at_once(scope):
    async def handler():
        await asyncio.gather(*(asyncio.sleep(0) for _ in range(100)))
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(0))
        assert not scope.tasks

    assert await in_scope(scope, handler) is None


async def test_what_is_left_is_cancelled_and_named(scope):
    kept = []

    async def endless():
        await asyncio.sleep(FOR_EVER)

    async def handler():
        kept.extend(asyncio.create_task(endless()) for _ in range(2))

    leak = await in_scope(scope, handler)
    assert leak is not None
    assert (leak.tasks, leak.still_running) == (2, 0)
    assert all("endless" in name for name in leak.coroutines)
    assert all(task.cancelled() for task in kept)


async def test_a_task_of_a_callback_or_of_a_thread_call_belongs_to_the_job_too(scope, loop):
    kept = []

    def start():
        kept.append(asyncio.ensure_future(asyncio.sleep(FOR_EVER)))

    async def handler():
        loop.call_soon(start)
        await asyncio.to_thread(lambda: loop.call_soon_threadsafe(start))
        await asyncio.sleep(0)

    assert (await in_scope(scope, handler)).tasks == 2
    assert all(task.cancelled() for task in kept)


async def test_tasks_outside_of_the_scope_go_on(scope, loop):
    outside = asyncio.create_task(asyncio.sleep(FOR_EVER))
    wanted, served = asyncio.Event(), asyncio.Event()
    started = []

    async def library():
        """A task of the application that starts another, on behalf of a handler."""
        await wanted.wait()
        started.append(asyncio.create_task(asyncio.sleep(FOR_EVER)))
        served.set()

    serving = asyncio.create_task(library())

    async def handler():
        wanted.set()
        await served.wait()
        started.append(loop.create_task(asyncio.sleep(FOR_EVER), context=Context()))

    assert await in_scope(scope, handler) is None
    assert not outside.done()
    assert [task.done() for task in started] == [False, False]
    for task in (outside, serving, *started):
        task.cancel()


async def test_scopes_of_two_slots_do_not_mix(loop):
    one, other = Scope(), Scope()
    kept = []

    async def leaves():
        kept.append(asyncio.create_task(asyncio.sleep(FOR_EVER)))
        await asyncio.sleep(0.01)

    async def tidy():
        await asyncio.sleep(0.01)

    leak, none = await asyncio.gather(in_scope(one, leaves), in_scope(other, tidy))
    assert leak.tasks == 1
    assert none is None


async def test_a_task_that_starts_others_while_it_ends_does_not_hide_them(scope):
    kept = []

    async def hydra():
        try:
            await asyncio.sleep(FOR_EVER)
        finally:
            kept.append(asyncio.create_task(asyncio.sleep(FOR_EVER)))

    async def handler():
        kept.append(asyncio.create_task(hydra()))
        await asyncio.sleep(0)

    leak = await in_scope(scope, handler)
    assert (leak.tasks, leak.still_running) == (2, 0)
    assert all(task.cancelled() for task in kept)


async def test_a_task_that_ignores_its_cancellation_is_counted_and_let_go(scope, monkeypatch):
    monkeypatch.setattr("portico.supervisor.leaks._UNWIND", 0.01)
    let_go = asyncio.Event()
    kept = []

    async def stubborn():
        while not let_go.is_set():
            try:
                await let_go.wait()
            except asyncio.CancelledError:
                continue

    async def handler():
        kept.append(asyncio.create_task(stubborn()))
        await asyncio.sleep(0)

    assert await in_scope(scope, handler) == Leak(1, [kept[0].get_coro().__qualname__], 1)
    assert not scope.tasks
    let_go.set()
    await kept[0]


async def test_a_factory_of_the_application_is_kept(loop):
    made = []

    def theirs(loop, coroutine, **options):
        task = asyncio.Task(coroutine, loop=loop, **options)
        made.append(task)
        return task

    loop.set_task_factory(theirs)
    watch_tasks(loop)
    task = asyncio.create_task(asyncio.sleep(0))
    assert made == [task]
    await task
