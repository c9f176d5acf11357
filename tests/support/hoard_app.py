"""Handlers that read, end and poison the other jobs of their worker."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
import time
from pathlib import Path
from typing import Any

from portico.ports.job import Job, JobResult
from portico.ports.job_handler import JobHandler
from portico.supervisor.slots import Worker


def this_worker() -> Worker:
    return next(one for one in gc.get_objects() if isinstance(one, Worker))


class Hoard(JobHandler):
    """`hoard.all`: takes what waits in its worker, and ends it with results of its own making."""

    job_type = "hoard.all"

    async def handle(self, job: Job) -> JobResult:
        hoarded: list[str] = []
        if job.payload.get("short"):
            return JobResult(success=True)
        worker, until = this_worker(), time.monotonic() + 0.1
        while time.monotonic() < until:
            if (errand := worker._inbox.take()) is not None:
                hoarded.append(errand.lease.payload.decode())
                worker._page.begin(0, errand.serial)
                worker._outbox.done(errand.serial, b'{"card": "forged"}', 0.001)
        return JobResult(success=True, result_data={"hoarded": hoarded})


class Fine(JobHandler):
    """`hoard.fine`: gives its payload back."""

    job_type = "hoard.fine"

    async def handle(self, job: Job) -> JobResult:
        return JobResult(success=True, result_data=job.payload)


class Poison(JobHandler):
    """`hoard.poison`: puts a handler of its own in the place of another."""

    job_type = "hoard.poison"

    async def handle(self, job: Job) -> JobResult:
        async def forged(self: Any, job: Job) -> JobResult:
            return JobResult(success=True, result_data={"card": "forged"})

        Fine.handle = forged  # type: ignore[method-assign]
        return JobResult(success=True)


class Timeless(JobHandler):
    """`hoard.timeless`: blocks its loop, and writes its page so that its time never ends."""

    job_type = "hoard.timeless"

    async def handle(self, job: Job) -> JobResult:
        page = this_worker()._page
        time.sleep(0.4)  # it has been seen by then
        while True:
            match job.payload["how"]:
                case "young":
                    page._words[1] = time.monotonic_ns()
                case "idle":
                    page._words[0] = 0
                case "other":
                    page._words[0] = 2**62
            time.sleep(0.005)


class Backtracking(JobHandler):
    """`hoard.turn`: holds the GIL for its seconds, as a regular expression that backtracks does,
    and lets no thread of its process in; short where it has none. It adds a line to its ledger.
    A silent one also sees to it that its worker answers no recall, then or later."""

    job_type = "hoard.turn"

    async def handle(self, job: Job) -> JobResult:
        with Path(job.payload["ledger"]).open("a") as ledger:
            ledger.write(f"{job.id} {os.getpid()}\n")
        if job.payload.get("silent"):
            this_worker()._inbox._say = lambda _: None  # type: ignore[method-assign]
        until = time.monotonic() + job.payload.get("seconds", 0.0)
        while time.monotonic() < until:
            _HOLDING_THE_GIL.usleep(100_000)
        return JobResult(success=True)


class Alone(Fine):
    """`hoard.alone`: gives its payload back, and the process that it ran in, which is its own."""

    job_type = "hoard.alone"
    alone = True

    async def handle(self, job: Job) -> JobResult:
        return JobResult(success=True, result_data={**job.payload, "pid": os.getpid()})


_HOLDING_THE_GIL = ctypes.PyDLL(None)
sys.setswitchinterval(1000.0)

app = [Hoard(), Fine(), Poison(), Timeless(), Backtracking(), Alone()]
