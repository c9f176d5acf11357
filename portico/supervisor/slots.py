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
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack
from contextvars import copy_context
from math import inf
from sys import getrefcount
from time import perf_counter
from typing import Any, TypeVar
from weakref import getweakrefcount

from portico.exceptions import ConfigurationError
from portico.kits.job.execution import Execution, broken, this_task
from portico.kits.job.failures import failure_of
from portico.kits.job.job_service import JobService
from portico.kits.job.threads import watch_threads
from portico.ports.job_executor import Completed, Verdict
from portico.ports.leasing import Lease
from portico.ports.worker_context import WorkerContext
from portico.supervisor import announcing, evidence, printing, registry, wire
from portico.supervisor.aftercare import Aftercare
from portico.supervisor.exit import EXIT_APP
from portico.supervisor.generators import Generators
from portico.supervisor.inbox import Errand, Inbox, Outbox
from portico.supervisor.leaks import Outside, watch_tasks
from portico.supervisor.link import Link, PipeQueue
from portico.supervisor.lodgers import Lodgers
from portico.supervisor.loop_settings import LoopSettings
from portico.supervisor.parentage import Parentage
from portico.supervisor.running_page import RunningPage
from portico.supervisor.stepping import into, rest_of
from portico.supervisor.titles import WorkerTitle
from portico.utils.logging import get_logger, replace_console_handlers

T = TypeVar("T")

CLEANUPS = 2.0
"""Seconds that generators which were left have to clean up before the application is closed."""

