"""A process that creates jobs at a steady rate: `python -m benchmarks.soak.producer`.

It does not wait for one to be stored before it creates the next, so a store that is locked meets
a crowd when it is back.
"""

from __future__ import annotations

import asyncio
import os
from random import Random
from uuid import UUID

import click

from benchmarks.soak import ledger, mix
from portico import compose
from portico.exceptions import PorticoError
from portico.kits.job.job_service import JobService


async def produce(url: str, rate: float, seconds: float, seed: int) -> None:
    """Create jobs for so long, and return when the fate of each is known."""
    pen = ledger.Pen(os.environ[ledger.VARIABLE])
    random = Random(f"{seed}/producer")  # noqa: S311 - a plan, no secret
    start = ledger.now()
    async with compose.job_service(url) as jobs, asyncio.TaskGroup() as group:
        for number in range(int(rate * seconds)):
            await asyncio.sleep(start + number / rate - ledger.now())
            group.create_task(_create(jobs, pen, UUID(int=random.getrandbits(128)), random))


async def _create(jobs: JobService, pen: ledger.Pen, job_id: UUID, random: Random) -> None:
    kind, payload = mix.draw(random)
    pen.write(ledger.TRYING, job_id, detail=kind.job_type)
    try:
        await jobs.create_job(kind.job_type, payload, job_id=job_id, max_retries=kind.max_retries)
    except PorticoError as error:
        pen.write(ledger.REFUSED, job_id, detail=f"{type(error).__name__}: {error}"[:200])
    else:
        pen.write(ledger.RETURNED, job_id)


@click.command()
@click.option("--queue-url", required=True)
@click.option("--rate", type=float, required=True)
@click.option("--seconds", type=float, required=True)
@click.option("--seed", type=int, required=True)
def main(queue_url: str, rate: float, seconds: float, seed: int) -> None:
    """Create jobs."""
    asyncio.run(produce(queue_url, rate, seconds, seed))


if __name__ == "__main__":
    main()
