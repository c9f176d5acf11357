"""The rules of the job stores, for every adapter of Portico."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from portico.adapters.job_queue import DatabaseJobQueueAdapter, MemoryJobQueueAdapter
from portico.ports.job_queue import JobQueueAdapter
from portico.testing.contract.history_rules import HistoryRules
from portico.testing.contract.leasing_rules import LeasingRules
from portico.testing.contract.nine_method_rules import NineMethodRules
from portico.testing.contract.queue_support import LEASE_SECONDS, Clocks
from portico.testing.contract.record_rules import RecordRules
from portico.testing.contract.state_table_rules import StateTableRules
from tests.contract.toy_queue import ToyQueue


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


def make_queue(kind: str, folder: Path, clocks: Clocks) -> JobQueueAdapter:
    known = {"clock": clocks.wall, "monotonic": clocks.monotonic}
    if kind == "memory":
        return MemoryJobQueueAdapter(LEASE_SECONDS, **known)
    if kind == "sqlite":
        url = f"sqlite:///{folder}/jobs.db?durability=normal"
        return DatabaseJobQueueAdapter(url, LEASE_SECONDS, **known)
    assert kind == "nine methods"
    return ToyQueue(clocks.wall)


class _Opened:
    @pytest.fixture
    async def queue(
        self, request: pytest.FixtureRequest, tmp_path: Path, clocks: Clocks
    ) -> AsyncIterator[JobQueueAdapter]:
        queue = make_queue(request.param, tmp_path, clocks)
        await queue.initialize()
        yield queue
        await queue.close()


WHOLE = pytest.mark.parametrize("queue", ["memory", "sqlite"], indirect=True)
EVERY = pytest.mark.parametrize("queue", ["memory", "sqlite", "nine methods"], indirect=True)


@EVERY
class TestNineMethods(_Opened, NineMethodRules):
    pass


@WHOLE
class TestLeasing(_Opened, LeasingRules):
    pass


@WHOLE
class TestStateTable(_Opened, StateTableRules):
    pass


@WHOLE
class TestRecords(_Opened, RecordRules):
    pass


@WHOLE
class TestHistory(_Opened, HistoryRules):
    pass
