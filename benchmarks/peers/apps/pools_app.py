"""The standard library: ProcessPoolExecutor.submit, and multiprocessing.Pool.imap in chunks.

No store: jobs and results go through pipes, and are lost with the process.
"""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor, wait

from noop_job import done, payload

_VARIANT = os.environ.get("BENCH_VARIANT", "executor")

DISTRIBUTIONS = ()
SETTINGS = {
    "executor": {"start_method": "fork"},  # the default on Linux up to 3.13
    "imap": {"start_method": "fork", "chunksize": 1},  # the default
    "imap-64": {
        "start_method": "fork",
        "chunksize": 64,
    },  # its documentation: large values can be much faster
}[_VARIANT]


def processes(workers: int) -> str:
    return f"{workers}, chunks of {SETTINGS.get('chunksize', 1)}"


def noop(_: dict[str, str]) -> None:
    done()


def work(workers: int, jobs: int) -> None:
    context = multiprocessing.get_context(SETTINGS["start_method"])
    if _VARIANT == "executor":
        with ProcessPoolExecutor(workers, mp_context=context) as executor:
            wait([executor.submit(noop, payload()) for _ in range(jobs)])
        return
    with context.Pool(workers) as pool:
        payloads = (payload() for _ in range(jobs))
        for _ in pool.imap(noop, payloads, chunksize=SETTINGS["chunksize"]):
            pass
