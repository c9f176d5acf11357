"""What the scheduler is told, and what it answers: values without behaviour.

Instants are seconds on the caller's monotonic clock. `started` is what a worker's shared page
says: the serials that its slots began last, and when.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from portico.ports.leasing import Failure, Lease
from portico.supervisor import wire
from portico.supervisor.exit import Exit
from portico.supervisor.running_page import Reached
from portico.supervisor.scheduling.assignment import Fate
from portico.supervisor.scheduling.seat import Seat

Started = Mapping[int, float]


class Joined(NamedTuple):
    """A worker is ready."""

    seat: Seat
    mourners: frozenset[str]
    """The job types whose handler has an `on_failure` of its own."""
    most_running: Mapping[str, int] = {}
    """How many jobs may run at a time, of the types that have a limit."""


class Closing(NamedTuple):
    """A worker is told to finish what it runs, and to go."""

    seat: Seat


class Said(NamedTuple):
    """Frames of one worker, in order. `started` need only be given with a `Recalled` in them."""

    seat: Seat
    messages: Sequence[wire.FromWorker]
    started: Started
    latest: int
    """The largest serial on its page: none above it has been started."""


class Unsendable(NamedTuple):
    """What of the last frame to a worker could not be sent, and why, by serial."""

    seat: Seat
    flaws: Mapping[int, str]


class Died(NamedTuple):
    """A worker is gone, and everything it wrote has been told."""

    seat: Seat
    started: Started
    exit: Exit
    killed_for: str | None
    """Why it was killed, when we did."""
    output_since: Callable[[float], str]
    """What it printed after an instant: its fault handler's stack among it."""


class Leased(NamedTuple):
    """These jobs are ours to run, in this order."""

    leases: Sequence[Lease]


class Stopped(NamedTuple):
    """These jobs are to stop: their lease is lost, or somebody cancelled them."""

    leases: Sequence[Lease]
    fate: Fate


class Bereaved(NamedTuple):
    """An attempt ended where no `on_failure` could run: another supervisor's."""

    lease: Lease
    failure: Failure


class Paused(NamedTuple):
    """Whether nothing more may begin for now."""

    paused: bool


class Draining(NamedTuple):
    """Start nothing more; what runs has this many seconds. A shorter grace replaces a longer."""

    grace: float


class Looked(NamedTuple):
    """What the pages of all workers that hold anything say, by seat key."""

    started: Mapping[int, Started]
    reached: Mapping[int, Reached | None] = {}
    """How far those have come from whom something was withdrawn; `None`: that is not known yet."""


class Weighed(NamedTuple):
    """Bytes of memory: what workers keep resident, by seat key, and what the machine has left."""

    resident: Mapping[int, int]
    started: Mapping[int, Started]
    available: int | None
    """`None` where nobody asked."""
    families: Mapping[int, int] = MappingProxyType({})
    """What the processes that workers have started hold of their own, by seat key."""


class Turn(NamedTuple):
    """Everything that came together has been told: assign what can be assigned."""


Event = (
    Joined
    | Closing
    | Said
    | Unsendable
    | Died
    | Leased
    | Stopped
    | Bereaved
    | Paused
    | Draining
    | Looked
    | Weighed
    | Turn
)


class Send(NamedTuple):
    """Write this frame to the worker."""

    seat: Seat
    message: wire.ToWorker


class Withdraw(NamedTuple):
    """Write to the worker's page that it is to start nothing up to this serial any more."""

    seat: Seat
    serial: int


class Kill(NamedTuple):
    """Kill the worker, for a reason that its death is then judged by."""

    seat: Seat
    reason: str


class Discredit(NamedTuple):
    """Kill the worker for what it sent. Its death counts against what it runs, which may have
    sent that, and would again and again."""

    seat: Seat
    flaw: str


class ShowStack(NamedTuple):
    """Have the worker print its stack: it is about to be killed."""

    seat: Seat


class Recycle(NamedTuple):
    """Replace the worker; it goes when its successor is ready."""

    seat: Seat
    reason: str
    leaving: bool = False
    """It goes by itself, and takes no more jobs until then."""


class Ask(NamedTuple):
    """A handler asks the store for something."""

    seat: Seat
    request: wire.Request


class Note(NamedTuple):
    """Something to be logged, about a worker or about nobody in particular."""

    level: str
    event: str
    seat: Seat | None
    facts: Mapping[str, object]


Command = Send | Withdraw | Kill | Discredit | ShowStack | Recycle | Ask | Note


def condemn(seat: Seat, reason: str) -> list[Command]:
    """Have a worker killed, once, and give it nothing more."""
    if seat.condemned:
        return []
    seat.condemned, seat.load.open = True, False
    return [Kill(seat, reason)]


def recall(seats: Iterable[Seat]) -> list[Command]:
    """Take from workers what they have not started: by their page, which is heeded before each
    start, and by a frame, whose answer empties their memory of it and often comes first."""
    asked: list[Command] = []
    for seat in seats:
        if (last := max(seat.inflight, default=0)) > seat.withdrawn:
            seat.withdrawn, seat.withdrawing = last, True
            asked.append(Withdraw(seat, last))
            if not seat.recalling:
                seat.recalling = True
                asked.append(Send(seat, wire.Recall()))
    return asked


def cancel(seats: Iterable[Seat]) -> list[Command]:
    """Tell workers to stop all that they run, which nobody asked for but a shutdown."""
    told: list[Command] = []
    for seat in seats:
        seat.told_to_stop = True
        told += [Send(seat, wire.Cancel(serial, requested=False)) for serial in seat.inflight]
    return told
