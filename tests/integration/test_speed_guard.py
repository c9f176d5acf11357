"""Portico has not become several times slower: two ratios, each of one run.

No rate is compared with a number: a raw limit is measured beside it, on the same machine in the
same seconds. `benchmarks/floors.toml` has what is asked for.
"""

from __future__ import annotations

import time

import pytest
from click.testing import CliRunner

from benchmarks.commands.guard import guard
from benchmarks.guard import WATCHED, floor, look
from portico.adapters.job_queue import MemoryJobQueueAdapter

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", sorted(WATCHED))
def test_throughput_is_a_fair_part_of_the_raw_limit(name, tmp_path):
    seen = look(name, tmp_path)

    assert seen.ratio >= floor(name), (
        f"{seen.rate:,.0f} jobs/s are {seen.ratio:.3f} of {WATCHED[name].limit.name}"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_pool_that_has_become_slow_is_noticed(monkeypatch, tmp_path):
    exchange = MemoryJobQueueAdapter.exchange

    async def slow(self, settlements, *asked):
        time.sleep(0.0003 * len(settlements))
        return await exchange(self, settlements, *asked)

    monkeypatch.setattr(MemoryJobQueueAdapter, "exchange", slow)

    assert look("memory", tmp_path, runs=1).ratio < floor("memory")


def test_a_command_fails_when_a_median_is_below_the_floor(monkeypatch, tmp_path):
    floors = tmp_path / "floors.toml"
    floors.write_text("[alone]\nmemory = 0.0\nsqlite = 9.0\n", encoding="utf-8")
    monkeypatch.setattr("benchmarks.guard.FLOORS", floors)

    done = CliRunner().invoke(guard, ["--runs", "1", "--directory", str(tmp_path)])

    assert done.exit_code == 1
    assert "slower than it should be: sqlite\n" in done.output
