from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from portico.adapters.job_queue import DatabaseJobQueueAdapter, MemoryJobQueueAdapter
from portico.ports.job_queue import JobQueueAdapter


@pytest.fixture(params=["memory", "sqlite"])
async def queue(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[JobQueueAdapter]:
    """An empty, initialized queue, once per adapter."""
    adapter: JobQueueAdapter
    if request.param == "memory":
        adapter = MemoryJobQueueAdapter()
    else:
        adapter = DatabaseJobQueueAdapter(f"sqlite:///{tmp_path / 'jobs.db'}")
    await adapter.initialize()
    yield adapter
    await adapter.close()
