"""Handlers that misbehave towards their own process: its loop, its memory, descriptors, children.

`test.<name>`, like those of `fault_app`, with their ledger. `here` is the folder of the ledger.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from portico.ports.job import Job, JobResult
from portico.ports.job_handler import JobHandler
from tests.support import fault_app
from tests.support.fault_app import Fault, Mourner, write
from tests.support.waiting import wait_until
from tests.support.wrongs import raises, returns

RESULTS_FD = 201
"""Where `birth` moves a worker's result pipe."""
MIB = 1 << 20


def here() -> Path:
    return Path(os.environ["LEDGER"]).parent


async def pid(job: Job) -> JobResult:
    return JobResult(success=True, result_data={"pid": os.getpid()})


async def until_go(job: Job) -> JobResult:
    """Ends by itself only when the test says so."""
    await wait_until((here() / "go").exists, timeout=60)
    return await pid(job)


async def block_until_go(job: Job) -> JobResult:
    """The same, with the loop in its hands."""
    while not (here() / "go").exists():
        time.sleep(0.005)
    return await pid(job)


# Tasks and the loop


async def told_when_cancelled(job: Job, event: str) -> None:
    try:
        await asyncio.sleep(3600)
    finally:
        write(event, job)


async def leave_tasks(job: Job) -> JobResult:
    """Two tasks of its own, one of them by way of a callback, which starts a third."""
    kept = [asyncio.create_task(told_when_cancelled(job, "CANCELLED"))]
    loop = asyncio.get_running_loop()

    async def outer() -> None:
        kept.append(asyncio.create_task(told_when_cancelled(job, "CANCELLED")))
        await told_when_cancelled(job, "CANCELLED")

    loop.call_soon(lambda: kept.append(loop.create_task(outer())))
    await asyncio.sleep(0.01)
    return await pid(job)


async def end_tasks(job: Job) -> JobResult:
    """Starts tasks, and leaves none: one is awaited, one only cancelled."""
    await asyncio.create_task(asyncio.sleep(0))
    asyncio.create_task(asyncio.sleep(3600)).cancel()
    return await pid(job)


async def outliving_task(job: Job) -> JobResult:
    """A task that says of itself that it is not the job's."""
    KEPT.append(
        asyncio.create_task(told_when_cancelled(job, "CANCELLED"), context=contextvars.Context())
    )
    return await pid(job)


KEPT: list[asyncio.Task[None]] = []


async def stubborn_task(job: Job) -> JobResult:
    KEPT.append(asyncio.create_task(fault_app.stubborn(job)))
    await asyncio.sleep(0)
    return await pid(job)


async def leave_an_exit(job: Job) -> JobResult:
    """A callback that ends the interpreter while another job runs."""

    async def leave() -> None:
        await wait_until((here() / "leave").exists, timeout=60)
        sys.exit(0)

    KEPT.append(asyncio.create_task(leave(), context=contextvars.Context()))
    return await pid(job)


async def stop_the_loop(job: Job) -> None:
    if job.payload["runs"] > job.retry_count:
        asyncio.get_running_loop().stop()
        await asyncio.sleep(0.01)


async def close_the_loop(job: Job) -> None:
    asyncio.get_running_loop().close()


# Memory, descriptors, surroundings


async def out_of_memory(job: Job) -> JobResult:
    if job.retry_count == 0:
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + 64 * MIB, resource.RLIM_INFINITY))
        bytearray(1 << 30)
    return await pid(job)


async def close_descriptors(job: Job) -> JobResult:
    """Closes low ones, and fills what has become free with files of its own."""
    os.closerange(job.payload["first"], job.payload["up_to"])
    mine = []
    for number in range(30):
        fd = os.open(here() / f"mine-{number}", os.O_RDWR | os.O_CREAT | os.O_APPEND)
        os.write(fd, b"mine\n")
        mine.append(fd)
    return JobResult(success=True, result_data={"pid": os.getpid(), "fds": mine})


async def change_surroundings(job: Job) -> JobResult:
    for number in (signal.SIGTERM, signal.SIGCHLD, signal.SIGUSR1, signal.SIGPIPE, signal.SIGALRM):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2, signal.SIGHUP})
    os.chdir("/")
    os.umask(0o777)
    logging.shutdown()
    logging.disable(logging.CRITICAL)
    sys.stdin = sys.stdout = sys.stderr = None  # type: ignore[assignment]
    return await pid(job)


