"""What runs in a worker, and since when, judged by what its supervisor saw: pure.

A page is written by the worker, and so by what runs there: its words may be changed, put forward
or wiped. The first sight of a job on it counts, and stays: nothing that is written later makes the
job younger, or lets it go on unseen.
"""

from __future__ import annotations

from portico.supervisor.scheduling.events import Started
from portico.supervisor.scheduling.seat import Seat


def take_note(seat: Seat, page: Started, now: float) -> None:
    """Remember what a worker runs that was not seen running before.

    Args:
        seat: the worker.
        page: what it says of its starts.
        now: when it was looked at.
    """
    held = seat.inflight
    for serial, said in page.items():
        if serial in held and held[serial].begun is None:
            # It was not started before it was sent, nor after it was seen.
            held[serial].begun = min(now, max(held[serial].since, said))


def running(seat: Seat, page: Started) -> dict[int, float]:
    """What runs in a worker, and since when, by serial, in the order in which it was given.

    What was seen and stands there no more has ended, and its end is on its way; unless nothing
    stands there in its place.
    """
    seen = {serial: one.begun for serial, one in seat.inflight.items() if one.begun is not None}
    named = {serial: since for serial, since in seen.items() if serial in page}
    return named or seen


def begun(seat: Seat, page: Started, now: float) -> dict[int, float]:
    """What a worker has begun of all that it holds, and when: to be asked when it is dead, or when
    it gives something back. What had ended by then has been told."""
    take_note(seat, page, now)
    return {serial: one.begun for serial, one in seat.inflight.items() if one.begun is not None}
