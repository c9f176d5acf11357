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
from portico.ports.job import JobStatus
from portico.ports.job_queue import JobQueueAdapter
from tests.security.conftest import APP
from tests.support.jobs import ended, make_job
from tests.support.supervisors import Place

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
    ("labels", 3172639729),  # killed in the midst of a piece of output
    ("log", 3203391591),  # a list where a number should be, in a line of the log
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


DEAF = """
import os, uuid, msgspec
os.dup(200)
os.dup2(os.pipe()[0], 200)
body = msgspec.msgpack.encode(uuid.UUID(job.payload["known"]))
asked = msgspec.msgpack.encode(["request", 1, "get_result", body])
while True:
    os.write(201, 100 * (len(asked).to_bytes(4, "little") + asked))
"""
"""Asks for a large result without end, and reads no answer."""


async def test_a_worker_that_asks_without_reading_the_answers_is_killed_and_costs_a_few_of_them(
    here: Place, queue: JobQueueAdapter
) -> None:
    known = await queue.enqueue(make_job(job_type="test.fine", payload={"x": "x" * 500_000}))
    tuning = "supervisor.outflow:MOST=4_000_000 supervisor.outflow:PATIENCE=0.3"
    supervisor = here.supervisor(app=APP, TUNING=tuning)
    assert (await ended(queue, known.id)).status is JobStatus.COMPLETED
    before = memory(supervisor.pid)
    payload = {"code": DEAF, "known": str(known.id)}
    deaf = await queue.enqueue(make_job(job_type="test.python", payload=payload, max_retries=0))
    others = [await queue.enqueue(make_job(job_type="test.fine")) for _ in range(20)]
    told = await supervisor.event("answers_unread", job_id=str(deaf.id))
    assert told["bytes"] > 4_000_000
    assert (await ended(queue, deaf.id)).status is JobStatus.DEAD_LETTER
    for other in others:
        assert (await ended(queue, other.id)).status is JobStatus.COMPLETED
    assert memory(supervisor.pid) - before < 40 * 2**20


def memory(pid: int) -> int:
    """The most bytes that a process has had so far."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
