"""The slots of a worker: they run jobs one after the other, and report how each ended.

    control thread ── waiting ──► slot ─► page.begin ─► execution.run ─► handler.handle
                                   ▲                                  └► handler.on_failure
                                   ├─────────────── done ──► tray ──flush──► result pipe
                                   ├──────────── Ended (Mourned) ──────────► result pipe
                                   └ scope.clear: end the tasks that the handler left

A slot puts a job's outcome where it survives this process before it takes the next job: into the
tray, or with all that is in there into the pipe. So after a death every job whose handler had
returned is known.
"""

from __future__ import annotations

import asyncio
import signal
import traceback
from collections.abc import Coroutine, Generator
from contextlib import AsyncExitStack
from contextvars import Context, copy_context
from functools import partial
from math import inf
from sys import getrefcount
from time import perf_counter
from types import coroutine
from typing import Any, TypeVar
from weakref import getweakrefcount

from portico.exceptions import ConfigurationError
from portico.kits.job.execution import Execution, broken, listens, this_task
from portico.kits.job.failures import failure_of
from portico.kits.job.handlers import Handlers, most_running
from portico.kits.job.job_service import JobService
from portico.ports.job_executor import Completed, Verdict
from portico.ports.leasing import Lease
from portico.ports.time_limits import TimeLimits
from portico.ports.worker_context import WorkerContext
from portico.supervisor import evidence, registry, wire
from portico.supervisor.exit import EXIT_APP
from portico.supervisor.generators import Generators
from portico.supervisor.inbox import Errand, Inbox, Outbox
from portico.supervisor.leaks import Outside, Scope, watch_tasks
from portico.supervisor.link import Link, PipeQueue
from portico.supervisor.running_page import RunningPage
from portico.utils.logging import get_logger

T = TypeVar("T")

CLEANUPS = 2.0
"""Seconds that generators which were left have to clean up before the application is closed."""

_TURN = 0.001
"""Seconds for which jobs that never wait may run in a row before the loop gets a turn, and what has
gathered is sent."""

logger = get_logger(__name__)


