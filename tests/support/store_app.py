"""Handlers for tests of the store: they wait for a file, and return what is hard to store."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from portico.ports.job import Job, JobResult
from portico.ports.job_handler import JobHandler
from portico.ports.worker_context import WorkerContext
from tests.support import fault_app
from tests.support.fault_app import Fault
from tests.support.waiting import wait_until

NASTY = "a NUL \x00, a lone \udc80 surrogate, and \U0010ffff"


async def until_there(job: Job) -> JobResult:
    """Goes on as soon as the file `payload["path"]` exists; returns much."""
    await wait_until(Path(job.payload["path"]).exists, timeout=60)
    return JobResult(success=True, result_data={"much": "x" * job.payload.get("size", 0)})


async def block_until_there(job: Job) -> None:
    """The same, holding the loop: no request to stop gets through."""
    while not Path(job.payload["path"]).exists():
        time.sleep(0.01)


async def nasty_error(job: Job) -> None:
    raise type(NASTY, (ValueError,), {})(NASTY)


async def nasty_message(job: Job) -> JobResult:
    return JobResult(success=False, error_message=NASTY)


async def nasty_result(job: Job) -> JobResult:
    return JobResult(success=True, result_data={"text": NASTY})


async def nul_in_result(job: Job) -> JobResult:
    return JobResult(success=True, result_data={"a\x00key": "a\x00value"})


async def take_all_descriptors(job: Job) -> None:
    """Opens files until no more can be opened, and forgets them open."""
    while True:
        os.open("/dev/null", os.O_RDONLY)


async def write_to(job: Job) -> JobResult:
    """What writing a few bytes into each of these folders gives."""
    found = {}
    for folder in job.payload["folders"]:
        try:
            (Path(folder) / f"probe-{job.id}").write_text("x" * 8192)
            found[folder] = "written"
        except OSError as error:
            found[folder] = error.strerror
    return JobResult(success=True, result_data=found)


class Silent(JobHandler):
    """Opens nothing, not even the ledger."""

    job_type = "test.silent"

    async def handle(self, job: Job) -> JobResult:
        return JobResult(success=True, result_data={"pid": os.getpid()})


ACTS: tuple[Any, ...] = (
    until_there, block_until_there, nasty_error, nasty_message, nasty_result, nul_in_result,
    take_all_descriptors, write_to,
)  # fmt: skip


def app(context: WorkerContext) -> list[JobHandler]:
    return [*fault_app.app(context), Silent(), *(Fault(act.__name__, act) for act in ACTS)]
