"""Handlers that misbehave in every way, and write what they do to a ledger."""

from __future__ import annotations

import asyncio
import ctypes
import os
import re
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from portico.exceptions import NonRetryableError
from portico.ports.job import Job, JobResult
from portico.ports.job_handler import JobHandler
from portico.ports.worker_context import WorkerContext
from tests.support.waiting import wait_until


def write(event: str, job: Job, *more: object) -> None:
    """Append one line, with one system call."""
    words = (event, job.id, os.getpid(), f"{time.monotonic():.6f}", job.retry_count, *more)
    fd = os.open(os.environ["LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, (" ".join(str(word) for word in words) + "\n").encode())
    os.close(fd)


class Fault(JobHandler):
    """`test.<name>`: writes BEGIN, does what its name says, writes END."""

    def __init__(self, name: str, act: Any) -> None:
        self.name = name
        self.act = act

    @property
    def job_type(self) -> str:
        return f"test.{self.name}"

    async def handle(self, job: Job) -> JobResult:
        write("BEGIN", job)
        result = await self.act(job)
        write("END", job)
        return result if isinstance(result, JobResult) else JobResult(success=True)


class Mourner(Fault):
    """The same, with an `on_failure` that writes too."""

    async def on_failure(self, job: Job, error: Exception) -> None:
        write("FAILED", job, type(error).__name__)


async def fine(job: Job) -> JobResult:
    return JobResult(success=True, result_data={"pid": os.getpid(), "echo": job.payload})


async def large(job: Job) -> JobResult:
    if "file" in job.payload:
        await until(job)
    return JobResult(success=True, result_data={"filler": "x" * job.payload["size"]})


async def sleep(job: Job) -> None:
    await asyncio.sleep(job.payload["seconds"])


async def block(job: Job) -> None:
    time.sleep(job.payload["seconds"])


async def spin(job: Job) -> None:
    while True:
        pass


async def stuck_in_c(job: Job) -> None:
    re.match(r"(a+)+$", "a" * 64 + "b")


async def stubborn(job: Job) -> None:
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            continue


async def segfault(job: Job) -> None:
    ctypes.string_at(0)


async def leave(job: Job) -> None:
    os._exit(job.payload["code"])


async def leave_once(job: Job) -> None:
    if job.retry_count == 0:
        os._exit(1)


async def die_once(job: Job) -> None:
    if job.retry_count == 0:
        match job.payload["how"].split():
            case ["segfault"]:
                ctypes.string_at(0)
            case ["abort"]:
                os.abort()
            case ["exit", code]:
                os._exit(int(code))


async def until(job: Job) -> None:
    """Runs until a file is there, beside the ledger."""
    await wait_until(Path(os.environ["LEDGER"]).with_name(job.payload["file"]).exists, 60)


async def until_own(job: Job) -> JobResult:
    """The same, with a file for each process."""
    await until(replace(job, payload={"file": f"{job.payload['file']}-{os.getpid()}"}))
    return JobResult(success=True, result_data={"pid": os.getpid()})


async def leave_orphan(job: Job) -> None:
    """A process whose parent is gone: it leaves `orphan-<pid>`, and ends when `go` is there."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            folder = Path(os.environ["LEDGER"]).parent
            (folder / f"orphan-{os.getpid()}").touch()
            while not (folder / "go").exists():
                time.sleep(0.01)
        os._exit(0)
    os.wait()


async def kill_itself(job: Job) -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    await asyncio.sleep(3600)


async def leave_politely(job: Job) -> None:
    sys.exit(0)


async def raise_error(job: Job) -> None:
    raise RuntimeError("it went wrong")


async def give_up(job: Job) -> None:
    raise NonRetryableError("there is no way")


async def odd_result(job: Job) -> JobResult:
    return JobResult(success=True, result_data={"value": object()})


async def wrong_type(job: Job) -> JobResult:
    return {"success": True}  # type: ignore[return-value]


class WrongReturn(JobHandler):
    job_type = "test.wrong_return"

    async def handle(self, job: Job) -> JobResult:
        return 42  # type: ignore[return-value]


async def shout(job: Job) -> None:
    for number in range(job.payload["lines"]):
        print(f"line {number}")


async def modules(job: Job) -> JobResult:
    loaded = [name for name in sys.modules if name.startswith(("sqlite3", "portico.adapters"))]
    return JobResult(success=True, result_data={"loaded": loaded})


async def surroundings(job: Job) -> JobResult:
    folder = "/proc/self/fd"
    fds = {fd: os.readlink(f"{folder}/{fd}") for fd in os.listdir(folder) if _open(fd)}
    return JobResult(
        success=True,
        result_data={
            "fds": fds,
            "environment": sorted(os.environ),
            "stdin": os.read(0, 1).decode(),
            "group": os.getpgid(0) == os.getpid(),
        },
    )


def _open(fd: str) -> bool:
    return os.path.exists(f"/proc/self/fd/{fd}")


class Parent(JobHandler):
    """Creates a job from inside of a handler, and reads it back."""

    job_type = "test.parent"

    def __init__(self, context: WorkerContext) -> None:
        self.context = context

    async def handle(self, job: Job) -> JobResult:
        child = await self.context.job_creator.create_job(
            "test.fine", {"n": 1}, **job.payload.get("options", {})
        )
        stored = await self.context.job_queue.get_job(str(child.id))
        assert stored is not None
        stats = await self.context.job_queue.get_queue_stats("default")
        return JobResult(
            success=True,
            result_data={
                "child": str(child.id),
                "stored": stored.payload,
                "total": stats.total,
                "worker": self.context.worker,
            },
        )


class DeadLetters(JobHandler):
    """Redrives a dead job the way the user's own handler does."""

    job_type = "test.redrive"

    def __init__(self, context: WorkerContext) -> None:
        self.job_queue = context.job_queue

    async def handle(self, job: Job) -> JobResult:
        dead = await self.job_queue.get_job(job.payload["dead_job_id"])
        assert dead is not None
        await self.job_queue.enqueue(dead)
        return JobResult(success=True)


ACTS = (
    fine, sleep, block, spin, stuck_in_c, stubborn, segfault, leave, leave_once, leave_politely,
    raise_error, give_up, odd_result, shout, modules, surroundings, die_once, until,
    until_own, kill_itself, leave_orphan, large,
)  # fmt: skip


def app(context: WorkerContext) -> list[JobHandler]:
    handlers: list[JobHandler] = [Fault(act.__name__, act) for act in ACTS]
    mourners = {"mourned_error": raise_error, "mourned_crash": leave_once, "mourned_spin": spin}
    handlers += [Mourner(name, act) for name, act in mourners.items()]
    return [*handlers, WrongReturn(), Parent(context), DeadLetters(context)]