class Worker:
    """Runs the jobs of one worker process."""

    def __init__(
        self, hello: wire.Hello, page: RunningPage, inbox: Inbox, outbox: Outbox, link: Link
    ) -> None:
        self._hello = hello
        self._page = page
        self._inbox = inbox
        self._outbox = outbox
        self._link = link
        self._loop = asyncio.get_running_loop()
        self._running: dict[int, tuple[Lease, asyncio.Task[Any], float, int]] = {}
        self._execution: Execution
        self._generators = Generators(self._loop)
        self._outside: Outside
        self._most = inf if hello.max_jobs is None else hello.max_jobs
        self._begun = 0
        self.ready = False
        """Whether the application is open and jobs may run."""

    def attend(self) -> None:
        """Start the control thread, and heed SIGTERM."""
        self._inbox.on_cancel = self._cancel
        self._inbox.on_answer = self._link.answered
        self._inbox.start()
        self._loop.add_signal_handler(signal.SIGTERM, self._inbox.close)

    async def run(self, app: Any) -> None:
        """Open the application, run jobs until told to stop, close the application."""
        async with AsyncExitStack() as stack:
            try:
                handlers = await registry.open_app(app, self._context(), stack)
            except Exception as error:  # noqa: BLE001 - the application may raise anything
                self._outbox.send(unready(_reason(error), traceback.format_exc()))
                raise SystemExit(EXIT_APP) from None
            self._execution = Execution(
                handlers,
                on_failure_timeout=self._hello.on_failure_timeout,
                retry_returned_failures=self._hello.retry_returned_failures,
                kill_grace=self._hello.kill_grace,
                on_failing=self._failing,
                on_limits=self._limited,
            )
            # From here on: what the application has started is its own.
            self._outside = watch_tasks(self._loop)
            self._generators.watch()
            self.ready = True
            types, mourners = sorted(handlers), _mourners(handlers)
            self._outbox.send(wire.Ready(wire.VERSION, types, mourners, most_running(handlers)))
            await asyncio.gather(*(self._slot(n) for n in range(self._hello.concurrency)))
            self.ready = False
            await self._generators.settle(CLEANUPS)

    def contains(self, leaving: BaseException) -> bool:
        """Whether the loop may go on after this SystemExit or KeyboardInterrupt passed through it:
        it was a handler's doing, in a task or a callback of its own, and concerns no other."""
        if not self.ready or self._outside.ended_by(leaving):
            return False
        reason = failure_of(leaving)
        logger.warning(
            "handler_exit_contained",
            error_type=reason.type,
            error=reason.message,
            traceback=reason.traceback,
            jobs=[str(lease.job_id) for lease, *_ in self._running.values()][:5],
            note="a task or a callback of a handler raised it; whoever awaits that task fails "
            "with it, and the other jobs go on",
        )
        self._loop.call_soon(self._generators.watch)
        return True

    def _context(self) -> WorkerContext:
        queue = PipeQueue(self._link)
        return WorkerContext(
            job_creator=JobService(queue),
            job_queue=queue,
            worker=self._hello.worker,
            logger=get_logger("portico.worker").bind(worker=self._hello.worker),
        )

    async def _slot(self, slot: int) -> None:
        """Run one errand after another."""
        scope = Scope()
        scope.enter()
        while not self._inbox.closing:
            over: asyncio.Future[Lease | None] = self._loop.create_future()
            task = self._task(_into(over, self._serve(slot, scope)))
            lease = await over
            del task
            if lease is not None:
                await self._tidy_up(scope, lease)

    async def _serve(self, slot: int, scope: Scope) -> Lease | None:
        """Run errands in this task until one of them has had it for itself, and return that one's
        lease; `None` when there are to be no more.

        A task per job would cost more than all else that is done for a small one. Most of those
        never wait for anything: they may share a task, for nobody has seen it by the time they are
        over. A job that waits keeps the task, and it ends with that job; so it does when a job
        that did not wait has left a trace on it. After such a job nothing is awaited here: who
        knows the task may cancel it.
        """
        inbox, outbox, task = self._inbox, self._outbox, this_task(self._loop)
        references, weakly = getrefcount(task), getweakrefcount(task)
        turn_ends = perf_counter() + _TURN
        while not inbox.closing:
            errand = inbox.take()
            if errand is None:
                outbox.flush()
                await inbox.arrival()
                turn_ends = perf_counter() + _TURN
                continue
            if inbox.empty:
                outbox.flush()  # this one may take long, and nobody waits behind it to be recalled
            self._page.begin(slot, errand.serial)
            if (
                await self._run(slot, errand, task)
                or getrefcount(task) > references
                or getweakrefcount(task) > weakly
                or task._callbacks
                or scope.tasks
                or self._worn_out
            ):
                outbox.flush()
                return errand.lease
            if perf_counter() >= turn_ends:
                outbox.flush()
                await asyncio.sleep(0)
                turn_ends = perf_counter() + _TURN
        outbox.flush()
        return None

    @property
    def _worn_out(self) -> bool:
        """Whether this worker is to be replaced."""
        return self._execution.exhausted or self._begun >= self._most

    async def _run(self, slot: int, errand: Errand, task: asyncio.Task[Any]) -> bool:
        """Run an errand and report its end; whether it has kept the task for itself."""
        if errand.failure is None:
            return await self._attempt(slot, errand, task)
        await self._execution.mourn(errand.lease, errand.failure)
        self._outbox.send(wire.Mourned(errand.serial))
        return True

    async def _attempt(self, slot: int, errand: Errand, task: asyncio.Task[Any]) -> bool:
        """Run a job and report its end; whether it has ever waited for something."""
        serial, lease, _ = errand
        self._begun += 1
        started = perf_counter()
        self._running[serial] = (lease, task, started, slot)
        attempt = self._execution.run(lease, self._hello.job_timeout)
        context, waited = copy_context(), False
        try:
            waits_for = context.run(attempt.send, None)
            waited = True
            verdict = await _rest_of(attempt, context, waits_for)
            self._execution.forget(task)
        except StopIteration as end:
            verdict = end.value
        except Exception as defect:  # noqa: BLE001 - ours: no handler's gets out of there
            verdict = broken(defect)
        if self._running.pop(serial, None) is None:
            self._outbox.send(wire.Mourned(serial))  # its end was reported before on_failure
        elif type(verdict) is Completed:
            self._outbox.done(serial, verdict.result, perf_counter() - started)
        else:
            self._send_end(serial, verdict, started, mourning=False)
        return waited

    def _task(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """A task past the factory: it is none that a handler has started."""
        return asyncio.Task(coroutine, loop=self._loop)

    async def _tidy_up(self, scope: Scope, lease: Lease) -> None:
        """Let nothing of an attempt that was reported reach the next one."""
        if scope.tasks and (leak := await scope.clear()):
            logger.warning(
                "handler_leaked_tasks",
                job_id=lease.job_id,
                job_type=lease.job_type,
                **leak._asdict(),
                note="tasks are cancelled when the job that started them ends; await them in the "
                "handler, or start them in the application's context manager",
            )
            if leak.still_running:
                self._leave("leaked_tasks")
        if self._execution.exhausted:
            self._leave("memory_error")
        elif self._begun >= self._most:
            self._leave("max jobs")

    def _leave(self, reason: str) -> None:
        """Have this worker replaced: take no more jobs, let the others end."""
        if not self._inbox.closing:
            self._outbox.send(wire.Leaving(reason))
            self._inbox.close()

    def _failing(self, lease: Lease, verdict: Verdict) -> None:
        """Report an attempt that has failed, before its `on_failure` runs."""
        for serial, (running, _, started, _) in self._running.items():
            if running is lease:
                self._send_end(serial, verdict, started, mourning=True)
                del self._running[serial]
                return

    def _limited(self, lease: Lease, limits: TimeLimits) -> None:
        """Say on the page that an attempt has time limits of its own."""
        for running, _, _, slot in self._running.values():
            if running is lease:
                self._page.limit(slot, limits)

    def _send_end(self, serial: int, verdict: Verdict, started: float, *, mourning: bool) -> None:
        elapsed = perf_counter() - started
        seen = evidence.of_living(elapsed)
        frame = wire.Ended.of(serial, verdict, elapsed, mourning=mourning, evidence=seen)
        self._outbox.send(frame)

    def _cancel(self, serial: int, requested: bool) -> None:  # noqa: FBT001 - as on the wire
        if running := self._running.get(serial):
            stop = self._execution.cancel if requested else self._execution.interrupt
            stop(running[1])


async def _into(over: asyncio.Future[T], coroutine: Coroutine[Any, Any, T]) -> None:
    """Hand on how a coroutine ends. To await its task would leave a callback on that, and any other
    on it would be hard to tell from ours."""
    try:
        over.set_result(await coroutine)
    except BaseException as raised:  # noqa: BLE001 - it is for whoever waits
        if not over.done():
            over.set_exception(raised)


@coroutine
def _rest_of(
    attempt: Coroutine[Any, Any, Verdict], context: Context, waits_for: Any
) -> Generator[Any, Any, Verdict]:
    """Go on with an attempt that waits for something, each step in its own context."""
    while True:
        try:
            step = partial(attempt.send, (yield waits_for))
        except BaseException as thrown:  # noqa: BLE001 - it is the attempt's to deal with
            step = partial(attempt.throw, thrown)
        try:
            waits_for = context.run(step)
        except StopIteration as end:
            verdict: Verdict = end.value
            return verdict


def _mourners(handlers: Handlers) -> list[str]:
    """The types whose handler has an `on_failure` of its own."""
    return sorted(job_type for job_type, handler in handlers.items() if listens(handler))


def unready(reason: str, stack: str) -> wire.Unready:
    return wire.Unready(reason[: wire.MAX_REASON], stack[-wire.MAX_REASON :])


def _reason(error: BaseException) -> str:
    if isinstance(error, ConfigurationError):
        return error.message
    return f"opening the app failed: {type(error).__name__}: {error}"
