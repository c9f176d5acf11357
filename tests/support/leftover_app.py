"""Handlers that leave something on: threads, processes, generators, exits. `test.<name>`, with the
ledger of `fault_app`; `go` and others are files in its folder."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from portico.ports.job import Job, JobResult
from portico.ports.job_handler import JobHandler
from tests.support.fault_app import Fault, Mourner, write
from tests.support.waiting import wait_until

KEPT: list[object] = []


def here() -> Path:
    return Path(os.environ["LEDGER"]).parent


async def pid(job: Job) -> JobResult:
    return JobResult(success=True, result_data={"pid": os.getpid()})


async def until_go(job: Job) -> JobResult:
    await wait_until((here() / "go").exists, timeout=60)
    return await pid(job)


# Generators


class Connections:
    """Two of them, as any pool of a database has; they come back when a generator is closed."""

    def __init__(self) -> None:
        self.free = asyncio.Semaphore(2)

    async def rows(self, job: Job) -> AsyncIterator[int]:
        await self.free.acquire()
        try:
            for number in range(1000):
                yield number
        finally:
            await asyncio.sleep(0.02)
            self.free.release()
            write("RETURNED", job)
            if job.payload.get("raises"):
                raise RuntimeError("the connection broke")


POOL = Connections()


async def first_row(job: Job) -> JobResult:
    async for _ in POOL.rows(job):
        break
    return await pid(job)


# Exits


async def leave(job: Job) -> None:
    await asyncio.sleep(0)
    sys.exit("bad option --foo")


async def gather_an_exit(job: Job) -> None:
    await asyncio.gather(leave(job), asyncio.sleep(3600))


async def group_an_exit(job: Job) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(leave(job))
        await asyncio.sleep(3600)


async def await_an_exit(job: Job) -> None:
    await asyncio.create_task(leave(job))


async def exit_in_a_thread(job: Job) -> None:
    await asyncio.to_thread(sys.exit, "bad option --foo")


async def exit_from_a_thread(job: Job) -> None:
    """A thread has the loop run what exits, and waits for that."""
    loop = asyncio.get_running_loop()
    await asyncio.to_thread(lambda: asyncio.run_coroutine_threadsafe(leave(job), loop).result())


async def interrupt_in_a_task(job: Job) -> None:
    async def interrupted() -> None:
        raise KeyboardInterrupt("bad option --foo")

    await asyncio.create_task(interrupted())


async def exit_in_callbacks(job: Job) -> JobResult:
    """Nobody awaits those: the job goes on."""
    loop = asyncio.get_running_loop()
    loop.call_soon(sys.exit, "bad option --foo")
    loop.call_later(0.001, sys.exit, "bad option --bar")
    await asyncio.sleep(0.05)
    return await pid(job)


EXITS = (
    gather_an_exit, group_an_exit, await_an_exit, exit_in_a_thread, exit_from_a_thread,
    interrupt_in_a_task,
)  # fmt: skip

ACTS = (pid, until_go, first_row, exit_in_callbacks, *EXITS)


@asynccontextmanager
async def app() -> AsyncIterator[list[JobHandler]]:
    yield [*(Fault(act.__name__, act) for act in ACTS)]
    KEPT.append(Mourner)
