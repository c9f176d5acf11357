"""What comes back from workers by their pages, whatever they do: pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from portico.supervisor.running_page import Reached
from portico.supervisor.scheduling.seat import Seat


def unstarted(
    seats: Collection[Seat], seen: Mapping[int, Reached | None]
) -> list[tuple[Seat, list[int]]]:
    """What was withdrawn from workers before they came to it, by serial: they will not start that.

    What they had come to is left to them: they run that, have run it, or turn it down.

    Args:
        seats: the workers.
        seen: how far those had come from whom something was withdrawn, by seat key, where that is
            known by now.
    """
    found = []
    for seat in seats:
        if (reached := seen.get(seat.key)) is not None:
            seat.withdrawing = False
            found.append((seat, _beyond(seat, reached)))
    return found


def _beyond(seat: Seat, reached: Reached) -> list[int]:
    return [
        serial
        for serial, held in seat.inflight.items()
        if (reached.job if held.failure is None else reached.hook) < serial <= seat.withdrawn
        and held.begun is None
    ]
