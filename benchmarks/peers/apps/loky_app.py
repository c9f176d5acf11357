"""loky: its reusable executor, which starts again what has died."""

from __future__ import annotations

from concurrent.futures import wait

from loky import get_reusable_executor
from noop_job import done, payload

DISTRIBUTIONS = ("loky",)
SETTINGS = {
    "timeout": None,  # its documentation: else idle workers end, here between start and work
    "context": "loky",  # the default: fork and exec, which is what loky is for
}


def processes(workers: int) -> str:
    return f"{workers}, reusable"


def noop(_: dict[str, str]) -> None:
    done()


def work(workers: int, jobs: int) -> None:
    executor = get_reusable_executor(workers, timeout=SETTINGS["timeout"])
    wait([executor.submit(noop, payload()) for _ in range(jobs)])
