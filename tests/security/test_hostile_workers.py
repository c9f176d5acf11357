"""Whatever a worker writes, its supervisor stays small, its loop quick, and other jobs end well.

`python -m benchmarks hostile --minutes 60` does the same for an hour, from any seed.
"""

from __future__ import annotations

import sys
from itertools import islice
from pathlib import Path

import pytest

from benchmarks.hostile.attacks import ATTACKS, plan
from benchmarks.hostile.run import Round, target

pytestmark = [
    pytest.mark.security("S5"),
    pytest.mark.security("S28"),
    pytest.mark.skipif(sys.platform != "linux", reason="what a process weighs is read from /proc"),
]

SEED = 12
FOUND = [
    ("flood", 4079353790),  # says that it was released and that something goes on, each time anew
    ("flood", 1812976885),  # lies, each of which had the whole machine looked through
    ("requests", 1009198888),  # large inserts
    ("family", 1807387937),  # killed amid a hundred processes in sessions of their own
]
"""What was wrong once."""


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_no_attack_makes_a_supervisor_large_or_its_loop_slow_or_harms_another_job(
    tmp_path: Path,
) -> None:
    attacks = [*islice(plan(SEED), len(ATTACKS)), *FOUND]
    rounds: list[Round] = []
    async with target(tmp_path) as found:
        for name, seed in attacks:
            rounds.append(await found.attack(name, seed))
            assert rounds[-1].well, (rounds, (tmp_path / "log").read_text()[-20_000:])
    assert {one.attack for one in rounds} == {*ATTACKS}