_BRIEF = 0.0001
"""Seconds in which a job hardly writes past Python's streams: to ask the pipe would take a part of
the time that it takes."""
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
        self._settings = LoopSettings(self._loop)
        self._lodgers = Lodgers(self._settings)
        self._parentage = Parentage() if hello.concurrency > 1 else None
        self._care = [
            Aftercare(self._generators, self._parentage) for _ in range(hello.concurrency)
        ]
        self._outside: Outside
        self._most = inf if hello.max_jobs is None else hello.max_jobs
        self._begun = 0
        self._unfinished = printing.labels.unfinished
        self._title = WorkerTitle(hello.worker, hello.concurrency)
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
        stack = AsyncExitStack()
        try:
            try:
                handlers = await registry.open_app(app, self._context(), stack)
            except ConfigurationError as error:
                self._outbox.send(announcing.unready(error.message, error.cause or error))
                raise SystemExit(EXIT_APP) from None
            self._execution = Execution(
                handlers,
                on_failure_timeout=self._hello.on_failure_timeout,
                retry_returned_failures=self._hello.retry_returned_failures,
                kill_grace=self._hello.kill_grace,
                on_failing=self._failing,
                on_over=self._over,
                max_job_timeout=self._hello.max_job_timeout,
            )
            # From here on: what the application has started is its own.
            replace_console_handlers()
            printing.opening_words()
            self._outside = watch_tasks(self._loop)
            self._settings.keep()
            self._generators.watch()
            watch_threads()
            if self._parentage is not None:
                self._parentage.watch(self._loop)
            self.ready = True
            self._outbox.send(announcing.ready(handlers))
            await asyncio.gather(*(self._slot(n) for n in range(self._hello.concurrency)))
            self.ready = False
            await self._generators.settle(CLEANUPS)
        finally:
            await registry.close_app(stack)

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
        care = self._care[slot]
        care.enter()
        while not self._inbox.closing:
            over: asyncio.Future[Lease | None] = self._loop.create_future()
            task = self._task(into(over, self._serve(slot, care)))
            lease = await over
            del task
            if lease is not None:
                await self._tidy_up(care, lease)

    async def _serve(self, slot: int, care: Aftercare) -> Lease | None:
        """Run errands in this task until one of them has had it for itself, and return that one's
        lease; `None` when there are to be no more.

        A task per job would cost more than all else that is done for a small one. Most of those
        never wait for anything: they may share a task, for nobody has seen it by the time they are
        over. A job that waits keeps the task, and it ends with that job; so it does when a job
        that did not wait has left a trace on it. After such a job nothing is awaited here: who
        knows the task may cancel it.
        """
        inbox, outbox, title, page = self._inbox, self._outbox, self._title, self._page
        task = this_task(self._loop)
        references, weakly = getrefcount(task), getweakrefcount(task)
        threads, tasks, settings = care.threads, care.scope.tasks, self._settings
        execution = self._execution
        turn_ends = perf_counter() + _TURN
        while not inbox.closing:
            errand = inbox.take()
            if errand is None:
                await self._arrival()
                turn_ends = perf_counter() + _TURN
                continue
            if inbox.empty:
                outbox.flush()  # this one may take long, and nobody waits behind it to be recalled
            if errand.lease.job_type != title.shown:
                title.running(errand.lease.job_type)
            if not page.begin(slot, errand.serial, hook=errand.failure is not None):
                inbox.turn_down(errand, page.withdrawn)
                continue
            threads.work = None
            if (
                await self._run(slot, errand, task)
                or getrefcount(task) > references
                or getweakrefcount(task) > weakly
                or task._callbacks
                or tasks
                or threads.work is not None  # type: ignore[redundant-expr] # the job sets it
                or settings.changed
                or execution.exhausted  # this worker is to be replaced
                or self._begun >= self._most
            ):
                outbox.flush()
                return errand.lease
            if perf_counter() >= turn_ends:
                outbox.flush()
                title.turn()
                await asyncio.sleep(0)
                turn_ends = perf_counter() + _TURN
        outbox.flush()
        return None

    async def _arrival(self) -> None:
        """Nothing waits: tell what there is to tell, and return when something may."""
        self._outbox.flush()
        self._title.idle()
        await self._inbox.arrival()

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
            verdict = await rest_of(attempt, context, waits_for)
            self._execution.forget(task)
        except StopIteration as end:
            verdict = end.value
        except Exception as defect:  # noqa: BLE001 - ours: no handler's gets out of there
            verdict = broken(defect)
        elapsed = perf_counter() - started
        if elapsed > _BRIEF or self._unfinished:
            printing.last_words(lease, alone=self._parentage is None)
        if self._running.pop(serial, None) is None:
            self._outbox.send(wire.Mourned(serial))  # its end was reported before on_failure
        elif type(verdict) is Completed:
            self._outbox.done(serial, verdict.result, elapsed)
        else:
            self._send_end(serial, verdict, started, mourning=False)
        return waited

    def _task(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """A task past the factory: it is none that a handler has started."""
        return asyncio.Task(coroutine, loop=self._loop)

    async def _tidy_up(self, care: Aftercare, lease: Lease) -> None:
        """Let nothing of an attempt that was reported reach the next one."""
        if await care.end_tasks(lease):
            self._leave("leaked_tasks")
        if care.spent:
            self._leave("processes of a pool were ended")
        if self._settings.changed:
            self._settings.restore()
        if care.threads.work is not None:
            await self._lodgers.take_in(lease, care.threads.work)
            if self._lodgers.crowding:
                self._leave("threads that jobs have left")
        if self._execution.exhausted:
            self._leave("memory_error")
        elif self._begun >= self._most:
            self._leave("max jobs")

    def _leave(self, reason: str) -> None:
        """Have this worker replaced: take no more jobs, let the others end."""
        if not self._inbox.closing:
            self._outbox.send(wire.Leaving(reason))
            self._inbox.close()

    def _over(self, lease: Lease, verdict: Verdict) -> asyncio.Future[None] | None:
        """End what an attempt that did not succeed has left running, if anything: nothing else is
        to happen before that."""
        for serial, (running, _, started, slot) in self._running.items():
            if running is lease and self._care[slot].needed:
                return self._task(self._end_rest(serial, lease, verdict, started, slot))
        return None

    async def _end_rest(
        self, serial: int, lease: Lease, verdict: Verdict, started: float, slot: int
    ) -> None:
        """Returns when nothing of the attempt runs any more. Where something goes on all the same,
        that is never: this worker is killed for it, and what follows happens in another."""
        goes_on = await self._care[slot].end(lease, perf_counter() - started)
        if goes_on:
            printing.last_words(lease, alone=self._parentage is None)
            self._send_end(serial, verdict, started, mourning=True, goes_on=goes_on)
            self._leave("what a job has started goes on")
            await self._loop.create_future()

    def _failing(self, lease: Lease, verdict: Verdict) -> None:
        """Report an attempt that has failed, before its `on_failure` runs."""
        for serial, (running, _, started, _) in self._running.items():
            if running is lease:
                printing.last_words(lease, alone=self._parentage is None)
                self._send_end(serial, verdict, started, mourning=True)
                del self._running[serial]
                return

    def _send_end(
        self,
        serial: int,
        verdict: Verdict,
        started: float,
        *,
        mourning: bool,
        goes_on: Sequence[str] = (),
    ) -> None:
        elapsed = perf_counter() - started
        seen = evidence.of_living(elapsed)
        frame = wire.Ended.of(serial, verdict, elapsed, mourning=mourning, evidence=seen)
        frame.goes_on = [name[: wire.MAX_NAME] for name in goes_on[: wire.MOST_NAMES]]
        self._outbox.send(frame)

    def _cancel(self, serial: int, requested: bool) -> None:  # noqa: FBT001 - as on the wire
        if running := self._running.get(serial):
            stop = self._execution.cancel if requested else self._execution.interrupt
            stop(running[1])
