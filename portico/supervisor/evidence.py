"""What is known of an attempt beside its error: measured in the worker that ran it, or, where that
one died, taken from what the system and its last output say."""

from __future__ import annotations

import resource
import sys
import time

from portico.ports.leasing import Evidence
from portico.supervisor.scheduling.last_words import MAX_OUTPUT

_RSS_UNIT = 1 if sys.platform == "darwin" else 1024


def of_living(run_seconds: float) -> Evidence:
    """What this worker can say of an attempt that has ended in it."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return Evidence(
        run_seconds=run_seconds,
        worker_cpu_seconds=time.process_time(),
        worker_peak_rss=peak_rss(usage),
    )


def claimed(evidence: Evidence | None, pid: int, output: str) -> Evidence:
    """What a worker says of itself, with what its supervisor knows better."""
    said = evidence or Evidence()
    return Evidence(
        pid=pid,
        run_seconds=said.run_seconds,
        worker_cpu_seconds=said.worker_cpu_seconds,
        worker_peak_rss=said.worker_peak_rss,
        output=output[-MAX_OUTPUT:],
    )


def peak_rss(usage: resource.struct_rusage) -> int:
    """The largest resident size in bytes."""
    return usage.ru_maxrss * _RSS_UNIT
