from __future__ import annotations

import asyncio
from time import monotonic
from typing import Any

import pytest

from portico.exceptions import DatabaseError
from portico.kits.job.journal import Journal
from portico.kits.job.lease_keeper import LeaseKeeper
from portico.kits.job.outage import Outage
from tests.support.waiting import wait_until

LEASE = 0.4


class Store:
    """Notes when it was asked to recover."""

    def __init__(self) -> None:
        self.asked_at: list[float] = []

    async def recover(self, limit: int) -> list[Any]:
        self.asked_at.append(monotonic())
        return []


async def test_a_process_that_was_stopped_recovers_nothing_for_a_lease_length() -> None:
    """It may have been stopped with the store's lock in its hands: nobody could renew then."""
    stopped_for = 0.0

    def clock() -> float:
        return monotonic() + stopped_for

    store: Any = Store()
    nobody: Any = None
    keeper = LeaseKeeper(
        store, nobody, Journal(), Outage(lambda: None, clock), lease_seconds=LEASE, clock=clock
    )
    keeping = asyncio.create_task(keeper.keep_recovering())
    try:
        await wait_until(lambda: store.asked_at)
        stopped_for, went_on_at = 10.0, monotonic()
        before = len(store.asked_at)
        await wait_until(lambda: len(store.asked_at) > before)
        assert store.asked_at[before] - went_on_at >= LEASE
    finally:
        keeping.cancel()


class Refusing:
    """Refuses the first time, because of what it holds."""

    def __init__(self) -> None:
        self.asked = 0

    async def recover(self, limit: int) -> list[Any]:
        self.asked += 1
        if self.asked == 1:
            raise DatabaseError("index row requires 32032 bytes")
        return []


async def test_a_store_that_refuses_to_recover_ends_nobody_and_is_asked_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store: Any = Refusing()
    nobody: Any = None
    outage = Outage(lambda: None, monotonic)
    keeper = LeaseKeeper(store, nobody, Journal(), outage, lease_seconds=LEASE)
    await keeper.recover()
    await keeper.recover()
    assert store.asked == 2
    assert "recovery_refused" in caplog.text
    assert "32032 bytes" in caplog.text
