"""Threads that go on after the job that started them has succeeded: let be, and told.

They may be meant to: a library starts one when it is first used. But those that keep a thread of
the loop's own executor take it from all later jobs.
"""

from __future__ import annotations

import asyncio

from portico.kits.job.threads import Work, described
from portico.ports.leasing import Lease
from portico.supervisor.loop_settings import LoopSettings
from portico.utils.logging import get_logger

_TURNS = 3
"""Turns of the loop that a thread has which is ending anyway."""
_NAMED = 5

logger = get_logger(__name__)


class Lodgers:
    """The threads that the jobs of one worker have left."""

    def __init__(self, settings: LoopSettings) -> None:
        self._settings = settings
        self._left: list[Work] = []
        self._told: set[str] = set()

    async def take_in(self, lease: Lease, work: Work) -> None:
        """Look what a job's threads still do, and tell it, once for each type of jobs."""
        for _ in range(_TURNS):
            if not work.going_on():
                return
            await asyncio.sleep(0)
        if not (threads := work.going_on()):
            return
        self._left.append(work)
        if lease.job_type in self._told:
            return
        self._told.add(lease.job_type)
        logger.warning(
            "handler_left_threads",
            job_id=lease.job_id,
            job_type=lease.job_type,
            threads=[described(thread) for thread in threads[:_NAMED]],
            note="they go on beside the next jobs; await them in the handler, or start them in the "
            "application's context manager. This is told once for each job type",
        )

    @property
    def crowding(self) -> bool:
        """Whether they keep half of the loop's own threads, so that jobs may wait for one."""
        self._left = [work for work in self._left if work.going_on()]
        kept = [t for work in self._left for t in work.going_on() if self._settings.holds(t)]
        return 2 * len(kept) >= self._settings.most_threads
