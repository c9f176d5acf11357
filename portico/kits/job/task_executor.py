"""Jobs as asyncio tasks of this process: what `WorkerManager` runs them in.

Nothing here can stop a handler that holds the loop, or one that goes on after its cancellation, or
a thread that it has started: that takes a process of its own. Such a job is given up when the
executor drains, and said so; such a thread is waited for before `on_failure`, and named.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import copy_context
from itertools import chain
from typing import Any, NamedTuple

from portico.kits.job.execution import Execution, this_task
from portico.kits.job.handlers import most_running
from portico.kits.job.judgement import Stop, judge_stopped
from portico.kits.job.threads import Threads, Work, described, watch_threads
from portico.kits.job.turns import Turns
from portico.ports.job_executor import Deferred, JobExecutor, Outcome, Released, Verdict
from portico.ports.job_handler import JobHandler
from portico.ports.leasing import Failure, Lease
from portico.utils.logging import get_logger

UNWIND = 2.0
"""Seconds that a cancelled handler has to end; the threads of a failed one have half of that."""
_PAUSE = 0.01
_NAMED = 5

logger = get_logger(__name__)


class _Attempt(NamedTuple):
    """What is known of an attempt that runs, whether its outcome is still wanted or not."""

    job_type: str
    threads: Threads
    begun: float
    """On the loop's clock."""


