"""Threads that do the work of an attempt: known by the attempt, whoever started them.

A thread that a handler starts is the attempt's; so is what it gives to a pool of threads, for as
long as a thread of the pool is at it, and what those threads start or give on in turn. Threads that
are waiting in Python's or a library's own code for something to do are nobody's work. What is given
to a pool of processes is told as well, where the application had loaded such pools before. What all
these threads log and print stands under the attempt's job.

Nothing of this costs a job that uses no threads.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from concurrent.futures import thread as pools
from contextvars import ContextVar
from threading import Thread
from types import FrameType
from typing import Any

from portico.utils.log_context import current_context, lend_context

_MARK = "_portico_work"
"""Where a thread bears the attempt that it works for."""

_PYTHON = os.path.dirname(os.__file__) + os.sep
_POOL_OF_PROCESSES = os.path.join("multiprocessing", "pool.py")
"""Its threads wait too, and start the processes of a pool anew when those have been ended."""
_INSTALLED = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
_WAITS = (
    "threading.py",
    "queue.py",
    "selectors.py",
    os.path.join("concurrent", "futures", "thread.py"),
)


class Work:
    """What threads do for one attempt."""

    __slots__ = ("_given", "_over", "_threads")

    def __init__(self) -> None:
        self._threads: set[Thread] = set()
        self._given: dict[Future[Any], str] = {}
        self._over = False

    def end(self) -> None:
        """Let nothing more begin of what waits for a thread."""
        self._over = True

    def withdraw(self) -> None:
        """Take back what waits for a process of a pool."""
        for given in list(self._given):
            given.cancel()

    def give(self, given: Future[Any], what: str) -> None:
        """Count what a pool of processes has to do."""
        self._given[given] = what
        given.add_done_callback(lambda done: self._given.pop(done, None))

    def in_processes(self) -> list[str]:
        """What pools of processes are at now."""
        return [f"{what} in a pool of processes" for what in list(self._given.values())]

    def going_on(self) -> list[Thread]:
        """The threads that are at it now."""
        if not self._threads:
            return []
        frames = sys._current_frames()
        return [
            thread
            for thread in list(self._threads)
            if thread.is_alive() and not _idle(frames.get(thread.ident or 0))
        ]

    def of(self, thread: Thread) -> None:
        """Count a thread that does nothing else."""
        thread.__dict__[_MARK] = self
        self._threads.add(thread)

    def do(
        self,
        context: Mapping[str, Any],
        work: Callable[..., Any],
        *args: Any,
        **options: Any,
    ) -> Any:
        """Do one piece of it in this thread, which is a pool's, and log in this context."""
        if self._over:
            raise CancelledError("the job that wanted this has ended")
        thread = threading.current_thread()
        before = thread.__dict__.get(_MARK)
        lent_before = lend_context(thread, context)
        thread.__dict__[_MARK] = self
        self._threads.add(thread)
        try:
            return work(*args, **options)
        finally:
            self._threads.discard(thread)
            thread.__dict__[_MARK] = before
            lend_context(thread, lent_before)


class Threads:
    """What the threads of one slot's jobs do."""

    __slots__ = ("work",)

    def __init__(self) -> None:
        self.work: Work | None = None
        """Of the attempt that runs; `None` until it uses a thread."""

    def enter(self) -> None:
        """Take charge of what is started in this context from now on."""
        _here.set(self)


_here: ContextVar[Threads | None] = ContextVar("portico_threads", default=None)


def watch_threads() -> None:
    """Have every thread that is started from now on know for which attempt that was. A second call
    changes nothing."""
    start, submit = Thread.start, ThreadPoolExecutor.submit
    if hasattr(start, _MARK):
        return

    def watched_start(thread: Thread) -> None:
        work = current_work()
        if work is not None and getattr(thread, "_target", None) is not pools._worker:
            work.of(thread)
            lend_context(thread, current_context())
        start(thread)

    def watched_submit(
        pool: ThreadPoolExecutor, fn: Callable[..., Any], /, *args: Any, **options: Any
    ) -> Any:
        work = current_work()
        if work is None:
            return submit(pool, fn, *args, **options)
        return submit(pool, work.do, current_context(), fn, *args, **options)

    _watch_pools_of_processes()
    setattr(watched_start, _MARK, True)
    Thread.start = watched_start  # type: ignore[assignment, method-assign]
    ThreadPoolExecutor.submit = watched_submit  # type: ignore[assignment, method-assign]


def _watch_pools_of_processes() -> None:
    """Where they are not loaded yet, no pool outlives the job that makes it first."""
    pool: Any = getattr(sys.modules.get("concurrent.futures.process"), "ProcessPoolExecutor", None)
    if pool is None:
        return
    submit = pool.submit

    def watched_submit(pool: Any, fn: Callable[..., Any], /, *args: Any, **options: Any) -> Any:
        given = submit(pool, fn, *args, **options)
        if (work := current_work()) is not None:
            work.give(given, getattr(fn, "__qualname__", type(fn).__name__)[:200])
        return given

    pool.submit = watched_submit


def current_work() -> Work | None:
    """The attempt for which the caller works: its thread's, or that of the job on the loop."""
    thread = threading._active.get(threading.get_ident())  # type: ignore[attr-defined]
    if thread is not None and (work := thread.__dict__.get(_MARK)) is not None:
        return work  # type: ignore[no-any-return]
    threads = _here.get()
    if threads is None or thread is not threading.main_thread():
        return None
    if threads.work is None:
        threads.work = Work()
    return threads.work


def described(thread: Thread) -> str:
    """A thread by its name, and where it is in the application's code."""
    innermost = frame = sys._current_frames().get(thread.ident or 0)
    while frame is not None and _pythons_own(frame):
        frame = frame.f_back
    at = frame or innermost
    if at is None:
        return f"thread {thread.name}"
    code = at.f_code
    return f"thread {thread.name} at {code.co_filename}:{at.f_lineno} in {code.co_name}"[:300]


def _idle(frame: FrameType | None) -> bool:
    """Whether a thread waits for something to do, and nothing of the application's waits in it."""
    if frame is None or not frame.f_code.co_filename.endswith(_WAITS) or not _pythons_own(frame):
        return False
    while frame is not None:
        name = frame.f_code.co_filename
        if name.endswith(_POOL_OF_PROCESSES) or not (_pythons_own(frame) or _installed(name)):
            return False
        frame = frame.f_back
    return True


def _pythons_own(frame: FrameType) -> bool:
    name = frame.f_code.co_filename
    return (name.startswith(_PYTHON) and not _installed(name)) or name.startswith("<frozen ")


def _installed(name: str) -> bool:
    return any(part in name for part in _INSTALLED)
