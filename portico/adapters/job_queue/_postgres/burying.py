"""Dead-lettering jobs whose rows make the server refuse what is asked of many."""

from __future__ import annotations

from collections.abc import Sequence

from portico.adapters.job_queue._postgres.connections import Connections
from portico.utils.logging import get_logger

_MOST = 10_000
"""Rows to look at in each queue: as many as can be leased at a time."""

logger = get_logger(__name__)


async def bury_refused(connections: Connections, queues: Sequence[str] | None) -> int:
    """Bury what cannot be leased of these queues, or, without queues, what cannot be recovered.

    Returns:
        How many were.
    """
    schema = connections.place.quoted_schema
    statement = f"SELECT number, id, reason FROM {schema}.portico_bury_refused($1, $2)"
    names = None if queues is None else list(queues)
    rows = await connections.run(lambda found: found.fetch(statement, names, _MOST))
    for number, job_id, reason in rows:
        logger.error(
            "job_dead_lettered",
            job_id=job_id,
            row=number,
            error_type="RowDamaged",
            error=reason,
            next="dead-lettered: something other than Portico has written to its row; as it was, "
            "it stands in the table portico_damaged",
        )
    return len(rows)
