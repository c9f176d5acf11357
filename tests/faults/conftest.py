from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from portico import compose
from portico.ports.job_queue import JobQueueAdapter
from tests.support.supervisors import Place, place


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Place]:
    with place(tmp_path) as found:
        yield found


@pytest.fixture
async def queue(here: Place) -> AsyncIterator[JobQueueAdapter]:
    """The queue of the supervisors, seen by a producer in another process."""
    adapter = compose.job_queue(here.url)
    await adapter.initialize()
    yield adapter
    await adapter.close()
