"""Jobs that wait in our queues and are none of ours: which types, told at the start and seldom
after."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Sequence

from portico.exceptions import PorticoError
from portico.ports.job import WAITING
from portico.ports.job_queue import JobQueueAdapter
from portico.ports.leasing import JobFilter
from portico.utils.logging import get_logger

_EVERY = 600.0
"""Seconds between two looks."""
_LOOKED_AT = 1000
"""Waiting jobs of each queue that are looked at, the newest ones."""
_MOST_TOLD = 10

logger = get_logger(__name__)


async def tell_of_bystanders(
    queue: JobQueueAdapter, queues: Sequence[str], served: Collection[str]
) -> None:
    """Log which types wait that are not served here; goes on until it is cancelled."""
    while True:
        try:
            types = await _waiting(queue, queues, served)
        except PorticoError:
            return  # a store that cannot list its jobs, or is away: there is more to tell than this
        if types:
            logger.warning(
                "other_types_wait",
                types=dict(types.most_common(_MOST_TOLD)),
                note="only the types of the bundled examples are served and leased here, these are "
                f"left alone (counted among the newest {_LOOKED_AT:,} of each queue); give --app "
                "yourmodule:app to serve them",
            )
        await asyncio.sleep(_EVERY)


async def _waiting(
    queue: JobQueueAdapter, queues: Sequence[str], served: Collection[str]
) -> Counter[str]:
    types: Counter[str] = Counter()
    for name in queues:
        found = JobFilter(queue_name=name, statuses=tuple(WAITING))
        page = await queue.list_jobs(found, limit=_LOOKED_AT)
        types.update(job.job_type for job in page.jobs if job.job_type not in served)
    return types
