"""A thousand workers die amid batches of hundreds of tiny jobs: who is charged, and who waits."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles
from time import monotonic_ns
from uuid import uuid4

import psutil
import pytest

from portico.ports.job_executor import Completed, Crashed
from portico.ports.leasing import Lease
from portico.supervisor.crew import Crew
from portico.supervisor.member import State
from portico.supervisor.pool import ProcessPool
from portico.supervisor.scheduling import confinement
from tests.support.blame_app import RECORD
from tests.support.pools import pool_of_processes
from tests.support.waiting import wait_until

WORKERS = 4
TINY = 800
"""Jobs in a batch, among them a killer for each worker."""
DEATHS = 1000
WARM = 10
"""Batches after which memory has reached its level."""


@pytest.fixture(autouse=True)
def _never_confined(monkeypatch: pytest.MonkeyPatch) -> None:
    """All jobs are of one type: it would soon run in one worker."""
    monkeypatch.setattr(confinement, "FEWEST", 2 * DEATHS)


def lease(*, killer: bool) -> Lease:
    return Lease(
        uuid4().bytes, uuid4().bytes, 1, "default", "blame.tiny",
        b'{"kill":true}' if killer else b"{}", 0, 3, 0, None, 0, 0, None, b"{}", None, False,
    )  # fmt: skip


def batch(size: int, killers: int, choose: random.Random) -> tuple[list[Lease], set[int]]:
    """Leases, and where the killers are: one in every part of the batch, never the last."""
    part = size // killers
    places = {n * part + choose.randrange(part - 1) for n in range(killers)}
    return [lease(killer=n in places) for n in range(size)], places


@dataclass
class Trial:
    """A pool at work, the ledger of its jobs, and what was measured in milliseconds."""

    pool: ProcessPool
    crew: Crew
    ledger: Path
    seen: int = 0
    next_starts: list[float] = field(default_factory=list)
    """From a death to the start of the job that had been next in that worker."""
    whole_again: list[float] = field(default_factory=list)
    """From the first death in a batch to a whole pool."""

    async def run(self, leases: list[Lease], killers: set[int]) -> None:
        """Run a batch to its end, and hold what was reported against what was run."""
        verdicts: dict[bytes, object] = {}

        def over() -> bool:
            for ended, verdict, *_ in self.pool.finished():
                assert ended.token not in verdicts, "it was reported twice"
                verdicts[ended.token] = verdict
            return len(verdicts) == len(leases)

        self.pool.submit(leases)
        await wait_until(over)
        await wait_until(self.whole)
        whole_at = monotonic_ns()
        starts = self.starts()
        assert len(starts) == len(leases), "not every job was started exactly once"
        kills = {place: starts[leases[place].id] for place in killers}
        for place, given in enumerate(leases):
            expected = Crashed if place in killers else Completed
            assert isinstance(verdicts[given.token], expected), f"{place}, killers at {killers}"
        if killers:
            last = max(starts.values())
            assert last - max(kills.values()) < 5e9, "a job waited for seconds"
            self.whole_again.append((whole_at - min(kills.values())) / 1e6)
        for place, died_at in kills.items():
            waited = starts[leases[place + 1].id] - died_at
            if waited > 0:  # else it had been given to another worker
                self.next_starts.append(waited / 1e6)

    def whole(self) -> bool:
        return [m.state for m in self.crew.members] == [State.READY] * WORKERS

    def starts(self) -> dict[bytes, int]:
        """When the jobs of this batch were started; fails when one was started twice."""
        with self.ledger.open("rb") as ledger:
            ledger.seek(self.seen)
            data = ledger.read()
        self.seen += len(data)
        found: dict[bytes, int] = {}
        for job, instant in RECORD.iter_unpack(data):
            assert job not in found, "it was run again"
            found[job] = instant
        return found


def footprint() -> tuple[int, int, int, int]:
    """Descriptors, threads, tasks, and dead children that nobody has collected."""
    process = psutil.Process()
    zombies = sum(child.status() == psutil.STATUS_ZOMBIE for child in process.children())
    return process.num_fds(), process.num_threads(), len(asyncio.all_tasks()), zombies


def resident() -> int:
    return psutil.Process().memory_info().rss


async def test_nothing_about_a_dead_worker_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEDGER", str(tmp_path / "ledger"))
    async with pool_of_processes("tests.support.blame_app:app", workers=WORKERS) as (pool, crew):
        trial = Trial(pool, crew, tmp_path / "ledger")
        await wait_until(trial.whole)
        first = {weakref.ref(member) for member in crew.members}
        while any(member() in crew.members for member in first):
            await trial.run(*batch(TINY, WORKERS, random.Random(1)))

        def forgotten() -> bool:
            gc.collect()
            return all(member() is None for member in first)

        await wait_until(forgotten)


@pytest.mark.slow
@pytest.mark.fault("A1")
@pytest.mark.fault("A10")
@pytest.mark.fault("A24")
@pytest.mark.fault("F4")
async def test_a_thousand_deaths_amid_tiny_jobs_are_charged_to_the_killers_and_leave_nothing_behind(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    record_property: Callable[[str, object], None],
) -> None:
    monkeypatch.setenv("LEDGER", str(tmp_path / "ledger"))
    caplog.set_level("CRITICAL")  # a thousand lines, kept by pytest, would count as our memory
    choose = random.Random(20261124)
    app = "tests.support.blame_app:app"
    async with pool_of_processes(app, workers=WORKERS, log_level="CRITICAL") as (pool, crew):
        trial = Trial(pool, crew, tmp_path / "ledger")
        await wait_until(trial.whole)
        await trial.run([lease(killer=False) for _ in range(TINY)], set())  # how long they take
        settled = footprint()
        for number in range(DEATHS // WORKERS):
            await trial.run(*batch(TINY, WORKERS, choose))
            if number == WARM:
                level = resident()
        await wait_until(lambda: footprint() == settled)
        assert resident() < level * 1.05
    assert len(trial.next_starts) > DEATHS / 2
    for name, values in (("next_start", trial.next_starts), ("whole_pool", trial.whole_again)):
        cuts = quantiles(values, n=100)
        assert cuts[98] < 1000
        text = f"p50 {cuts[49]:.1f} ms, p99 {cuts[98]:.1f} ms, {len(values)} samples"
        record_property(name, text)
        print(f"{name} after a death: {text}")
    assert os.path.getsize(tmp_path / "ledger") == (DEATHS // WORKERS + 1) * TINY * RECORD.size
