"""Another process that uses a queue; run as `python sqlite_process.py <url> <what> [number]`."""

from __future__ import annotations

import asyncio
import sys
from uuid import UUID

from portico.compose import job_queue
from portico.ports.job_queue import JobQueueAdapter
from portico.ports.leasing import Settlement, Transition
from tests.support.jobs import make_job


def say(*words: object) -> None:
    print(*words, flush=True)


async def consume(queue: JobQueueAdapter, batch: int) -> None:
    """Complete jobs until none is left, and say which."""
    settlements: list[Settlement] = []
    while True:
        exchange = await queue.exchange(settlements, ("default",), batch)
        assert all(receipt.answer == "ok" for receipt in exchange.receipts)
        if not exchange.leases:
            return
        settlements = [
            Settlement(lease.id, lease.token, Transition.COMPLETE) for lease in exchange.leases
        ]
        for lease in exchange.leases:
            say(lease.job_id)


async def produce(queue: JobQueueAdapter, number: int) -> None:
    """Enqueue one job per line read."""
    say("ready")
    for _ in range(number):
        await asyncio.to_thread(sys.stdin.readline)
        say((await queue.enqueue(make_job())).id)


async def hold(queue: JobQueueAdapter, number: int) -> None:
    """Lease jobs and keep them until killed."""
    held = (await queue.exchange((), ("default",), number)).leases
    say("holding", *(UUID(bytes=lease.id) for lease in held))
    await asyncio.Event().wait()


async def main(url: str, what: str, number: int) -> None:
    queue = job_queue(url)
    await queue.initialize()
    match what:
        case "consume":
            await consume(queue, number)
        case "produce":
            await produce(queue, number)
        case "hold":
            await hold(queue, number)
        case "initialize":
            say("initialized")
    await queue.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 1))
