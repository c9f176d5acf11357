"""The rules that mutants taught, for every adapter of Portico."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from portico.ports.job_queue import JobQueueAdapter
from portico.testing.contract.more_rules import MoreRules
from portico.testing.contract.queue_support import Clocks
from tests.contract.test_job_queues import WHOLE, make_queue, server_of


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


@WHOLE
class TestMoreRules(MoreRules):
    @pytest.fixture
    def kind(self, request: pytest.FixtureRequest) -> str:
        return request.node.callspec.params["queue"]

    @pytest.fixture
    async def queue(
        self, kind: str, tmp_path: Path, clocks: Clocks, request: pytest.FixtureRequest
    ) -> AsyncIterator[JobQueueAdapter]:
        queue = make_queue(kind, tmp_path, clocks, server_of(kind, request))
        await queue.initialize()
        yield queue
        await queue.close()

    @pytest.fixture
    def another_queue(
        self, kind: str, tmp_path: Path, clocks: Clocks, request: pytest.FixtureRequest
    ) -> Callable[[], JobQueueAdapter]:
        folder = tmp_path / "another"
        folder.mkdir()
        server = server_of(kind, request)
        return lambda: make_queue(kind, folder, clocks, server)
