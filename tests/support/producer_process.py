"""Another process that creates jobs in transactions of its own; tests kill it.

Run as `python -m tests.support.producer_process <queue url> <driver> <address> <what> <number>`.
"""

from __future__ import annotations

import asyncio
import random
import sys

from portico.compose import job_service
from tests.support.producers import DRIVERS, Producer


def say(*words: object) -> None:
    print(*words, flush=True)


async def hold(producer: Producer, number: int) -> None:
    """Create jobs in a transaction that stays open until the end of the process."""
    await producer.run("INSERT INTO orders (job) VALUES ('held')")
    for _ in range(number):
        say((await producer.create()).id)
    await asyncio.Event().wait()


async def commit(producer: Producer, number: int) -> None:
    """Commit, and tell nobody."""
    for _ in range(number):
        say((await producer.create(job_type="test.fine")).id)
    await producer.commit()
    say("committed")
    await asyncio.Event().wait()


async def churn(producer: Producer, number: int) -> None:
    """Take a job per order, whatever becomes of either."""
    for _ in range(number):
        job = await producer.create(job_type="test.fine")
        await producer.run(f"INSERT INTO orders (job) VALUES ('{job.id}')")
        if random.random() < 0.3:
            await producer.run("SAVEPOINT here")
            await producer.create(job_type="test.fine")
            await producer.run("ROLLBACK TO here")
        if random.random() < 0.3:
            await producer.rollback()
        else:
            await producer.commit()
        say("turn")
        await producer.begin()


async def main(url: str, driver: str, address: str, what: str, number: int) -> None:
    acts = {"hold": hold, "commit": commit, "churn": churn}
    async with DRIVERS[driver](address, job_service(url)) as producer:
        await producer.begin()
        await acts[what](producer, number)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:5], int(sys.argv[5])))
