"""What the jobs of one slot leave running, and how it is ended.

    an attempt has failed, or was stopped ─► tasks, generators: cancelled
                                           ► processes: SIGTERM, then SIGKILL
                                           ► threads: waited for ──► on_failure, the next attempt
    it has succeeded ─► tasks: cancelled            └ what goes on all the same is named:
                        threads: told                 its worker is killed for it first

Nothing here costs an attempt that leaves nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from time import monotonic
from typing import TYPE_CHECKING

from portico.kits.job import threads
from portico.kits.job.threads import Threads
from portico.ports.leasing import Lease
from portico.supervisor import generators, offspring
from portico.supervisor.generators import Generators
from portico.supervisor.leaks import Scope
from portico.supervisor.parentage import Parentage
from portico.utils.logging import get_logger

if TYPE_CHECKING:
    import psutil

GRACE = 1.0
"""Seconds that all has to end which an attempt has left: a cancelled one may take twice that."""
_TERM = 0.3
"""Of which processes have to end by themselves."""
_PAUSE = 0.01
_NAMED = 5

logger = get_logger(__name__)


class Aftercare:
    """What the jobs of one slot leave running."""

    def __init__(self, left: Generators, parentage: Parentage | None) -> None:
        """Take over one slot of a worker.

        Args:
            left: the generators of the worker's loop.
            parentage: who has started which process; `None` where this slot is the only one.
        """
        self.scope = Scope()
        self.threads = Threads()
        self._generators = left
        self._parentage = parentage
        self.spent = False
        """Processes of `multiprocessing` were ended: a pool of the application's may be broken."""

    def enter(self) -> None:
        """Take charge of what is started in this context from now on."""
        self.scope.enter()
        self.threads.enter()

    @property
    def needed(self) -> bool:
        """Whether the attempt may have left anything that has to be ended before what follows."""
        started = self.scope.tasks or self.threads.work or self._generators.of(self.scope)
        return bool(started) or offspring.any_child()

    async def end(self, lease: Lease, seconds: float) -> list[str]:
        """End all that an attempt has left, and say what goes on all the same.

        Args:
            lease: whose attempt.
            seconds: since when it has run.
        """
        since, until = monotonic() - seconds, monotonic() + GRACE
        if self.threads.work is not None:
            self.threads.work.end()
        goes_on = await self.end_tasks(lease)
        if cleanups := self._generators.of(self.scope):
            await asyncio.wait(cleanups, timeout=until - monotonic())
            generators.cancel(cleanups)
        goes_on += await self._end_processes(lease, since, until)
        return goes_on + await self._await_threads(until)

    async def end_tasks(self, lease: Lease) -> list[str]:
        """Cancel the tasks that a job has left, and say which go on all the same."""
        if not self.scope.tasks or not (leak := await self.scope.clear()):
            return []
        logger.warning(
            "handler_leaked_tasks",
            job_id=lease.job_id,
            job_type=lease.job_type,
            **leak._asdict(),
            note="tasks are cancelled when the job that started them ends; await them in the "
            "handler, or start them in the application's context manager",
        )
        return [f"task {name}" for name in leak.coroutines] if leak.still_running else []

    async def _end_processes(self, lease: Lease, since: float, until: float) -> list[str]:
        def left() -> list[psutil.Process]:
            return [process for process, own in self._born_since(since).items() if own]

        born = self._born_since(since)
        unclear = [offspring.described(process) for process, own in born.items() if own is None]
        found = [process for process, own in born.items() if own]
        if not found:
            return unclear
        names = [offspring.described(process) for process in found]
        logger.warning(
            "handler_left_processes",
            job_id=lease.job_id,
            job_type=lease.job_type,
            processes=names[:_NAMED],
            action="ended, before on_failure and the next attempt",
        )
        self.spent = self.spent or offspring.pooled(found)
        offspring.ask_to_end(found)
        await _until(lambda: not left(), min(until, monotonic() + _TERM))
        for rest in _while(left, until):
            offspring.kill(rest)
            await asyncio.sleep(_PAUSE)
        offspring.collect(found)
        return unclear + [offspring.described(process) for process in left()]

    def _born_since(self, since: float) -> dict[psutil.Process, bool | None]:
        """The processes that were started since then by this slot's job, or nobody knows by whom:
        they may be a neighbour's, and this worker is to end before it can be sure."""
        if not offspring.any_child():
            return {}
        born = offspring.born_since(since)
        if (whose := self._parentage) is None:
            return dict.fromkeys(born, True)
        work = self.threads.work
        return {
            process: whose.of(child, work) or None
            for process, child in born.items()
            if whose.of(child, work) or not whose.known(child)
        }

    async def _await_threads(self, until: float) -> list[str]:
        work = self.threads.work
        if work is None:
            return []
        if not self.spent:  # else their pool ends them, which it cannot do with cancelled ones
            work.withdraw()
        await _until(lambda: not (work.going_on() or work.in_processes()), until)
        return work.in_processes() + [threads.described(thread) for thread in work.going_on()]


async def _until(over: Callable[[], bool], end: float) -> None:
    while not over() and monotonic() < end:  # noqa: ASYNC110 - nobody tells of an end
        await asyncio.sleep(_PAUSE)


def _while(left: Callable[[], list[psutil.Process]], end: float) -> Iterator[list[psutil.Process]]:
    """What is left, again and again, until that is nothing or the time is over."""
    while (rest := left()) and monotonic() < end:
        yield rest
