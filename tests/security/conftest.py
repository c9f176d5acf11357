"""Supervisors of the application that looks around and attacks."""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from portico.ports.job import JobStatus
from portico.ports.job_queue import JobQueueAdapter
from tests.support.jobs import ended, make_job
from tests.support.supervisors import ROOT, Place, place

APP = "tests.support.security_app:app"
NOBODY = 65534


async def answer(
    queue: JobQueueAdapter, code: str, more: dict[str, Any] | None = None, **fields: Any
) -> Any:
    """What this code leaves in `result` when a worker runs it, with `more` in its payload."""
    job = await queue.enqueue(
        make_job(job_type="test.python", payload={"code": code, **(more or {})}, **fields)
    )
    stored = await ended(queue, job.id)
    assert stored.status is JobStatus.COMPLETED, stored.error_message
    result = await queue.get_result(job.id)
    assert result is not None
    return result["value"]


def interpreter_of_everybody() -> str | None:
    """A Python like this one that a user without rights may start; `None` when there is none."""
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    for candidate in (sys.executable, f"/usr/local/bin/{version}", f"/usr/bin/{version}"):
        real = Path(candidate).resolve()
        if real.exists() and all(_open_to_all(part) for part in (real, *real.parents)):
            return candidate
    return None


def _open_to_all(path: Path) -> bool:
    return bool(path.stat().st_mode & 0o001)


@pytest.fixture
def nobodys(monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """A place that a user without rights can reach; its supervisors are started as root. Its
    queue lies in a folder of that user, apart from what is read as root."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    python = interpreter_of_everybody()
    if python is None or not all(_open_to_all(part) for part in (ROOT, *ROOT.parents)):
        pytest.skip("a user without rights cannot start this Python, or not read this folder")
    monkeypatch.setattr(sys, "executable", python)
    packages = os.pathsep.join((str(ROOT), sysconfig.get_path("purelib")))
    monkeypatch.setattr("tests.support.supervisors.ROOT", packages)
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        state = Path(folder, "state")
        state.mkdir()
        os.chown(state, NOBODY, NOBODY)
        with place(Path(folder)) as found:
            found.url = f"sqlite:///{state / 'jobs.db'}"
            found.ledger.path.chmod(0o666)
            yield found
