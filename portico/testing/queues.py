"""A queue in memory, by a clock of the test's."""

from __future__ import annotations

from portico.adapters.job_queue import MemoryJobQueueAdapter
from portico.ports.job_queue import JobQueueAdapter
from portico.testing.clock import FakeClock


def memory_queue(clock: FakeClock | None = None, *, lease_seconds: float = 60.0) -> JobQueueAdapter:
    """Build a queue that needs no `initialize`, and lives as long as the object.

    Args:
        clock: what it takes the time from; the machine's clocks when left out.
        lease_seconds: how long a lease holds without renewal.
    """
    if clock is None:
        return MemoryJobQueueAdapter(lease_seconds)
    return MemoryJobQueueAdapter(lease_seconds, clock=clock.wall, monotonic=clock.monotonic)
