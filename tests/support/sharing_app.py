"""Handlers that try to reach the jobs after them, with which they share a task: `share.job`.

They are of one type, which is soon known to be short, so that they are handed over together. What
one of them does is what its payload's `act` says. `go` and `ticks` are files in `$SHARING`.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from itertools import count
from pathlib import Path
from typing import Any

import structlog

from portico.ports.job import Job, JobResult
from portico.ports.job_handler import JobHandler
from portico.supervisor import wire
from portico.utils.logging import bind_context
from tests.support.waiting import wait_until

BOUND: ContextVar[str] = ContextVar("BOUND", default="nothing")
RESULTS_FD = 201
"""Where a worker's result pipe is, as `birth` moves it."""
LATER = 0.02
"""Seconds after which the traps spring: the next job waits for longer than that."""
KEPT: list[Any] = []
TICKS = count()


def folder() -> Path:
    return Path(os.environ["SHARING"])


def own_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task


def call_later(act: Any) -> None:
    asyncio.get_running_loop().call_later(LATER, act)


async def nothing() -> None:
    """Never waits."""


async def wait() -> None:
    await asyncio.sleep(5 * LATER)


async def wait_for_ever() -> None:
    await asyncio.sleep(3600)


async def bind() -> None:
    BOUND.set("by an earlier job")
    bind_context(tenant="of an earlier job")


async def bind_and_wait() -> None:
    await bind()
    await asyncio.sleep(0)


async def keep_task() -> None:
    KEPT.append(own_task())
    call_later(own_task().cancel)


async def keep_task_weakly() -> None:
    kept = weakref.ref(own_task())

    def cancel() -> None:
        if (task := kept()) is not None:
            task.cancel()

    call_later(cancel)


async def cancel_soon() -> None:
    """At the next turn of the loop, which is due when this is over."""
    asyncio.get_running_loop().call_soon(own_task().cancel)
    time.sleep(0.005)


async def leave_a_canceller() -> None:
    """A task that cancels the one that started it when it is cancelled itself."""
    starter = own_task()

    async def cancel() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            starter.cancel()
            await asyncio.sleep(0)

    KEPT.append(asyncio.create_task(cancel()))
    await asyncio.sleep(0)


async def leave_a_canceller_unseen() -> None:
    """The same, without ever waiting."""
    starter = own_task()

    async def cancel() -> None:
        starter.cancel()
        await asyncio.sleep(0)

    KEPT.append(asyncio.create_task(cancel()))


async def cancel_now() -> None:
    own_task().cancel()


async def timeout() -> None:
    async with asyncio.timeout(LATER):
        await nothing()


async def timeout_left_open() -> None:
    await asyncio.timeout(LATER).__aenter__()


async def tell_when_done() -> None:
    own_task().add_done_callback(lambda _: (folder() / "done").touch())


async def block() -> None:
    """Holds the loop until it is let go."""
    (folder() / "blocking").write_text(str(time.monotonic()))
    while not (folder() / "go").exists():
        time.sleep(0.002)


async def stuck() -> None:
    """Holds the interpreter's lock, and so the whole process."""
    re.match(r"(a+)+$", "a" * 64 + "b")


async def forge_a_number() -> None:
    await forge(wire.frame(wire.Batch(1000, [])))


async def forge_a_frame() -> None:
    await forge(b"\x08\0\0\0" + b"\xc1" * 8)


async def forge(frame: bytes) -> None:
    """And says nothing more: only SIGKILL gets through to it."""
    os.write(RESULTS_FD, frame)
    os.kill(os.getpid(), signal.SIGSTOP)
    await asyncio.sleep(3600)


async def fork() -> None:
    """Its child comes back as well."""
    if os.fork() == 0:
        BOUND.set("the child")


async def until_let_go() -> None:
    await wait_until((folder() / "go").exists, timeout=60)


ACTS = {
    act.__name__: act
    for act in (
        nothing, wait, wait_for_ever, bind, bind_and_wait, keep_task, keep_task_weakly,
        cancel_soon, leave_a_canceller, leave_a_canceller_unseen, cancel_now, timeout,
        timeout_left_open, tell_when_done, block, stuck, fork, forge_a_number, forge_a_frame,
        until_let_go,
    )
}  # fmt: skip


class Sharing(JobHandler):
    job_type = "share.job"

    async def handle(self, job: Job) -> JobResult:
        bound = BOUND.get(), structlog.contextvars.get_contextvars().get("tenant", "nobody's")
        await ACTS[job.payload.get("act", "nothing")]()
        said: dict[str, Any] = {"pid": os.getpid(), "task": own_task().get_name()}
        return JobResult(
            success=True,
            result_data=said | {"bound": bound, "ticks": next(TICKS) if job.payload else 0},
        )


async def tick() -> None:
    """A task of the application."""
    while True:
        next(TICKS)
        await asyncio.sleep(0.001)


@asynccontextmanager
async def app() -> AsyncIterator[list[JobHandler]]:
    async with asyncio.TaskGroup() as tasks:
        ticking = tasks.create_task(tick())
        yield [Sharing()]
        ticking.cancel()
