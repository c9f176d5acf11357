"""Handlers that leave something on: threads, processes, generators, exits. `test.<name>`, with the
ledger of `fault_app`; `go` and others are files in its folder."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

from portico.ports.job import Job, JobResult
from portico.ports.job_handler import JobHandler
from tests.support.fault_app import Fault, write
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


# The loop's settings


async def shut_the_executor_down(job: Job) -> JobResult:
    await asyncio.to_thread(time.sleep, 0)
    await asyncio.get_running_loop().shutdown_default_executor()
    return await pid(job)


async def replace_the_executor(job: Job) -> JobResult:
    """The loop has one that is gone when its job is over."""
    with ThreadPoolExecutor(1) as executor:
        asyncio.get_running_loop().set_default_executor(executor)
        await asyncio.to_thread(time.sleep, 0)
    return await pid(job)


async def change_the_loop(job: Job) -> JobResult:
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    loop.set_exception_handler(lambda *_: None)
    loop.set_task_factory(None)
    asyncio.set_event_loop(None)
    return await pid(job)


SETTERS = (shut_the_executor_down, replace_the_executor, change_the_loop)


async def see_the_loop(job: Job) -> JobResult:
    """Whether all is as the application left it, and threads can be had."""
    loop = asyncio.get_running_loop()
    seen = await asyncio.to_thread(lambda: "a thread")
    handler = loop.get_exception_handler()
    assert (seen, loop.get_debug(), handler) == ("a thread", False, exception_handler)
    assert loop.get_task_factory() is not None
    return await pid(job)


def exception_handler(loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
    loop.default_exception_handler(context)


async def leave_a_thread(job: Job) -> JobResult:
    asyncio.get_running_loop().run_in_executor(None, rows, job)
    await row_seen(job)
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


# Threads and processes: they go on until they are ended, or `go` is there


def row(job: Job) -> None:
    write("ROW", job)
    time.sleep(0.01)


def rows(job: Job) -> None:
    while not (here() / "go").exists():
        row(job)


def shell(job: Job) -> str:
    """The same, as a command."""
    write_row = f"echo ROW {job.id} $$ 0 {job.retry_count} >> {os.environ['LEDGER']}"
    return f"while [ ! -e {here() / 'go'} ]; do {write_row}; sleep 0.01; done"


async def row_seen(job: Job) -> None:
    """Return when what was started is at it."""
    begun = f"ROW {job.id}"
    await wait_until(lambda: begun in Path(os.environ["LEDGER"]).read_text(), timeout=60)


async def fail(job: Job) -> None:
    """Fail as the payload says: raise, or be stopped."""
    await row_seen(job)
    if job.payload["end"] == "raises":
        raise ValueError("it went wrong")
    if job.payload["end"] == "blocks":
        while True:
            time.sleep(0.01)
    await asyncio.sleep(3600)


async def to_thread(job: Job) -> None:
    thread = asyncio.ensure_future(asyncio.to_thread(rows, job))
    await fail(job)
    await thread


async def bare_thread(job: Job) -> None:
    threading.Thread(target=rows, args=(job,), name="import rows", daemon=True).start()
    await fail(job)


async def thread_of_a_thread(job: Job) -> None:
    def start() -> None:
        threading.Thread(target=rows, args=(job,), daemon=True).start()

    await asyncio.to_thread(start)
    await fail(job)


POOL_OF_THREADS = ThreadPoolExecutor(2)


async def own_pool(job: Job) -> None:
    """A pool of the application's; more waits in it than it has threads for."""
    for _ in range(4):
        POOL_OF_THREADS.submit(rows, job)
    await fail(job)


THREADS = (to_thread, bare_thread, thread_of_a_thread, own_pool)


async def asyncio_process(job: Job) -> None:
    await asyncio.create_subprocess_shell(shell(job))
    await fail(job)


async def plain_process(job: Job) -> None:
    KEPT.append(subprocess.Popen(["/bin/sh", "-c", shell(job)]))
    await fail(job)


