"""How long nobody asks a store that was away, and what is said of it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from portico.exceptions import QueueConnectionError
from portico.kits.job import outage as outages
from portico.kits.job.outage import Outage


class Recorder:
    """Stands in for the logger, and keeps the names of the events, and what they say."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.facts: list[dict[str, Any]] = []

    def __getattr__(self, _level: str) -> Any:
        def note(event: str, **facts: Any) -> None:
            self.events.append(event)
            self.facts.append(facts)

        return note


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()
    monkeypatch.setattr(outages, "logger", recorder)
    return recorder


def error(reason: str) -> QueueConnectionError:
    return QueueConnectionError(reason, {"reason": reason})


async def test_no_rest_is_longer_than_a_second_however_long_the_outage_lasts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever rests while another is back already would lose its leases to that one."""
    rests: list[float] = []
    timeout = asyncio.timeout

    def at_once(seconds: float) -> asyncio.Timeout:
        rests.append(seconds)
        return timeout(0)

    monkeypatch.setattr(asyncio, "timeout", at_once)
    outage = Outage(lambda: None, lambda: 0.0)
    outage.begin(error("locked"))
    for _ in range(50):
        await outage.rest(asyncio.Event(), 1.0)
    assert 0.1 <= rests[0] <= 0.2
    assert 0.5 <= max(rests) <= 1.0


def test_an_outage_is_told_once_and_again_when_its_reason_changes(log: Recorder) -> None:
    outage = Outage(lambda: None, lambda: 0.0)
    for reason in ("locked", "locked", "full", "full"):
        outage.begin(error(reason))
    outage.end(0)
    outage.begin(error("full"))
    assert log.events == ["store_unreachable", "store_full", "store_back", "store_full"]


def test_a_long_outage_is_told_again_at_a_slow_pace_with_how_many_results_wait(
    log: Recorder,
) -> None:
    now, waiting = 1000.0, 3
    outage = Outage(lambda: None, lambda: now, lambda: waiting)
    for second in range(90):
        now, waiting = 1000.0 + second, 3 + second
        outage.begin(error("unreachable"))
    assert log.events == ["store_unreachable"] * 3
    assert [facts["results_waiting"] for facts in log.facts] == [3, 33, 63]
    assert [facts["seconds"] for facts in log.facts] == [0, 30, 60]
