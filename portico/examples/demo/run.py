"""One run: enqueue the work, let a supervisor drain it, watch, and gather what came of it."""

from __future__ import annotations

import asyncio
import fcntl
import shutil
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from portico.compose import job_service
from portico.examples.demo.outcome import Ended
from portico.examples.demo.plan import Plan
from portico.examples.demo.progress import Board
from portico.exceptions import ConfigurationError
from portico.kits.job import JobService
from portico.ports.job import Job, JobStatus

SECONDS_BETWEEN_LOOKS = 0.25
PATIENCE = 60.0
"""Seconds that a supervisor that was told to stop may take."""

MOST_JOBS = 1000


class SupervisorFailed(Exception):
    """The supervisor did not exit with 0."""

    def __init__(self, code: int, log: Path) -> None:
        tail = log.read_text(errors="replace").splitlines()[-20:]
        super().__init__("\n".join([f"the supervisor exited with {code}; {log} ends:", *tail]))


async def run(plan: Plan, board: Board) -> list[Ended]:
    """Run the plan from a clean start.

    Raises:
        SupervisorFailed: it did not exit with 0.
        ConfigurationError: another run is using the folder.
    """
    with _folder(plan.output):
        async with job_service(plan.queue_url) as jobs:
            await jobs.create_jobs(plan.jobs())
            async with _supervisor(plan) as supervisor:
                await _watch(jobs, board, supervisor)
            board.show(await _all(jobs), last=True)
            if code := supervisor.returncode:
                raise SupervisorFailed(code, _log(plan.output))
            return [Ended(job, await _result(jobs, job)) for job in await _all(jobs)]


async def _watch(jobs: JobService, board: Board, supervisor: asyncio.subprocess.Process) -> None:
    """Look at the store now and then until the supervisor is done."""
    done = asyncio.create_task(supervisor.wait())
    while not done.done():
        board.show(await _all(jobs))
        await asyncio.wait([done], timeout=SECONDS_BETWEEN_LOOKS)


async def _all(jobs: JobService) -> list[Job]:
    return (await jobs.list_jobs(limit=MOST_JOBS)).jobs


async def _result(jobs: JobService, job: Job) -> dict[str, object]:
    if job.status is not JobStatus.COMPLETED:
        return {}
    return await jobs.get_result(job.id) or {}


@asynccontextmanager
async def _supervisor(plan: Plan) -> AsyncIterator[asyncio.subprocess.Process]:
    """A draining supervisor in a group of its own, so that Ctrl-C reaches it once: from here."""
    options = ("--queue-url", plan.queue_url, "--workers", str(plan.workers), "--drain")
    app = ("--app", "portico.examples:app")
    with _log(plan.output).open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "portico.supervisor", *options, *app,
            stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, process_group=0,
        )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
            await asyncio.wait_for(process.wait(), PATIENCE)


def _log(output: Path) -> Path:
    return output / "supervisor.log"


@contextmanager
def _folder(output: Path) -> Iterator[None]:
    """Lock the folder and remove what an earlier run left in it."""
    output.mkdir(parents=True, exist_ok=True)
    with (output / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigurationError(f"another demo is running in {output}") from error
        for leftover in output.glob("jobs.db*"):
            leftover.unlink()
        for folder in ("imports", "reports"):
            shutil.rmtree(output / folder, ignore_errors=True)
        yield
