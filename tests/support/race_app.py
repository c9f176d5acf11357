"""Handlers for races: steered by files in `$RACES`, and some that forge frames.

`hold` makes a worker wait while it opens the application, `broken` makes it fail to, and
`hold-closing` makes it wait while it closes.
"""

from __future__ import annotations

import asyncio
import os
import struct
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from portico.ports.job import Job, JobResult
from portico.ports.job_handler import JobHandler
from portico.supervisor import wire
from tests.support.waiting import wait_until

GENERATION = os.getpid()
"""The process that imported this: the zygote, where there is one."""
RESULTS_FD, PAGE_FD = 201, 202
"""Where a worker's result pipe and page are, as `birth` moves them."""


def flag(name: str) -> Path:
    return Path(os.environ["RACES"]) / name


async def while_there(name: str) -> None:
    await wait_until(lambda: not flag(name).exists(), timeout=60)


async def until_there(name: str) -> None:
    await wait_until(flag(name).exists, timeout=60)


class Act(JobHandler):
    """`race.<name>`: leaves `<job id>-started`, then does what its name says."""

    def __init__(self, act: Any, name: str = "") -> None:
        self.act = act
        self.name = name or act.__name__

    @property
    def job_type(self) -> str:
        return f"race.{self.name}"

    async def handle(self, job: Job) -> JobResult:
        flag(f"{job.id}-started").touch()
        return JobResult(success=True, result_data=await self.act(job) or {})


class Mourned(Act):
    """The same, with an `on_failure` that leaves `<job id>-told`."""

    async def on_failure(self, job: Job, error: Exception) -> None:
        flag(f"{job.id}-told").touch()
        if job.payload.get("die_again"):
            os._exit(1)


async def fine(job: Job) -> dict[str, Any]:
    return {"pid": os.getpid(), "generation": GENERATION}


async def quick(job: Job) -> None:
    """Touches nothing but its own trace."""


async def wait(job: Job) -> None:
    await until_there("go")


async def block(job: Job) -> None:
    time.sleep(job.payload["seconds"])


async def block_until(job: Job) -> None:
    """Holds the loop until it is let go."""
    while not flag("go").exists():
        time.sleep(0.005)


async def stubborn(job: Job) -> None:
    while not flag("go").exists():
        try:
            await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            continue


async def die(job: Job) -> None:
    os.kill(os.getpid(), job.payload.get("signal", 9))
    await asyncio.sleep(3600)


async def forge(job: Job) -> None:
    """Sends a frame that no honest worker sends now, and goes on for ever."""
    (serial,) = struct.unpack("Q", os.pread(PAGE_FD, 8, 0))
    frames: dict[str, wire.FromWorker] = {
        "done of another": wire.Done(serial + 1000, b"{}", 0.1),
        "ended of another": wire.Ended.of(serial + 1000, verdict(), 0.1, mourning=False),
        "unknown verdict": wire.Ended(serial, "Crashed", verdict().failure, True, 0.1, False),
        "mourned too early": wire.Mourned(serial),
        "recalled while running": wire.Recalled([serial]),
        "ready again": wire.Ready(wire.VERSION, [], []),
    }
    os.write(RESULTS_FD, wire.frame(frames[job.payload["frame"]]))
    await asyncio.sleep(3600)


def verdict() -> Any:
    from portico.ports.job_executor import Failed
    from portico.ports.leasing import Failure

    return Failed(Failure("E", "e"), retryable=True)


async def garbage_and_die(job: Job) -> None:
    os.write(RESULTS_FD, b"\xff" * 64)
    os._exit(1)


async def leave_a_chatterer(job: Job) -> None:
    """Leaves the worker's group, and writes frames for as long as anybody reads them."""
    if os.fork() == 0:
        os.setsid()
        frame = wire.frame(wire.Recalled([])) * 4096
        try:
            while True:
                os.write(RESULTS_FD, frame)
        except OSError:
            os._exit(0)
    await asyncio.sleep(0.2)
    os._exit(1)


ACTS = (
    fine, quick, wait, block, block_until, stubborn, die, forge, garbage_and_die,
    leave_a_chatterer,
)  # fmt: skip


@asynccontextmanager
async def app() -> AsyncIterator[list[JobHandler]]:
    await while_there("hold")
    if flag("broken").exists():
        raise RuntimeError("this application cannot be opened now")
    yield [*(Act(act) for act in ACTS), Mourned(die, "mourned_die")]
    await while_there("hold-closing")
