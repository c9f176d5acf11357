"""One worker of the crew: where it stands, and the process behind it."""

from __future__ import annotations

from enum import Enum

from portico.supervisor import wire
from portico.supervisor.launch import Launcher
from portico.supervisor.process import WorkerProcess
from portico.supervisor.scheduling.seat import Seat


class State(Enum):
    """Where a worker stands."""

    STARTING = "starting"
    READY = "ready"
    RETIRING = "retiring"
    GONE = "gone"


class Member:
    """One worker of the crew, from before its start to its death."""

    def __init__(self, number: int, seat: Seat) -> None:
        self.number = number
        self.seat = seat
        """What it holds, as the scheduler has it."""
        self.state = State.STARTING
        self.process: WorkerProcess
        self.successor: Member | None = None
        self.predecessor: Member | None = None
        self.condemned: str | None = None
        """Why we killed it, when we did."""
        self.leaving = False
        """It said that it goes by itself."""
        self.boot_error: wire.Unready | None = None
        self.launcher: Launcher | None = None
        """What started it: the application as it was loaded then."""

    def __repr__(self) -> str:
        return f"<worker {self.number} {self.state.value}, {len(self.seat.inflight)} jobs>"

    def kill(self, reason: str) -> None:
        """Kill it, for a reason that its death is then judged by."""
        self.condemned = self.condemned or reason
        self.process.kill()

    def discredit(self, error: str) -> None:
        """Kill it for what it sent. No reason is kept: the death counts against what it runs,
        which may have sent that, and would again and again."""
        self.process.output.note("frame_invalid", error=error, pid=self.process.pid)
        self.process.kill()
