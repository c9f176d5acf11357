"""Rounds of one hostile job among healthy ones, and what each has cost the supervisor."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

from benchmarks.hostile.app import HEALTHY, HOSTILE, LARGE
from portico import compose
from portico.kits.job.new_job import new_id
from portico.ports.draft import Draft
from portico.ports.job import TERMINAL, Job, JobStatus
from portico.ports.job_queue import JobQueueAdapter

ROOT = Path(__file__).parents[2]
MOST_MEMORY = 150 * 2**20
"""Bytes above what the supervisor has when it is idle."""
LONGEST_TURN = 0.1
"""Seconds of processor time."""
_HEALTHY = 40
_SECONDS = 0.7
"""Of an attack, or twice that, which is past its deadline."""
_PATIENCE = 120.0
"""Seconds in which everything has to end."""
_WORKERS = "3"
_OPTIONS = (
    "--app", "benchmarks.hostile.app:app", "--workers", _WORKERS, "--job-timeout", "1",
    "--kill-grace", "100ms", "--kill-orphans", "--allow-root", "--log-format", "json",
)  # fmt: skip


class Round(NamedTuple):
    """What one attack has cost."""

    attack: str
    seed: int
    turn: float
    """Seconds of processor time of the longest turn of the supervisor's loop."""
    memory: int
    """Bytes above what the supervisor had when it was idle, at most so far."""
    wrong: tuple[str, ...]
    """What should not be."""

    @property
    def well(self) -> bool:
        """Whether the supervisor has stayed within its bounds."""
        return not self.wrong and self.turn < LONGEST_TURN and self.memory < MOST_MEMORY


class Target:
    """A supervisor under attack."""

    def __init__(
        self, folder: Path, queue: JobQueueAdapter, process: subprocess.Popen[bytes]
    ) -> None:
        self._folder = folder
        self._queue = queue
        self._process = process
        self._idle = 0
        self._known = new_id()

    async def settle(self) -> None:
        """Wait until it works, and remember what it weighs."""
        await self._queue.insert([_draft(LARGE, self._known)])
        await self._end_of([self._known])
        await self._end_of(await self._healthy())
        self._idle = self._status("VmRSS")

    async def attack(self, name: str, seed: int) -> Round:
        """Let one loose, among healthy jobs."""
        self._measured.unlink(missing_ok=True)
        hostile = _draft(
            HOSTILE,
            new_id(),
            attack=name,
            seed=seed,
            seconds=_SECONDS * (1 + seed % 2),
            known=str(self._known),
        )
        await self._queue.insert([hostile])
        healthy = await self._healthy()
        if seed % 4 == 0:
            await asyncio.sleep(_SECONDS / 2)
            self._process.send_signal(signal.SIGUSR1)  # asks every worker for its stacks
        late = await self._end_of([hostile.id, *healthy, *await self._healthy()])
        wrong = [f"{len(late)} jobs did not end"] if late else []
        wrong += await self._judged(healthy)
        if self._process.poll() is not None:
            return Round(name, seed, 0.0, 0, (f"it exited with {self._process.returncode}",))
        memory = self._status("VmHWM") - self._idle
        return Round(name, seed, await self._turn(), memory, tuple(wrong))

    @property
    def _measured(self) -> Path:
        return self._folder / "measured"

    async def _turn(self) -> float:
        while not self._measured.exists():  # noqa: ASYNC110 - another process makes it
            await asyncio.sleep(0.01)
        return float(self._measured.read_text())

    def _status(self, name: str) -> int:
        text = Path(f"/proc/{self._process.pid}/status").read_text()
        (line,) = (line for line in text.splitlines() if line.startswith(f"{name}:"))
        return int(line.split()[1]) * 1024

    async def _healthy(self) -> list[UUID]:
        drafts = [_draft(HEALTHY, new_id(), n=number) for number in range(_HEALTHY)]
        await self._queue.insert(drafts)
        return [draft.id for draft in drafts]

    async def _end_of(self, jobs: Sequence[UUID]) -> list[UUID]:
        """Wait for these; those that have not ended."""
        left, deadline = list(jobs), time.monotonic() + _PATIENCE
        while left and time.monotonic() < deadline and self._process.poll() is None:
            job = await self._queue.get_job(left[-1])
            if job is not None and job.status in TERMINAL:
                left.pop()
            else:
                await asyncio.sleep(0.02)
        return left

    async def _judged(self, healthy: Sequence[UUID]) -> list[str]:
        """What is wrong with jobs that have harmed nobody."""
        wrong = []
        for job_id in healthy:
            record = await self._queue.inspect(job_id)
            if record is None or record.job.status is not JobStatus.COMPLETED:
                wrong.append(f"healthy job {job_id} is {record and record.job.status}")
            elif not record.accounted:
                wrong.append(f"the attempts of {job_id} do not add up")
        return wrong


def _draft(job_type: str, job_id: UUID, **payload: object) -> Draft:
    retries = 0 if job_type == HOSTILE else 20
    return Draft.of(Job(job_id, "default", job_type, payload, max_retries=retries))


@asynccontextmanager
async def target(folder: Path) -> AsyncIterator[Target]:
    """A supervisor on a queue in this folder; its log stands there, too."""
    url = f"sqlite:///{folder / 'jobs.db'}"
    queue = compose.job_queue(url)
    await queue.initialize()
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(  # noqa: S603, ASYNC220 - ourselves
            [sys.executable, "-m", "benchmarks.hostile.measured", *_OPTIONS, "--queue-url", url],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "MEASURED": str(folder / "measured")},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        found = Target(folder, queue, process)
        await found.settle()
        yield found
    finally:
        await queue.close()
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
