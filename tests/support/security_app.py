"""Handlers that look around, and handlers that attack."""

from __future__ import annotations

import asyncio
import ctypes
import os
import sys
import time
from typing import Any

from portico.ports.job import Job, JobResult
from portico.ports.job_handler import JobHandler
from portico.ports.worker_context import WorkerContext
from portico.utils.logging import get_logger

log = get_logger("tests.security")


class Python(JobHandler):
    """`test.python`: runs the code in its payload; what it leaves in `result` is the result."""

    job_type = "test.python"

    def __init__(self, context: WorkerContext) -> None:
        self.context = context

    async def handle(self, job: Job) -> JobResult:
        scope: dict[str, Any] = {"job": job, "context": self.context}
        exec(job.payload["code"], scope)
        return JobResult(success=True, result_data={"value": scope.get("result")})


class Flood(JobHandler):
    """`test.flood`: creates jobs in another queue, as many as that takes."""

    job_type = "test.flood"

    def __init__(self, context: WorkerContext) -> None:
        self.context = context

    async def handle(self, job: Job) -> JobResult:
        for _ in range(100):
            await self.context.job_creator.create_job("none.such", {}, queue_name="elsewhere")
        return JobResult(success=True)


class Bulk(JobHandler):
    """`test.bulk`: takes its time; one at a time."""

    job_type = "test.bulk"
    max_running = 1

    async def handle(self, job: Job) -> JobResult:
        running = os.open("running", os.O_CREAT | os.O_EXCL)
        await asyncio.sleep(0.2)
        os.close(running)
        os.unlink("running")
        return JobResult(success=True)


class Fine(JobHandler):
    """`test.fine`: succeeds, and gives its payload back."""

    job_type = "test.fine"

    async def handle(self, job: Job) -> JobResult:
        return JobResult(success=True, result_data={"echo": job.payload})


class Secretive(JobHandler):
    """`test.secretive`: ends as its payload says; it logs and prints nothing of the payload."""

    job_type = "test.secretive"

    async def handle(self, job: Job) -> JobResult:
        secret = job.payload["secret"]
        match job.payload["end"]:
            case "well":
                return JobResult(success=True, result_data={"secret": secret})
            case "raise":
                raise RuntimeError("it went wrong")
            case "crash":
                ctypes.string_at(0)
            case "hang":
                time.sleep(3600)
            case "odd":
                return JobResult(success=True, result_data={"secret": secret, "value": object()})
            case "huge":
                return JobResult(success=True, result_data={"secret": secret * 100_000})
            case "returned":
                return JobResult(success=False, error=ValueError("no"), result_data={"s": secret})
        return JobResult(success=True)


class Loud(JobHandler):
    """`test.loud`: says its payload's text in every way there is, then raises it."""

    job_type = "test.loud"

    async def handle(self, job: Job) -> JobResult:
        text = job.payload["text"]
        print(text)
        print(text, file=sys.stderr, flush=True)
        log.warning(text, text=text, **{text: 1})
        raise RuntimeError(text)


class Forger(JobHandler):
    """`test.forger`: writes the payload's bytes to every pipe of its worker, as if it were one."""

    job_type = "test.forger"

    async def handle(self, job: Job) -> JobResult:
        data = bytes.fromhex(job.payload["data"])
        for name in os.listdir("/proc/self/fd"):
            fd = int(name)
            if fd > 2:
                try:
                    if os.readlink(f"/proc/self/fd/{fd}").startswith("pipe:"):
                        os.write(fd, data)
                except OSError:
                    continue
        await asyncio.sleep(3600)
        return JobResult(success=True)


def app(context: WorkerContext) -> list[JobHandler]:
    return [Python(context), Flood(context), Bulk(), Fine(), Secretive(), Loud(), Forger()]