async def own_session(job: Job) -> None:
    KEPT.append(subprocess.Popen(["/bin/sh", "-c", shell(job)], start_new_session=True))
    await fail(job)


async def deaf_process(job: Job) -> None:
    """It starts another, and both ignore SIGTERM."""
    command = f"trap '' TERM; ({shell(job)}) & {shell(job)}"
    KEPT.append(subprocess.Popen(["/bin/sh", "-c", command]))
    await fail(job)


async def forked(job: Job) -> None:
    if os.fork() == 0:
        rows(job)
        os._exit(0)
    await fail(job)


async def of_multiprocessing(job: Job) -> None:
    method = job.payload.get("method", "fork")
    KEPT.append(multiprocessing.get_context(method).Process(target=rows, args=(job,)))
    KEPT[-1].start()  # type: ignore[attr-defined]
    await fail(job)


POOLS_OF_PROCESSES: list[ProcessPoolExecutor] = []
"""One, made in each worker: those that were forked must not share its pipes."""


async def use_the_pool(job: Job) -> JobResult:
    number = await asyncio.wrap_future(POOLS_OF_PROCESSES[0].submit(os.getpid))
    await asyncio.sleep(0.05)  # its process was born well before the next job
    return JobResult(success=True, result_data={"pid": os.getpid(), "child": number})


async def pool_of_processes(job: Job) -> None:
    """A pool of the application's; more waits in it than it has processes for."""
    for _ in range(4):
        POOLS_OF_PROCESSES[0].submit(rows, job)
    await fail(job)


async def process_in_a_thread(job: Job) -> None:
    """The thread ends when the process has been ended."""
    command = ["/bin/sh", "-c", shell(job)]
    thread = asyncio.ensure_future(asyncio.to_thread(subprocess.run, command, check=False))
    await fail(job)
    await thread


async def processes_until_go(job: Job) -> JobResult:
    """A good neighbour: it has processes and a thread for as long as it runs, not longer."""
    plain = subprocess.Popen(["/bin/sh", "-c", shell(job)])
    started = await asyncio.create_subprocess_shell(shell(job))
    thread = asyncio.create_task(asyncio.to_thread(rows, job))
    await wait_until((here() / "go").exists, timeout=60)
    await started.wait()
    await asyncio.to_thread(plain.wait)
    await thread
    assert (plain.returncode, started.returncode) == (0, 0)
    return await pid(job)


PROCESSES = (
    asyncio_process, plain_process, own_session, deaf_process, forked, of_multiprocessing,
    process_in_a_thread,
)  # fmt: skip


class Rows(Fault):
    """Starts what writes ROW; its second attempt is fine, or waits. Tells when it has failed."""

    async def handle(self, job: Job) -> JobResult:
        write("BEGIN", job)
        if job.retry_count == 0:
            await self.act(job)
        await asyncio.sleep(0.05)
        write("END", job)
        return await pid(job)

    async def on_failure(self, job: Job, error: Exception) -> None:
        write("FAILED", job, type(error).__name__)
        await asyncio.sleep(0.05)
        write("MOURNED", job)


EXITS = (
    gather_an_exit, group_an_exit, await_an_exit, exit_in_a_thread, exit_from_a_thread,
    interrupt_in_a_task,
)  # fmt: skip

ACTS = (
    use_the_pool,
    leave_a_thread,
    see_the_loop,
    *SETTERS,
    pid,
    until_go,
    processes_until_go,
    first_row,
    exit_in_callbacks,
    *EXITS,
)


@asynccontextmanager
async def app() -> AsyncIterator[list[JobHandler]]:
    POOLS_OF_PROCESSES.append(ProcessPoolExecutor(1))
    asyncio.get_running_loop().set_exception_handler(exception_handler)
    acts = [Fault(act.__name__, act) for act in ACTS]
    yield [*acts, *(Rows(act.__name__, act) for act in (*THREADS, *PROCESSES, pool_of_processes))]
