"""Jobs that break whatever runs them cannot stop the pool, nor the other jobs."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any

import pytest

from portico.ports.job import JobStatus
from portico.ports.job_queue import JobQueueAdapter
from tests.security.conftest import APP
from tests.support.damage import UNCHECKED
from tests.support.jobs import ended, make_job
from tests.support.supervisors import Place
from tests.support.waiting import wait_until

pytestmark = pytest.mark.security("S28")

POISON = {
    "segfault": "import ctypes; ctypes.string_at(0)",
    "killed by itself": "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    "gone without a word": "import os; os._exit(0)",
    "closes everything": "import os; os.closerange(0, 1024)",
    "leaves": "raise SystemExit(0)",
    "interrupts": "raise KeyboardInterrupt",
    "stops the loop": "import asyncio; asyncio.get_running_loop().stop()",
    "closes the loop": "import asyncio; asyncio.get_running_loop().close()",
    "never yields": "while True: pass",
    "recurses": "def f(): f()\nf()",
    "prints without end": "import sys\nwhile True: sys.stdout.write('x' * 65536)",
    "stops itself": "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)",
    "kills its group": "import os, signal; os.killpg(0, signal.SIGKILL)",
    "an error without words": ("class E(Exception):\n    def __str__(self): raise self\nraise E"),
}


@pytest.mark.slow
@pytest.mark.parametrize("concurrency", ["1", "4"])
async def test_every_healthy_job_completes_once_among_jobs_of_every_poison(
    here: Place, queue: JobQueueAdapter, concurrency: str
) -> None:
    poison = {}
    for name, code in POISON.items():
        job = make_job(job_type="test.python", payload={"code": code}, max_retries=1)
        poison[name] = (await queue.enqueue(job)).id
    healthy = [(await queue.enqueue(make_job(job_type="test.fine"))).id for _ in range(50)]
    supervisor = here.supervisor(
        "--job-timeout", "1", "--kill-grace", "100ms", "--concurrency", concurrency, app=APP
    )
    for job_id in healthy:
        assert (await ended(queue, job_id, 60)).status is JobStatus.COMPLETED
    for name, job_id in poison.items():
        dead = await ended(queue, job_id, 60)
        assert dead.status in (JobStatus.DEAD_LETTER, JobStatus.COMPLETED, JobStatus.FAILED), name
        record = await queue.inspect(job_id)
        assert record is not None
        assert record.accounted, name
    last = await queue.enqueue(make_job(job_type="test.fine"))
    assert (await ended(queue, last.id, 30)).status is JobStatus.COMPLETED
    assert supervisor.process.poll() is None
    await wait_until(lambda: len(supervisor.workers()) == 2, 30)


def damage(here: Place, job_id: bytes, column: str, value: Any) -> None:
    with closing(sqlite3.connect(here.folder / "jobs.db")) as database, database:
        database.execute(UNCHECKED)
        database.execute(f"UPDATE portico_jobs SET {column} = ? WHERE id = ?", (value, job_id))
    database.close()


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("payload", b"\xff\xfe"),
        ("payload", b"[1, 2]"),
        ("payload", b'{"x":"' + b"x" * (3 * 2**20) + b'"}'),
        ("payload", b'{"x":' + b"[" * 50_000 + b"]" * 50_000 + b"}"),
        ("metadata", b"null"),
        ("job_type", "\x00"),
        ("job_type", "t" * 100_000),
        ("created_by", b"short"),
    ],
    ids=["no text", "no object", "too large", "too deep", "no metadata", "no type", "long type",
         "no user"],
)  # fmt: skip
async def test_a_stored_job_that_nothing_can_read_costs_no_worker_and_no_other_job(
    here: Place, queue: JobQueueAdapter, column: str, value: Any
) -> None:
    """Written past the rules of admission, straight into the file."""
    damaged = await queue.enqueue(make_job(job_type="test.fine", priority=9))
    damage(here, damaged.id.bytes, column, value)
    healthy = [(await queue.enqueue(make_job(job_type="test.fine"))).id for _ in range(20)]
    supervisor = here.supervisor("--workers", "1", app=APP)
    for job_id in healthy:
        assert (await ended(queue, job_id)).status is JobStatus.COMPLETED
    assert not supervisor.events("worker_exited")
    assert supervisor.process.poll() is None
