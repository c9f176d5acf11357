"""One worker of the crew: where it stands, and what it holds."""

from __future__ import annotations

from enum import Enum

from portico.supervisor import wire
from portico.supervisor.assignment import Assignment
from portico.supervisor.dispatch import Load
from portico.supervisor.launch import Launcher
from portico.supervisor.process import WorkerProcess


class State(Enum):
    """Where a worker stands."""

    STARTING = "starting"
    READY = "ready"
    RETIRING = "retiring"
    GONE = "gone"


class Member:
    """One worker of the crew, with what it holds."""

    def __init__(self, number: int, slots: int, retire_after: int | None) -> None:
        self.number = number
        self.state = State.STARTING
        self.process: WorkerProcess
        self.load = Load(slots)
        self.inflight: dict[int, Assignment] = {}
        self.retire_after = retire_after
        self.successor: Member | None = None
        self.predecessor: Member | None = None
        self.recalling = False
        """It owes the answer to a recall."""
        self.condemned: str | None = None
        """Why we killed it, when we did."""
        self.boot_error: wire.Unready | None = None
        self.launcher: Launcher | None = None
        """What started it: the application as it was loaded then."""
        self.ended_at = 0.0
        """When something ended here last."""

    def __repr__(self) -> str:
        return f"<worker {self.number} {self.state.value}, {len(self.inflight)} jobs>"

    def kill(self, reason: str) -> None:
        """Kill it, for a reason that its death is then judged by."""
        self.condemned = self.condemned or reason
        self.load.open = False
        self.process.kill()

    def discredit(self, error: str) -> None:
        """Kill it for what it sent. No reason is kept: the death counts against what it runs,
        which may have sent that, and would again and again."""
        self.process.output.note("frame_invalid", error=error, pid=self.process.pid)
        self.load.open = False
        self.process.kill()
