from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from portico.exceptions import ConflictError
from portico.ports.job import Job
from portico.ports.job_creator import JobCreator
from tests.support.jobs import make_job


class Orders(JobCreator):
    """Keeps the jobs that were created, each id once, as a store does."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []

    async def create_job(
        self,
        job_type: str,
        payload: Mapping[str, Any],
        queue_name: str = "default",
        priority: int = 0,
        **options: Any,
    ) -> Job:
        job_id = options.pop("job_id", None) or uuid4()
        if any(job.id == job_id for job in self.jobs):
            raise ConflictError(f"a job with the id {job_id} exists")
        job = make_job(
            id=job_id,
            job_type=job_type,
            payload=dict(payload),
            queue_name=queue_name,
            priority=priority,
            **options,
        )
        self.jobs.append(job)
        return job


@pytest.fixture
def orders() -> Orders:
    return Orders()


@pytest.fixture
def csv_file(tmp_path: Path) -> Callable[[str], str]:
    """Writes a CSV file and gives its URL."""

    def write(text: str) -> str:
        path = tmp_path / "source.csv"
        path.write_text(text)
        return path.as_uri()

    return write
