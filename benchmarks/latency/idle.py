"""What a supervisor and its workers use of the processors while there is nothing to do."""

from __future__ import annotations

import time
from contextlib import suppress

import psutil

from benchmarks import noop
from benchmarks.supervisors import SupervisorProcess, cpu_seconds

_SETTLE = 2.0
"""Seconds after the last worker got ready that are not measured."""


def idle_share(queue_url: str, workers: int, seconds: float) -> float:
    """The share of one core that the processes of an idle supervisor use together."""
    with SupervisorProcess(queue_url, noop.APP, workers) as supervisor:
        supervisor.ready()
        time.sleep(_SETTLE)  # noqa: TID251 - nothing is to happen
        begin, before = time.monotonic(), _used(supervisor.pid)
        time.sleep(seconds)  # noqa: TID251
        after, elapsed = _used(supervisor.pid), time.monotonic() - begin
    return sum(used - before.get(pid, 0.0) for pid, used in after.items()) / elapsed


def _used(supervisor: int) -> dict[int, float]:
    family = [supervisor, *(c.pid for c in psutil.Process(supervisor).children(recursive=True))]
    found = {}
    for pid in family:
        with suppress(OSError, psutil.NoSuchProcess):
            found[pid] = cpu_seconds(pid)
    return found
