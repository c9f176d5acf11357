"""The rules of the job stores, for every adapter of Portico."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from portico.adapters.job_queue import DatabaseJobQueueAdapter, MemoryJobQueueAdapter
from portico.ports.job_queue import JobQueueAdapter
from portico.testing.contract.bulk_rules import BulkRules
from portico.testing.contract.history_rules import HistoryRules
from portico.testing.contract.leasing_rules import LeasingRules
from portico.testing.contract.listing_rules import ListingRules
from portico.testing.contract.nine_method_rules import NineMethodRules
from portico.testing.contract.queue_support import LEASE_SECONDS, Clocks
from portico.testing.contract.record_rules import RecordRules
from portico.testing.contract.state_table_rules import StateTableRules
from portico.testing.contract.wanted_rules import WantedRules
from tests.contract.odd_value_rules import OddValueRules
from tests.contract.toy_queue import ToyQueue
from tests.support.postgres_queues import postgres_queue
from tests.support.redis_queues import redis_queue
from tests.support.servers import PostgresServer, RedisServer


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


def make_queue(
    kind: str, folder: Path, clocks: Clocks, server: PostgresServer | RedisServer | None = None
) -> JobQueueAdapter:
    known = {"clock": clocks.wall, "monotonic": clocks.monotonic}
    if isinstance(server, PostgresServer):
        return postgres_queue(server, folder, clocks, lease_seconds=LEASE_SECONDS, **known)
    if isinstance(server, RedisServer):
        return redis_queue(server, clocks, lease_seconds=LEASE_SECONDS, **known)
    if kind == "memory":
        return MemoryJobQueueAdapter(LEASE_SECONDS, **known)
    if kind.startswith("sqlite"):
        url, alone = f"sqlite:///{folder}/jobs.db?durability=normal", kind == "sqlite alone"
        return DatabaseJobQueueAdapter(url, LEASE_SECONDS, alone=alone, **known)
    assert kind == "nine methods"
    return ToyQueue(clocks.wall)


def server_of(kind: str, request: pytest.FixtureRequest) -> PostgresServer | RedisServer | None:
    """The server that a kind of queue needs."""
    return request.getfixturevalue(kind) if kind in ("postgres", "redis") else None


class _Opened:
    @pytest.fixture
    async def queue(
        self, request: pytest.FixtureRequest, tmp_path: Path, clocks: Clocks
    ) -> AsyncIterator[JobQueueAdapter]:
        server = server_of(request.param, request)
        queue = make_queue(request.param, tmp_path, clocks, server)
        await queue.initialize()
        yield queue
        await queue.close()


_SERVED = [pytest.param(name, marks=pytest.mark.servers) for name in ("postgres", "redis")]
_WHOLE = ["memory", "sqlite", "sqlite alone", *_SERVED]
WHOLE = pytest.mark.parametrize("queue", _WHOLE, indirect=True)
EVERY = pytest.mark.parametrize("queue", [*_WHOLE, "nine methods"], indirect=True)


@EVERY
class TestNineMethods(_Opened, NineMethodRules):
    pass


@EVERY
class TestBulk(_Opened, BulkRules):
    pass


@WHOLE
class TestOddValues(_Opened, OddValueRules):
    pass


@WHOLE
class TestLeasing(_Opened, LeasingRules):
    pass


@WHOLE
class TestWanted(_Opened, WantedRules):
    pass


@WHOLE
class TestStateTable(_Opened, StateTableRules):
    pass


@WHOLE
class TestRecords(_Opened, RecordRules):
    pass


@WHOLE
class TestListing(_Opened, ListingRules):
    pass


@WHOLE
class TestHistory(_Opened, HistoryRules):
    pass
