"""How many jobs a store in Redis has, and how long they wait."""

from __future__ import annotations

from portico.adapters.job_queue._outlook import outlooks
from portico.adapters.job_queue._redis.client import RedisClient
from portico.adapters.job_queue._redis.rows import number
from portico.adapters.job_queue._rows import STATUS
from portico.ports.job import JobStatus
from portico.ports.leasing import Outlook


async def counts(client: RedisClient, queue_name: str | None) -> dict[str, dict[JobStatus, int]]:
    """Jobs per status of one queue, or of all that hold any."""
    found = await client.one("counts", *([queue_name] if queue_name else []))
    counted = {
        queue.decode("utf-8", "replace"): {
            STATUS[word]: max(0, number(count))
            for status, count in zip(pairs[::2], pairs[1::2], strict=True)
            if (word := status.decode("utf-8", "replace")) in STATUS
        }
        for queue, pairs in found
    }
    return {queue: per for queue, per in counted.items() if any(per.values())}


async def outlook(client: RedisClient) -> dict[str, Outlook]:
    """How long jobs wait in every queue in which any do."""
    now, found = await client.one("outlook")
    waiting = (
        (
            name.decode("utf-8", "replace"),
            *(int(instant) if instant else None for instant in instants),
        )
        for name, *instants in found
        if any(instants)
    )
    return outlooks(waiting, int(now))