async def flood(job: Job) -> JobResult:
    """Megabytes to stdout and stderr, in lines and without any."""
    line = b"x" * 1023 + b"\n"
    for _ in range(job.payload["megabytes"] // 2):
        os.write(1, line * 1024)
        os.write(2, b"y" * MIB)
    return await pid(job)


async def garbage(job: Job) -> None:
    os.write(RESULTS_FD, b"\xff" * 64)
    await asyncio.sleep(3600)


# Other processes


async def fork(job: Job) -> JobResult:
    child = os.fork()
    if child == 0:
        signal.pause()
        os._exit(0)
    return JobResult(success=True, result_data={"pid": os.getpid(), "child": child})


async def fork_and_return(job: Job) -> JobResult:
    """The child comes back from the handler too, and must not speak for the job."""
    child = os.fork()
    if child == 0:
        write("CHILD", job)
    return JobResult(success=child > 0, result_data={"child": child})


async def daemonise(job: Job) -> JobResult:
    child = subprocess.Popen(
        ["/bin/sleep", "61"], start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    return JobResult(success=True, result_data={"pid": os.getpid(), "child": child.pid})


async def kill_the_parent(job: Job) -> None:
    os.kill(os.getppid(), signal.SIGKILL)
    await asyncio.sleep(3600)


class Returns(Fault):
    """Hands on whatever its act returns."""

    async def handle(self, job: Job) -> JobResult:
        write("BEGIN", job)
        result: JobResult = await self.act(job)
        return result


class TellAndHang(Mourner):
    """Fails, and hangs in its `on_failure`: awaiting, or with the loop in its hands."""

    async def on_failure(self, job: Job, error: Exception) -> None:
        write("FAILED", job, type(error).__name__)
        if job.payload["blocking"]:
            time.sleep(3600)
        await asyncio.sleep(3600)


class TellAndDie(Mourner):
    async def on_failure(self, job: Job, error: Exception) -> None:
        write("FAILED", job, type(error).__name__)
        os._exit(1)


class TellAndRaise(Mourner):
    async def on_failure(self, job: Job, error: Exception) -> None:
        write("FAILED", job, type(error).__name__)
        raise RuntimeError("on_failure went wrong too")


class TellAtLength(Mourner):
    async def on_failure(self, job: Job, error: Exception) -> None:
        await asyncio.sleep(0.001)
        write("FAILED", job, type(error).__name__)


class OneAtATime(Fault):
    max_running = 1


ACTS = (
    pid, until_go, block_until_go, leave_tasks, end_tasks, outliving_task, stubborn_task,
    leave_an_exit, stop_the_loop, close_the_loop, out_of_memory, close_descriptors,
    change_surroundings, flood, garbage, fork, fork_and_return, daemonise, kill_the_parent,
    raises,
)  # fmt: skip


async def tick(path: Path) -> None:
    """A task of the application: it lives as long as its worker."""
    while True:
        path.touch()
        await asyncio.sleep(0.005)


@asynccontextmanager
async def app() -> AsyncIterator[list[JobHandler]]:
    async with asyncio.TaskGroup() as tasks:
        ticking = tasks.create_task(tick(here() / f"tick-{os.getpid()}"))
        handlers: list[JobHandler] = [Fault(act.__name__, act) for act in ACTS]
        failing = fault_app.raise_error
        handlers += [kind(kind.__name__, failing) for kind in (TellAndDie, TellAndRaise)]
        handlers += [TellAndHang("TellAndHang", failing), TellAtLength("TellAtLength", failing)]
        handlers.append(Returns("returns", returns))
        handlers.append(OneAtATime("one_at_a_time", until_go))
        yield [*handlers, *(Fault(a.__name__, a) for a in (fault_app.fine, fault_app.sleep))]
        ticking.cancel()


@asynccontextmanager
async def app_that_opens_once_and_then_later() -> AsyncIterator[list[JobHandler]]:
    """After the first worker none can be opened until the test says so."""
    if (here() / "opened").exists() and not (here() / "open").exists():
        raise RuntimeError("it is not open")
    (here() / "opened").touch()
    async with app() as handlers:
        yield handlers
