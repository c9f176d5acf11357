"""The handlers of a soak: each writes what it does before it does it.

Misdeeds are done once per job. What tells the first time is the job's retry count: nothing that a
worker remembers survives its death.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Awaitable, Callable
from uuid import uuid4

from benchmarks.soak import ledger, mix
from portico.ports.job import Job, JobResult
from portico.ports.job_creator import JobCreator
from portico.ports.job_handler import JobHandler
from portico.ports.worker_context import WorkerContext

APP = "benchmarks.soak.work:app"

_FOR_EVER = 3600.0
_RAISED_TWICE = 2

Note = Callable[..., None]
Act = Callable[[Job, Note], Awaitable[None]]


class Task(JobHandler):
    """Writes BEGIN, acts, and writes how that ended."""

    def __init__(self, job_type: str, act: Act, pen: ledger.Pen) -> None:
        self._job_type = job_type
        self._act = act
        self._pen = pen
        self._supervisor = os.getppid()

    @property
    def job_type(self) -> str:
        return self._job_type

    async def handle(self, job: Job) -> JobResult:
        def note(event: str, detail: str = "") -> None:
            self._pen.write(
                event,
                job.id,
                supervisor=self._supervisor,
                retry_count=job.retry_count,
                detail=detail,
            )

        note(ledger.BEGIN, job.job_type)
        try:
            await self._act(job, note)
        except asyncio.CancelledError:
            note(ledger.CANCELLED)
            raise
        except Exception as error:
            note(ledger.RAISED, f"{type(error).__name__}: {error}"[:200])
            raise
        note(ledger.END)
        return JobResult(success=True)


class Planned(Exception):
    """What a handler raises because it is to raise."""


async def spin(job: Job, _: Note) -> None:
    """Use the processor for so many milliseconds."""
    until = time.process_time() + job.payload["milliseconds"] / 1000
    while time.process_time() < until:
        pass


async def raise_twice(job: Job, _: Note) -> None:
    if job.retry_count < _RAISED_TWICE:
        raise Planned(f"attempt {job.retry_count + 1} is to fail")


async def sleep(_job: Job, _: Note) -> None:
    await asyncio.sleep(mix.SLEEP)


async def block_once(job: Job, note: Note) -> None:
    """Block the loop, so that only the hard deadline can help."""
    if job.retry_count == 0:
        note(ledger.BLOCKING)
        threading.Event().wait(_FOR_EVER)


async def kill_once(job: Job, note: Note) -> None:
    if job.retry_count == 0:
        note(ledger.KILLING)
        os.kill(os.getpid(), signal.SIGKILL)


def parent_of(creator: JobCreator, pen: ledger.Pen) -> Act:
    """Create a quick job over the worker's pipe."""

    async def create(job: Job, _: Note) -> None:
        child = uuid4()
        pen.write(ledger.TRYING, child, detail=f"child of {job.id}")
        await creator.create_job(mix.QUICK, job.payload, job_id=child, max_retries=mix.MANY)
        pen.write(ledger.RETURNED, child)

    return create


def app(context: WorkerContext) -> list[JobHandler]:
    """The handlers; called in each worker after its fork."""
    pen = ledger.Pen(os.environ[ledger.VARIABLE])
    acts: dict[str, Act] = {
        mix.QUICK: spin,
        mix.ONCE: spin,
        mix.MEDIUM: spin,
        mix.PARENT: parent_of(context.job_creator, pen),
        mix.RAISES: raise_twice,
        mix.SLEEPS: sleep,
        mix.BLOCKS: block_once,
        mix.KILLS: kill_once,
    }
    return [Task(job_type, act, pen) for job_type, act in acts.items()]
