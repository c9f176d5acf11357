"""A handler that logs in every way there is."""

from __future__ import annotations

import asyncio
import logging
import threading

import structlog

from portico.ports.job import Job, JobResult
from portico.ports.job_handler import JobHandler
from portico.ports.worker_context import WorkerContext
from portico.utils.logging import get_logger

ours = get_logger("talk.ours")
foreign = structlog.get_logger("talk.structlog")
standard = logging.getLogger("talk.standard")


def say(where: str) -> None:
    ours.info(f"ours_{where}", number=7)
    foreign.info(f"structlog_{where}")
    standard.info("standard_%s", where)
    ours.debug(f"debug_{where}")


class Talk(JobHandler):
    job_type = "test.talk"

    def __init__(self, context: WorkerContext) -> None:
        self._context = context

    async def handle(self, job: Job) -> JobResult:
        say("handler")
        await self._nested()
        await asyncio.gather(asyncio.create_task(self._in_task()))
        await asyncio.to_thread(say, "thread")
        thread = threading.Thread(target=say, args=("own_thread",))
        thread.start()
        await asyncio.get_running_loop().run_in_executor(None, say, "pool")
        thread.join()
        self._context.logger.info("of_the_context")
        if job.payload.get("fail"):
            raise RuntimeError("on purpose")
        return JobResult(success=True)

    async def on_failure(self, job: Job, error: Exception) -> None:
        say("on_failure")

    async def _nested(self) -> None:
        await asyncio.sleep(0)
        say("nested")

    async def _in_task(self) -> None:
        say("task")


def app(context: WorkerContext) -> list[JobHandler]:
    return [Talk(context)]
