"""Jobs that no frame holds: a number beyond 64 bits, a text that is none. A store may be written to
by others, and what is wrong with one job is not to end the supervisor of all."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from portico.supervisor import wire

UNSENDABLE = (OverflowError, ValueError, TypeError, msgspec.MsgspecError)
"""What putting such a job into a frame raises."""


def sorted_out(message: wire.ToWorker) -> tuple[list[wire.ToWorker], Mapping[int, str]]:
    """What of a message can be sent, in frames of one job each, and what is wrong with the others,
    by serial.

    Raises:
        OverflowError, ValueError, TypeError, MsgspecError: it is no message of jobs.
    """
    parts: list[wire.ToWorker] = [message]
    if isinstance(message, wire.Run):
        jobs = enumerate(message.leases, message.first)
        parts = [wire.Run(serial, [lease]) for serial, lease in jobs]
    whole: list[wire.ToWorker] = []
    flaws: dict[int, str] = {}
    for part in parts:
        try:
            wire.frame(part)
        except UNSENDABLE as error:
            if not isinstance(part, wire.Run | wire.Mourn):
                raise
            serial = part.first if isinstance(part, wire.Run) else part.serial
            flaws[serial] = f"{type(error).__name__}: {error}"
        else:
            whole.append(part)
    return whole, flaws
