"""What is checked at the end of every test that has started supervisors: whatever was done to them,
those that are left stop when they are told to, with exit code 0, leave nobody behind, hold no job,
and the store accounts for every attempt."""

from __future__ import annotations

import asyncio
import signal
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import psutil

from portico import compose
from portico.exceptions import PorticoError
from portico.ports.job import JobStatus
from portico.ports.leasing import JobFilter, JobRecord
from tests.support.supervisors import SupervisorProcess

_HINT = 1.0
"""Seconds after which a second signal tells a supervisor not to wait for what runs."""
_LONGEST = 30.0
_MOST_ROWS = 300
DRAINED, UNSETTLED, UNREACHABLE = 0, 75, 5


class Departure:
    """The end of some supervisors of one store."""

    def __init__(self, supervisors: Sequence[SupervisorProcess], url: str) -> None:
        self._survivors = [s for s in supervisors if s.ruined is None and _awake(s)]
        self._url = url

    def check(self) -> None:
        """Tell all survivors to stop, and see how they do.

        Raises:
            AssertionError: one of them did not do as it should.
        """
        families = [(s, s.descendants()) for s in self._survivors]
        for supervisor, _ in families:
            supervisor.signal(signal.SIGTERM)
        codes = [_ended(supervisor) for supervisor, _ in families]
        records = _records(self._url) if families else []
        fine = (DRAINED,) if records is not None else (DRAINED, UNSETTLED, UNREACHABLE)
        for (supervisor, family), code in zip(families, codes, strict=True):
            assert code in fine, f"exit code {code}; the log:\n{supervisor.text()}"
            left = [child for child in family if _left(child)]
            assert not left, f"left behind: {left}; the log:\n{supervisor.text()}"
        self._account(records or [])

    def _account(self, records: Sequence[JobRecord]) -> None:
        pids = {f":{supervisor.pid}" for supervisor in self._survivors}
        for record in records:
            assert record.accounted, record
            if record.job.status is JobStatus.RUNNING:
                holder = record.owner or ""
                assert not any(pid in holder for pid in pids), f"kept by one that ended: {record}"


def _awake(supervisor: SupervisorProcess) -> bool:
    if supervisor.process.poll() is not None:
        return False
    try:
        return psutil.Process(supervisor.pid).status() != psutil.STATUS_STOPPED
    except psutil.NoSuchProcess:
        return False


def _ended(supervisor: SupervisorProcess) -> int | None:
    with suppress(subprocess.TimeoutExpired):
        return supervisor.process.wait(_HINT)
    supervisor.signal(signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        return supervisor.process.wait(_LONGEST)
    return None


def _left(child: psutil.Process) -> bool:
    """Whether it is still there a moment later: whoever adopts it may have yet to collect it."""
    with suppress(psutil.NoSuchProcess):
        try:
            child.wait(5)
        except psutil.TimeoutExpired:
            return child.status() != psutil.STATUS_ZOMBIE
    return False


def _records(url: str) -> list[JobRecord] | None:
    """The newest jobs, with all that is known of them; `None` when the store cannot be asked."""
    with ThreadPoolExecutor(1) as elsewhere:  # a test may have a loop here
        return elsewhere.submit(asyncio.run, _asked(url)).result()


async def _asked(url: str) -> list[JobRecord] | None:
    queue = compose.job_queue(url)
    try:
        await queue.initialize()
        page = await queue.list_jobs(JobFilter(), limit=_MOST_ROWS)
        found = [await queue.inspect(job.id) for job in page.jobs]
    except PorticoError:
        return None
    finally:
        await queue.close()
    return [record for record in found if record is not None]
