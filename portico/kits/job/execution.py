"""One attempt of one job: decode it, find its handler, run it, judge what came of it.

Both executors run this: the tasks of this process, and the worker processes.

    lease ─► job_of ─► handler ─► handle ─► judgement ─────► Completed
               │          │         │           └► on_failure ─► Failed, retryable or not
               │          │         └ interrupt(task) ──────► Interrupted
               │          └ none ───────────────────────────► Unroutable
               └ undecodable ───────────────────────────────► Quarantined

Nothing that a handler does gets out of here: SystemExit, KeyboardInterrupt and a CancelledError
of its own making are failures like any other. The three reasons for which an attempt is stopped
(`Stop`) are noted before its task is cancelled, so nobody has to guess whose cancellation it was.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from inspect import isawaitable
from types import CoroutineType
from typing import Any

from portico.kits.job.deadlines import Deadlines
from portico.kits.job.decoding import job_of
from portico.kits.job.error_kinds import holds, is_a
from portico.kits.job.failures import error_of, failure, failure_of
from portico.kits.job.handlers import limits_of
from portico.kits.job.judgement import (
    Judgement,
    Stop,
    check_awaitable,
    judge_raised,
    judge_result,
    judge_stopped,
    unroutable,
)
from portico.ports.job import Job
from portico.ports.job_executor import Completed, Failed, Quarantined, Released, Unroutable, Verdict
from portico.ports.job_handler import JobHandler
from portico.ports.leasing import Failure, Lease
from portico.ports.time_limits import TimeLimits
from portico.utils.log_context import bind_values
from portico.utils.logging import get_logger

__all__ = ["ON_FAILURE_TIMEOUT", "Execution", "job_of"]

ON_FAILURE_TIMEOUT = 30.0
"""Seconds that a handler's `on_failure` has."""

_UNDECODABLE = (ValueError, TypeError, OverflowError, RecursionError)

logger = get_logger(__name__)


class Execution:
    """Runs attempts with one set of handlers, on the loop in which it is built.

    Each attempt is a task of its own, made by the caller, so that what a handler binds to its
    context does not leak into the next job:

        task = loop.create_task(execution.run(lease, timeout))
        task.add_done_callback(lambda task: report(lease, execution.verdict(task)))

    `run` never raises and always returns a verdict; only a task that was stopped before its first
    step ends without one, and `verdict` knows what that means.
    """

    def __init__(
        self,
        handlers: Mapping[str, JobHandler],
        *,
        on_failure_timeout: float = ON_FAILURE_TIMEOUT,
        kill_grace: float = 0.0,
        retry_returned_failures: bool = False,
        on_failing: Callable[[Lease, Verdict], None] | None = None,
        on_over: Callable[[Lease, Verdict], asyncio.Future[None] | None] | None = None,
        max_job_timeout: float | None = None,
    ) -> None:
        """Build it inside of the running loop.

        Args:
            handlers: the handlers by job type.
            on_failure_timeout: seconds that `on_failure` has.
            kill_grace: seconds from the soft to the hard deadline, unless told otherwise.
            retry_returned_failures: judge `JobResult(success=False)` like a raised exception.
            on_failing: told the verdict of a failed attempt before its `on_failure` runs, where
                the handler has one.
            on_over: told the verdict of every attempt that did not succeed before anything else
                is done about it, and gives what to wait for first: the end of all that the attempt
                has left running.
            max_job_timeout: seconds that no attempt exceeds, whatever its type or job says.
        """
        self._handlers = handlers
        self._on_failure_timeout = on_failure_timeout
        self._retry_returned = retry_returned_failures
        self._on_failing = on_failing
        self._on_over = on_over
        self._longest = max_job_timeout
        self._limits = limits_of(handlers)
        self._kill_grace = kill_grace
        self._loop = asyncio.get_running_loop()
        self._deadlines = Deadlines(self._expire, self._loop)
        self._stopped: dict[asyncio.Task[Any], Stop] = {}
        self.exhausted = False
        """A handler ran out of memory: this process may not be fit for another job."""

    async def run(self, lease: Lease, timeout: float | None = None) -> Verdict:
        """Run one attempt to its verdict; `timeout` is the soft deadline in seconds."""
        try:
            job = job_of(lease)
        except _UNDECODABLE as flaw:
            return Quarantined(failure("PayloadInvalid", str(flaw)))
        handler = self._handlers.get(lease.job_type)
        if handler is None:
            return Unroutable(unroutable(lease.job_type, self._handlers))
        _bind(lease, job)
        task = this_task(self._loop)
        if job.metadata or lease.job_type in self._limits:
            timeout = self._narrowed(lease, job, timeout)
        if timeout is not None:
            self._deadlines.set(task, timeout)
        try:
            pending = handler.handle(job)
            if type(pending) is not CoroutineType:
                check_awaitable(pending)
            verdict, error = judge_result(await pending, self._retry_returned)
        except BaseException as raised:
            if _closed_from_outside(raised, task):
                raise
            verdict, error = self._judge_raised(raised, task, timeout)
        self._deadlines.clear(task)
        if task.cancelling():
            await _absorb_cancellation(task)
        if type(verdict) is not Completed:
            await self._wind_up(lease, handler, verdict, error)
            del error  # its traceback refers to this frame
        return verdict

    def verdict(self, task: asyncio.Task[Verdict]) -> Verdict:
        """The verdict of a task of `run` that is done, however it ended. Ask once per task."""
        stopped = self._stopped.pop(task, None)
        if not task.cancelled():
            defect = task.exception()
            return task.result() if defect is None else broken(defect)
        if not task.cancelling():  # taken back, so it did start: the handler's own doing
            return Failed(failure_of(asyncio.CancelledError()), retryable=True)
        return judge_stopped(stopped)[0] if stopped is Stop.CANCEL else Released()

    def forget(self, task: asyncio.Task[Any]) -> None:
        """The attempt that ran in this task has ended: nobody will ask for its verdict."""
        self._stopped.pop(task, None)

    def interrupt(self, task: asyncio.Task[Verdict]) -> None:
        """Stop an attempt for a shutdown: Interrupted, unless it manages to end by itself."""
        self._stop(task, Stop.INTERRUPT)

    def cancel(self, task: asyncio.Task[Verdict]) -> None:
        """Stop an attempt by request: Failed for good, unless it manages to end by itself."""
        self._stop(task, Stop.CANCEL)

    async def mourn(self, lease: Lease, reason: Failure) -> None:
        """Run `on_failure` for an attempt whose process is gone; never raises."""
        handler = self._handlers.get(lease.job_type)
        if handler is None:
            return
        try:
            _bind(lease, job_of(lease))
        except _UNDECODABLE:
            return
        await self._tell(handler, lease, error_of(reason))

    def _expire(self, task: asyncio.Task[Any]) -> None:
        self._stop(task, Stop.DEADLINE)

    def _stop(self, task: asyncio.Task[Any], why: Stop) -> None:
        if not task.done():
            self._stopped.setdefault(task, why)
            task.cancel()

    def _judge_raised(
        self, raised: BaseException, task: asyncio.Task[Any], timeout: float | None
    ) -> Judgement:
        if holds(raised, MemoryError):
            self.exhausted = True
        return judge_raised(raised, self._stopped.get(task), timeout)

    def _narrowed(self, lease: Lease, job: Job, timeout: float | None) -> float | None:
        """The soft deadline of this attempt; who watches the hard one comes to the same."""
        usual = TimeLimits(timeout, self._kill_grace)
        limits = usual.narrowed(self._limits.get(lease.job_type, {})).narrowed(job.metadata)
        return limits.within(self._longest, self._kill_grace).job_timeout

    async def _wind_up(
        self, lease: Lease, handler: JobHandler, verdict: Verdict, error: Exception | None
    ) -> None:
        """See that nothing of an attempt runs any more, then tell its handler that it failed."""
        if self._on_over is not None and (rest := self._on_over(lease, verdict)) is not None:
            await _undisturbed(rest, this_task(self._loop))
        if error is not None:
            if self._on_failing is not None and listens(handler):
                self._on_failing(lease, verdict)
            await self._tell(handler, lease, error)

    async def _tell(self, handler: JobHandler, lease: Lease, error: Exception) -> None:
        """Run `on_failure` with the job as it was leased: what `handle` got it may have changed."""
        hook = getattr(handler, "on_failure", None)
        if hook is None:
            return
        task = this_task(self._loop)
        limit = asyncio.timeout(self._on_failure_timeout)
        try:
            async with limit:
                pending = hook(job_of(lease), error)
                if isawaitable(pending):
                    await pending
        except BaseException as raised:
            if _closed_from_outside(raised, task):
                raise
            _log_hook(limit.expired(), raised)
        if task.cancelling():
            await _absorb_cancellation(task)