class TaskExecutor(JobExecutor):
    """Runs up to `concurrency` jobs at a time on the loop in which it is built."""

    def __init__(
        self,
        handlers: Mapping[str, JobHandler],
        concurrency: int = 10,
        job_timeout: float | None = None,
        *,
        retry_returned_failures: bool = False,
        unwind: float = UNWIND,
    ) -> None:
        """Build it inside of the running loop.

        Args:
            handlers: the handlers by job type.
            concurrency: jobs that run at the same time.
            job_timeout: soft deadline of each job in seconds; `None` sets none.
            retry_returned_failures: judge `JobResult(success=False)` like a raised exception.
            unwind: seconds that a cancelled handler has to end.
        """
        self._execution = Execution(
            handlers, retry_returned_failures=retry_returned_failures, on_over=self._over
        )
        self._concurrency = concurrency
        self._job_timeout = job_timeout
        self._unwind = unwind
        self._loop = asyncio.get_running_loop()
        self._running: dict[asyncio.Task[Verdict], Lease] = {}
        self._attempts: dict[asyncio.Task[Any], _Attempt] = {}
        self._turns = Turns(most_running(handlers))
        self._aside: dict[str, deque[Lease]] = defaultdict(deque)
        """What waits until one of its type has ended."""
        self._mourning: set[asyncio.Task[None]] = set()
        self._outcomes: list[Outcome] = []
        self._changed: Callable[[], None] = _nobody_listens
        self._draining = False
        watch_threads()

    def on_change(self, callback: Callable[[], None]) -> None:
        self._changed = callback

    def free(self) -> int:
        return 0 if self._draining else self._concurrency - len(self._running)

    def room(self) -> Mapping[str, int]:
        if not self._turns.limits:
            return {}
        waiting = {kind: len(line) for kind, line in self._aside.items()}
        return self._turns.room(waiting, self._soon, self._loop.time())

    def submit(self, leases: Sequence[Lease]) -> None:
        for lease in leases:
            if not self._turns.full(lease.job_type):
                self._begin(lease)
            elif not self._set_aside(lease):
                delay = self._turns.delay(lease.job_type, None, self._loop.time())
                self._outcomes.append(Outcome(lease, Deferred(delay)))
                self._loop.call_soon(self._changed)

    def _begin(self, lease: Lease) -> None:
        self._turns.begin(lease.job_type)
        threads, context = Threads(), copy_context()
        context.run(threads.enter)
        attempt = self._execution.run(lease, self._job_timeout)
        task = self._loop.create_task(attempt, context=context)
        self._running[task] = lease
        self._attempts[task] = _Attempt(lease.job_type, threads, self._loop.time())
        task.add_done_callback(self._ended)

    def _set_aside(self, lease: Lease) -> bool:
        """Keep it until one of its type has ended; whether it may, beside the others."""
        line = self._aside[lease.job_type]
        if len(line) >= self._soon(lease.job_type):
            return False
        line.append(lease)
        return True

    def _soon(self, job_type: str) -> int:
        return self._turns.soon(job_type, None)

    def finished(self) -> list[Outcome]:
        outcomes, self._outcomes = self._outcomes, []
        return outcomes

    def held(self) -> list[Lease]:
        return [*self._running.values(), *chain(*self._aside.values())]

    def forfeit(self, leases: Sequence[Lease]) -> None:
        self._taken_aside(leases)
        for task in self._tasks_of(leases):
            del self._running[task]
            self._execution.interrupt(task)
        self._changed()

    def cancel(self, leases: Sequence[Lease]) -> None:
        for lease in self._taken_aside(leases):
            self._outcomes.append(Outcome(lease, judge_stopped(Stop.CANCEL)[0]))
            self._loop.call_soon(self._changed)
        for task in self._tasks_of(leases):
            self._execution.cancel(task)

    def mourn(self, lease: Lease, failure: Failure) -> None:
        task = self._loop.create_task(self._execution.mourn(lease, failure))
        self._mourning.add(task)
        task.add_done_callback(self._mourning.discard)

    async def drain(self, grace: float) -> None:
        self._draining = True
        waiting = self._taken_aside(list(chain(*self._aside.values())))
        self._outcomes += [Outcome(lease, Released()) for lease in waiting]
        await self._ended_within(grace)
        for task in list(self._running):
            self._execution.interrupt(task)
        for mourner in list(self._mourning):
            mourner.cancel()
        await self._ended_within(self._unwind)
        self._give_up()

    async def _ended_within(self, seconds: float) -> None:
        tasks: set[asyncio.Task[Any]] = {*self._running, *self._mourning}
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)

    def _give_up(self) -> None:
        """Report as interrupted what goes on after its cancellation."""
        for lease in self._running.values():
            logger.error("job_ignores_cancellation", job_id=lease.job_id, job_type=lease.job_type)
            self._outcomes.append(Outcome(lease, judge_stopped(Stop.INTERRUPT)[0]))
        self._running.clear()
        self._changed()

    def _over(self, lease: Lease, _verdict: Verdict) -> asyncio.Future[None] | None:
        """Wait for the threads of an attempt that did not succeed, if there are any."""
        attempt = self._attempts.get(this_task(self._loop))
        if attempt is None or attempt.threads.work is None:
            return None
        return self._loop.create_task(self._end_threads(lease, attempt.threads.work))

    async def _end_threads(self, lease: Lease, work: Work) -> None:
        work.end()
        until = self._loop.time() + self._unwind / 2
        while (going_on := work.going_on()) and self._loop.time() < until:  # noqa: ASYNC110
            await asyncio.sleep(_PAUSE)
        if going_on:
            logger.error(
                "attempt_goes_on",
                job_id=lease.job_id,
                job_type=lease.job_type,
                goes_on=[described(thread) for thread in going_on[:_NAMED]],
                action="on_failure and the next attempt run beside it: only a supervisor's worker "
                "process can be ended for that",
            )

    def _ended(self, task: asyncio.Task[Verdict]) -> None:
        verdict = self._execution.verdict(task)
        lease, attempt = self._running.pop(task, None), self._attempts.pop(task)
        self._turns.end(attempt.job_type)
        if line := self._aside.get(attempt.job_type):
            self._begin(line.popleft())
        if lease is not None:  # neither forfeited nor given up
            self._outcomes.append(Outcome(lease, verdict, self._loop.time() - attempt.begun))
            self._changed()

    def _taken_aside(self, leases: Sequence[Lease]) -> list[Lease]:
        """Take these out of what waits for its turn."""
        keys = {lease.key for lease in leases}
        taken = [lease for lease in chain(*self._aside.values()) if lease.key in keys]
        for lease in taken:
            self._aside[lease.job_type].remove(lease)
        return taken

    def _tasks_of(self, leases: Iterable[Lease]) -> list[asyncio.Task[Verdict]]:
        keys = {lease.key for lease in leases}
        return [task for task, lease in self._running.items() if lease.key in keys]


def _nobody_listens() -> None:
    """Stand in for the callback until there is one."""
