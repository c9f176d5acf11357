"""The supervisor's parts around a queue of ours: the one place that knows how they fit together.

`memory://` exists in one process only, so the harness has to be that process.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from benchmarks import noop
from portico.kits.job.pipeline import Pipeline
from portico.ports.job_queue import JobQueueAdapter
from portico.supervisor import allocation, birth, garbage
from portico.supervisor.assembly import crew_of, pool_of
from portico.supervisor.config import SupervisorConfig
from portico.supervisor.crew import Crew
from portico.supervisor.member import Member

_GRACE = 5.0
_BOOT = 60.0


@asynccontextmanager
async def composed(
    queue: JobQueueAdapter, workers: int, app: str = noop.APP
) -> AsyncIterator[Pipeline]:
    """A pipeline from the queue to worker processes that serve an app, all of them ready."""
    config = SupervisorConfig(workers=workers, app=app, log_level="WARNING")
    crew = crew_of(config)
    pool = pool_of(config, crew)
    ready = _ready(crew, workers)
    birth.adopt_orphans()  # workers are forked by the zygote, and are to be our children
    await crew.start()
    garbage.calm()
    allocation.retain()
    try:
        async with asyncio.timeout(_BOOT):
            await ready.wait()
        yield Pipeline(queue, pool, config.queues)
    finally:
        await crew.stop(_GRACE)


def _ready(crew: Crew, workers: int) -> asyncio.Event:
    """Set when so many have got ready: a crew has started when one is."""
    ready, tell, seen = asyncio.Event(), crew.on_ready, set()

    def on_ready(member: Member) -> None:
        tell(member)
        seen.add(member)
        if len(seen) >= workers:
            ready.set()

    crew.on_ready = on_ready
    return ready
