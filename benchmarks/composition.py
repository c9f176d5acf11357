"""The supervisor's parts around a queue of ours: the one place that knows how they fit together.

`memory://` exists in one process only, so the harness has to be that process.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from benchmarks import noop
from portico.kits.job.pipeline import Pipeline
from portico.ports.job_queue import JobQueueAdapter
from portico.supervisor import birth
from portico.supervisor.assembly import crew_of, pool_of
from portico.supervisor.config import SupervisorConfig

_GRACE = 5.0


@asynccontextmanager
async def composed(
    queue: JobQueueAdapter, workers: int, app: str = noop.APP
) -> AsyncIterator[Pipeline]:
    """A pipeline from the queue to worker processes that serve the no-op job, or another app."""
    config = SupervisorConfig(workers=workers, app=app, log_level="WARNING")
    crew = crew_of(config)
    pool = pool_of(config, crew)
    birth.adopt_orphans()  # workers are forked by the zygote, and are to be our children
    await crew.start()
    try:
        yield Pipeline(queue, pool, config.queues)
    finally:
        await crew.stop(_GRACE)
