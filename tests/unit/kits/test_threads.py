from __future__ import annotations

import asyncio
import contextvars
import queue
from concurrent.futures import CancelledError, ThreadPoolExecutor
from threading import Event, Thread

import pytest

from portico.kits.job.threads import Threads, Work, described, watch_threads
from portico.utils.log_context import current_context, log_context
from tests.support.waiting import wait_until


@pytest.fixture
def threads(monkeypatch):
    """The threads of this test's jobs; all other tests start theirs as Python does."""
    monkeypatch.setattr(Thread, "start", Thread.start)
    monkeypatch.setattr(ThreadPoolExecutor, "submit", ThreadPoolExecutor.submit)
    watch_threads()
    own = Threads()
    own.enter()
    yield own
    Threads().enter()


@pytest.fixture
def go():
    """What threads wait for; set in the end, so that none outlives its test."""
    event = Event()
    yield event
    event.set()


def work_of(threads: Threads) -> Work:
    assert threads.work is not None
    return threads.work


def wait_for(go: Event) -> None:
    while not go.wait(0.01):
        pass


async def test_a_job_without_threads_has_none(threads):
    await asyncio.sleep(0)
    assert threads.work is None


async def test_threads_log_in_the_context_of_the_job_that_they_work_for_and_of_no_later_one(
    threads,
):
    seen = []

    def see():
        seen.append(current_context().get("job_id"))

    def start_another():
        see()
        with log_context(job_id="inner"):
            nested = Thread(target=see)
            nested.start()
        nested.join()

    with ThreadPoolExecutor(1) as pool:
        with log_context(job_id="first"):
            thread = Thread(target=start_another)
            thread.start()
            thread.join()
            pool.submit(see).result()
        Threads().enter()
        await asyncio.to_thread(see)
        with log_context(job_id="second"):
            pool.submit(see).result()
        outside = contextvars.Context().run(pool.submit, see)
        outside.result()
    assert seen == ["first", "inner", "first", None, "second", None]


async def test_a_thread_that_the_job_started_goes_on_until_it_ends(threads, go):
    thread = Thread(target=wait_for, args=(go,), name="rows")
    thread.start()
    assert work_of(threads).going_on() == [thread]
    said = described(thread)
    assert said.startswith("thread rows at ")
    assert said.endswith(" in wait_for")
    go.set()
    thread.join()
    assert not work_of(threads).going_on()


async def test_a_thread_of_a_pool_is_the_jobs_while_it_works_for_it(threads, go):
    pool = ThreadPoolExecutor(1)
    Threads().enter()  # the application's own first, which starts the thread
    pool.submit(int).result()
    threads.enter()
    done = pool.submit(wait_for, go)
    await wait_until(lambda: len(work_of(threads).going_on()) == 1)
    go.set()
    done.result()
    assert not work_of(threads).going_on()
    pool.shutdown()


async def test_what_waits_for_a_thread_is_not_begun_any_more_when_its_job_has_ended(threads, go):
    pool = ThreadPoolExecutor(1)
    running, waiting = pool.submit(wait_for, go), pool.submit(go.is_set)
    work_of(threads).end()
    go.set()
    running.result()
    with pytest.raises(CancelledError):
        waiting.result()
    pool.shutdown()


async def test_what_a_thread_starts_or_gives_on_is_the_same_jobs(threads, go):
    pool = ThreadPoolExecutor(1)

    def start() -> None:
        Thread(target=wait_for, args=(go,), name="its own").start()
        pool.submit(wait_for, go)

    await asyncio.to_thread(start)
    work = work_of(threads)
    await wait_until(lambda: len(work.going_on()) == 2)
    go.set()
    pool.shutdown()
    await wait_until(lambda: not work.going_on())


async def test_a_thread_that_waits_in_a_library_for_something_to_do_does_nothing_for_a_job(threads):
    """Libraries start theirs when they are first used, in whatever job that is."""
    todo: queue.Queue[None] = queue.Queue()
    library = Thread(target=todo.get, name="a library's")
    library.start()
    await wait_until(lambda: not work_of(threads).going_on())
    todo.put(None)
    library.join()


async def test_one_that_waits_in_the_applications_code_is_at_work(threads, go):
    def rows() -> None:
        go.wait()

    thread = Thread(target=rows)
    thread.start()
    await wait_until(lambda: " in rows" in described(thread))
    assert work_of(threads).going_on() == [thread]
    go.set()
    thread.join()


async def test_threads_of_the_application_are_no_jobs(threads, go):
    Threads().enter()
    thread = Thread(target=wait_for, args=(go,))
    thread.start()
    assert threads.work is None
    go.set()
    thread.join()
