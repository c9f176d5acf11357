"""PgQueuer with the users' own work: the handlers of the examples behind one entrypoint.

    python pgqueuer_work_app.py install          make its tables
    python pgqueuer_work_app.py serve WORKERS    a process for each; each counts once it is ready
    python pgqueuer_work_app.py enqueue < ITEMS  prints when it began, on every process's clock

The environment is PgQueuer's, with the libraries that the handlers need beside it.
"""

from __future__ import annotations

import json
import os
import sys
import time

import asyncpg
import pgqueuer_app
import uvloop
from noop_job import done
from pgqueuer.db import AsyncpgDriver
from pgqueuer.models import Job as Picked
from pgqueuer.queries import Queries
from processes import copies

ENTRYPOINT = "work"
BATCH = 1
"""Its default of 10 would let one process keep what another one is free for."""


async def serve() -> None:
    from benchmarks.workloads import work

    queue = await pgqueuer_app.main()

    @queue.entrypoint(ENTRYPOINT)
    async def run(picked: Picked) -> None:
        job_type, payload = json.loads(picked.payload or b"")
        await work.handled(work.Item(job_type, payload))
        done()

    done()
    await queue.run(batch_size=BATCH)


async def enqueue(items: list[list[object]]) -> float:
    connection = await asyncpg.connect(os.environ["BENCH_URL"])
    payloads = [json.dumps(item).encode() for item in items]
    began = time.monotonic()
    count = len(items)
    await Queries(AsyncpgDriver(connection)).enqueue([ENTRYPOINT] * count, payloads, [0] * count)
    await connection.close()
    return began


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["install"]:
            pgqueuer_app.enqueue(0)
        case ["serve", workers]:
            copies(int(workers), "python", __file__, "one")
        case ["one"]:
            uvloop.run(serve())
        case ["enqueue"]:
            sys.stdout.write(f"{uvloop.run(enqueue(json.load(sys.stdin)))}\n")
