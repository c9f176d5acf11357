"""Jobs for one worker, cut into frames of bounded size. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from portico.ports.job_executor import Outcome, Quarantined
from portico.ports.leasing import Failure, Lease
from portico.supervisor import wire
from portico.supervisor.scheduling.assignment import Assignment

_FRAME_BYTES = 1024 * 1024


def portions(assignments: Sequence[Assignment]) -> list[Sequence[Assignment]]:
    """Cut them where a frame has enough bytes."""
    sizes = [len(one.lease.payload) + len(one.lease.metadata) for one in assignments]
    if sum(sizes) <= _FRAME_BYTES:
        return [assignments]
    cut, first, size = [], 0, 0
    for number, bytes_of_one in enumerate(sizes, start=1):
        size += bytes_of_one
        if size > _FRAME_BYTES or number == len(sizes):
            cut.append(assignments[first:number])
            first, size = number, 0
    return cut


def within_frames(leases: Sequence[Lease], report: Callable[[Outcome], None]) -> list[Lease]:
    """These jobs but for those that no frame holds, which are reported: each worker that was sent
    one would die of it."""
    fitting = []
    for lease in leases:
        size = len(lease.payload) + len(lease.metadata)
        if size <= wire.MAX_BODY:
            fitting.append(lease)
            continue
        said = f"the stored job has {size:,} bytes, too many to be run"
        report(Outcome(lease, Quarantined(Failure("PayloadTooLarge", said))))
    return fitting
