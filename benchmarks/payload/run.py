"""Large jobs through the pool, and what its supervisor holds of them."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from benchmarks.composition import composed
from benchmarks.payload import work
from benchmarks.supervisors import SupervisorProcess
from benchmarks.watch import OnDone, Watch, nobody, run_until
from portico import compose
from portico.ports.leasing import Settlement

_SETTLE = 0.5
_LOOK = 0.1


async def bytes_per_second(workers: int, jobs: int, on_done: OnDone = nobody) -> float:
    """Payload and result bytes, from the first lease to the last completion.

    The store is in memory and is given no result to keep: only its supervisor is measured.
    """
    queue = compose.job_queue("memory://")
    await queue.initialize()
    await queue.insert(work.drafts(jobs))
    with Watch(queue, jobs, on_done, keep=_without_result) as watch:
        async with composed(queue, workers, work.APP) as pipeline:
            begin = time.monotonic()
            await run_until(pipeline, watch.complete)
    return jobs * work.JOB_BYTES / (watch.completed_at - begin)


def _without_result(settlement: Settlement) -> Settlement:
    if settlement.result is not None and len(settlement.result) != work.DOCUMENT_BYTES:
        raise RuntimeError(f"a result of {len(settlement.result)} bytes came back")
    return settlement._replace(result=b"{}")


async def memory_growth(folder: Path, workers: int, jobs: int) -> int:
    """Bytes by which a supervisor on an SQLite file exceeds its idle size at the worst, while so
    many large jobs wait at once and all have run."""
    url = f"sqlite:///{folder}/payload.db"
    queue = compose.job_queue(url)
    await queue.initialize()
    try:
        with SupervisorProcess(url, work.APP, workers) as supervisor:
            await asyncio.to_thread(supervisor.ready)
            await asyncio.sleep(_SETTLE)
            before = _status(supervisor.pid, "VmRSS")
            await queue.insert(work.drafts(jobs))
            while (  # noqa: ASYNC110 - nothing tells when all have run
                await queue.get_queue_stats("default")
            ).completed_count < jobs:
                await asyncio.sleep(_LOOK)
            return _status(supervisor.pid, "VmHWM") - before
    finally:
        await queue.close()


def _status(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value.removesuffix("kB")) * 1024
    raise ValueError(f"the system does not tell {name}")
