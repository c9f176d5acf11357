"""Handlers that start processes, in every way that Python has, and tell what becomes of them.

`test.<name>`, like those of `fault_app`, with their ledger. Every result names its worker.
"""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing.context import BaseContext
from multiprocessing.shared_memory import SharedMemory
from typing import Any

from portico.ports.job import Job, JobResult
from tests.support.fault_app import Fault, sleep, write

LONG = 3600.0
INTERRUPT = "kill -INT $$; exit 5"
"""For a shell: ends it by SIGINT, unless that is ignored."""


def context_of(job: Job) -> BaseContext:
    found: BaseContext = multiprocessing.get_context(job.payload["context"])
    return found


def told(**facts: Any) -> JobResult:
    return JobResult(success=True, result_data={"pid": os.getpid(), **facts})


async def bad_row(job: Job) -> None:
    """An error beside children that are at work: leaving the pool ends them."""
    with context_of(job).Pool(2) as pool:  # type: ignore[attr-defined]
        for row in pool.imap_unordered(time.sleep, [0, LONG, LONG]):
            raise ValueError(f"row {row} is bad")


async def terminate(job: Job) -> JobResult:
    """A child that is told to end, from the loop's thread and from another one."""

    def end_one() -> int | None:
        child = context_of(job).Process(target=time.sleep, args=(LONG,))  # type: ignore[attr-defined]
        child.start()
        child.terminate()
        child.join()
        code: int | None = child.exitcode
        return code

    return told(codes=[end_one(), await asyncio.to_thread(end_one)])


async def broken_pool(job: Job) -> None:
    """One child is gone, the other is at work: the executor ends that. (With other contexts than
    fork it may wait for that for ever, in plain Python as here.)"""
    with ProcessPoolExecutor(2, mp_context=context_of(job)) as executor:
        executor.submit(time.sleep, LONG)
        executor.submit(os._exit, 7).result()


async def fork(job: Job) -> JobResult:
    """What children that are forked by hand die of, from either thread."""
    numbers = [signal.SIGTERM, signal.SIGINT, signal.SIGUSR2]
    ends = [
        *map(_end_by, numbers),
        *(await asyncio.gather(*(asyncio.to_thread(_end_by, number) for number in numbers))),
    ]
    return told(ends=ends)


def _end_by(number: int) -> int:
    """A fork that sends itself a signal: how it ended."""
    child = os.fork()
    if child == 0:
        try:
            os.kill(os.getpid(), number)
            signal.pause()
        except KeyboardInterrupt:
            os._exit(42)
        finally:
            os._exit(43)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


async def keep_handler(job: Job) -> JobResult:
    """A handler of signals that the application has set is inherited, as ever."""
    before = signal.signal(signal.SIGTERM, lambda *_: os._exit(44))
    try:
        return told(end=_end_by(signal.SIGTERM))
    finally:
        signal.signal(signal.SIGTERM, before)


async def programs(job: Job) -> JobResult:
    """How shells end that interrupt themselves, and which signals programs find ignored."""
    shell = ["/bin/sh", "-c", INTERRUPT]
    native = await asyncio.create_subprocess_exec(*shell)
    spawned = os.posix_spawn(shell[0], shell, os.environ)
    ends = [
        subprocess.run(shell, check=False).returncode,
        subprocess.run(shell, check=False, start_new_session=True).returncode,
        await native.wait(),
        os.waitstatus_to_exitcode(os.waitpid(spawned, 0)[1]),
    ]
    status = ["/bin/sh", "-c", "grep SigIgn /proc/self/status || echo SigIgn: 0"]
    ignored = subprocess.run(status, check=True, capture_output=True, text=True).stdout
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGUSR2)
    mask = int(ignored.split()[1], 16)
    return told(ends=ends, ignored=[n for n in numbers if mask >> (n - 1) & 1])


async def alarm(job: Job) -> None:
    """A deadline of the handler's own, by a signal."""

    def too_long(*_: object) -> None:
        raise TimeoutError("the supplier takes too long")

    signal.signal(signal.SIGALRM, too_long)
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    time.sleep(LONG)


async def surroundings(job: Job) -> JobResult:
    """What a process that multiprocessing starts finds: its collector, what it takes for main."""
    with context_of(job).Pool(1) as pool:  # type: ignore[attr-defined]
        return told(**pool.apply(found_in_child))


def found_in_child() -> dict[str, Any]:
    main = sys.modules.get("__mp_main__")
    return {
        "collects": gc.isenabled(),
        "main": getattr(main, "__file__", None),
        "supervisor": sorted(name for name in sys.modules if name.startswith("portico.supervisor")),
    }


async def loop(job: Job) -> JobResult:
    """Which loop runs this."""
    return told(module=type(asyncio.get_running_loop()).__module__)


KEPT: list[Any] = []
"""What jobs leave to the end of their worker."""


async def keep_shared(job: Job) -> JobResult:
    """Shared memory and a semaphore that nobody removes but the resource tracker, which a child of
    the worker holds, too; then the worker's end, if one is named."""
    memory = SharedMemory(create=True, size=1 << 20)
    lock: Any = multiprocessing.get_context("spawn").Lock()
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(LONG,))
    child.daemon = True
    child.start()
    KEPT.extend((memory, lock, child))
    names = [memory.name, "sem." + lock._semlock.name.lstrip("/")]
    write("KEPT", job, *names)
    match job.payload.get("end"):
        case "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "hang":
            time.sleep(LONG)
    return told(names=names)


ACTS: tuple[Callable[[Job], Any], ...] = (
    bad_row, terminate, broken_pool, fork, keep_handler, programs, alarm, surroundings, keep_shared,
    loop,
)  # fmt: skip
app = [Fault("sleep", sleep), *(Fault(act.__name__, partial(act)) for act in ACTS)]
