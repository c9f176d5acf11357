"""Jobs that wait behind one that holds the GIL: they run at once where a worker is idle."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from portico.ports.job_executor import Completed, Outcome
from tests.security.test_one_job_per_worker import APP, lease, run
from tests.support.pools import pool_of_processes
from tests.support.waiting import wait_until

LONG = 3.0


@pytest.mark.parametrize("silent", [False, True], ids=["held", "hostile"])
async def test_what_waits_behind_a_held_gil_runs_in_the_idle_worker_each_once(
    silent: bool, tmp_path: Path
) -> None:
    ledger = tmp_path / "ledger"
    async with pool_of_processes(APP, workers=2) as (pool, crew):
        await run(pool, [lease("hoard.turn", ledger=str(ledger)) for _ in range(40)])
        ledger.unlink()
        long = lease("hoard.turn", ledger=str(ledger), seconds=LONG, silent=silent)
        short = [lease("hoard.turn", ledger=str(ledger)) for _ in range(60)]
        outcomes: list[Outcome] = []

        def ended(count: int) -> bool:
            outcomes.extend(pool.finished())
            return len(outcomes) >= count

        pool.submit([long, *short])
        await wait_until(lambda: ended(len(short)))
        assert long.id not in {outcome.lease.id for outcome in outcomes}, "they have waited for it"
        await wait_until(lambda: ended(len(short) + 1))
        assert all(isinstance(outcome.verdict, Completed) for outcome in outcomes)
        assert len(crew.members) == 2
    starts = Counter(line.split()[0] for line in ledger.read_text().splitlines())
    assert set(starts.values()) == {1}
    assert len(starts) == 61
