"""How long a start takes, and the replacement of a worker that was killed."""

from __future__ import annotations

import os
import signal
import time

from benchmarks import noop
from benchmarks.supervisors import SupervisorProcess

_PAUSE = 0.3
"""Seconds between two kills: a worker that has just started is not yet idle."""


def start_seconds(workers: int) -> float:
    """From before the supervisor's process is asked for until its last worker's `worker_ready` is
    read from its log; a small app, a queue in memory."""
    with SupervisorProcess("memory://", noop.APP, workers) as supervisor:
        ready = supervisor.ready()
        return ready[workers - 1].at - supervisor.started_at


def replacement_seconds(workers: int, kills: int) -> list[float]:
    """From SIGKILL to an idle worker until its replacement's `worker_ready` is read from the log,
    each time with all workers ready; fewer kills than make the supervisor wait before it starts
    another."""
    took = []
    with SupervisorProcess("memory://", noop.APP, workers) as supervisor:
        for count in range(kills):
            pid = supervisor.ready(workers + count)[-1].event["pid"]
            time.sleep(_PAUSE)  # noqa: TID251
            killed_at = time.monotonic()
            os.kill(pid, signal.SIGKILL)
            took.append(supervisor.ready(workers + count + 1)[-1].at - killed_at)
    return took