def listens(handler: JobHandler) -> bool:
    """Whether a handler has an `on_failure` of its own."""
    hook = getattr(type(handler), "on_failure", None)
    return hook is not None and hook is not JobHandler.on_failure


def mourners_of(handlers: Mapping[str, JobHandler]) -> list[str]:
    """The types whose handler has an `on_failure` of its own."""
    return sorted(job_type for job_type, handler in handlers.items() if listens(handler))


def _bind(lease: Lease, job: Job) -> None:
    bind_values({
        "job_id": job.id, "job_type": lease.job_type, "queue": lease.queue_name,
        "attempt": lease.attempt,
    })  # fmt: skip


def this_task(loop: asyncio.AbstractEventLoop) -> asyncio.Task[Any]:
    """The task that runs now on this loop."""
    task = asyncio.current_task(loop)  # naming the loop spares looking it up
    assert task is not None
    return task


def _closed_from_outside(error: BaseException, task: asyncio.Task[Any]) -> bool:
    """Whether this is the end of the coroutine itself, where nothing may be awaited any more.

    A GeneratorExit raised by the handler comes up while its task is being run; the one of a
    coroutine that is closed with its loop does not.
    """
    if not is_a(error, GeneratorExit):
        return False
    try:
        return asyncio.current_task() is not task
    except RuntimeError:
        return True


async def _absorb_cancellation(task: asyncio.Task[Any]) -> None:
    """Take back cancellations that are dealt with, also one that is not delivered yet."""
    while task.uncancel():
        pass
    try:
        await asyncio.sleep(0)
    except asyncio.CancelledError:
        while task.cancelling():
            task.uncancel()


async def _undisturbed(awaited: asyncio.Future[None], task: asyncio.Task[Any]) -> None:
    """Wait for something, whoever cancels this task meanwhile."""
    while not awaited.done():
        try:
            await asyncio.wait([awaited])
        except asyncio.CancelledError:
            while task.uncancel():
                pass


def _log_hook(expired: bool, raised: BaseException) -> None:  # noqa: FBT001
    reason = failure_of(raised)
    logger.warning(
        "on_failure_timed_out" if expired else "on_failure_raised",
        error_type=reason.type,
        error=reason.message,
        traceback=reason.traceback,
    )


def broken(error: BaseException) -> Verdict:
    """The verdict when our own code raised: a defect, which must not lose the job."""
    reason = failure_of(error)
    logger.error("attempt_broke", error_type=reason.type, traceback=reason.traceback)
    return Failed(reason, retryable=True)
