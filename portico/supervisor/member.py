"""One worker of the crew: where it stands, and the process behind it."""

from __future__ import annotations

from enum import Enum
from itertools import chain, islice
from time import monotonic
from uuid import UUID

import psutil

from portico.ports.leasing import Lease
from portico.supervisor import offspring, wire
from portico.supervisor.launch import Launcher
from portico.supervisor.printing import NOBODY, Job
from portico.supervisor.process import WorkerProcess
from portico.supervisor.scheduling import sightings
from portico.supervisor.scheduling.seat import Seat

_MOST_HEARD_OF = 200
_MOST_LATELY = 200
"""Attempts that are looked at for each line that is of none that it has."""
_NAMED = 10
"""Processes of which a line of the log says what they are."""


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
        self._heard_of: dict[tuple[str, object], Job] = {}
        """Attempts that it had when it said something of them: threads may go on talking."""
        self.launcher: Launcher | None = None
        """What started it: the application as it was loaded then."""

    def __repr__(self) -> str:
        return f"<worker {self.number} {self.state.value}, {len(self.seat.inflight)} jobs>"

    def follow(self, predecessor: Member | None) -> None:
        """Replace another one, if it is to, which goes when this is ready."""
        self.predecessor = predecessor
        if predecessor is not None:
            predecessor.successor = self

    def runs(self) -> Job:
        """The job that it runs; nobody's, where that is none or more than one."""
        inflight = self.seat.inflight
        leases = [inflight[s].lease for s in self.process.page.started() if s in inflight]
        return _told(leases[0]) if len(leases) == 1 else NOBODY

    def vouch(self, job_id: str, attempt: object) -> Job:
        """The job of which it says that a line is: this attempt, if it has that, had it lately, or
        when it said something of it first; else the one that it runs."""
        said = job_id, attempt
        if (known := self._heard_of.get(said)) is not None:
            return known
        identity = _bytes_of(job_id)
        lately = chain.from_iterable(map(reversed, reversed(self.seat.ended)))
        for one in chain(self.seat.inflight.values(), islice(lately, _MOST_LATELY)):
            if one.lease.id == identity and attempt in (None, one.lease.attempt):
                if len(self._heard_of) >= _MOST_HEARD_OF:
                    del self._heard_of[next(iter(self._heard_of))]
                self._heard_of[said] = _told(one.lease)
                return self._heard_of[said]
        return self.runs()

    def kill(self, reason: str) -> None:
        """Kill it, for a reason that its death is then judged by, and what its jobs have started.

        Some of that may have left its group. Whose it is, only its living parent shows.
        """
        self.condemned = self.condemned or reason
        strays = self._strays()
        names = [offspring.described(stray) for stray in strays[:_NAMED]]
        self.process.kill()
        offspring.kill(strays)
        if names:
            self.process.output.note(
                "strays_killed", processes=names, count=len(strays), pid=self.process.pid
            )

    def _strays(self) -> list[psutil.Process]:
        """What the jobs that run there have started, and is not in its group."""
        if not self.process.alive:
            return []
        begun = sightings.begun(self.seat, self.process.page.started(), monotonic())
        since = min(begun.values(), default=None)
        if since is None:
            return []
        return offspring.strays(self.process.pid, since)

    def discredit(self, error: str) -> None:
        """Kill it for what it sent. No reason is kept: the death counts against what it runs,
        which may have sent that, and would again and again."""
        self.process.output.note("frame_invalid", error=error, pid=self.process.pid)
        self.process.kill()


def _bytes_of(job_id: str) -> bytes:
    """Of an id as a log has it: it is looked for among hundreds, for every line; empty where it is
    none."""
    try:
        return UUID(job_id).bytes
    except ValueError:
        return b""


def _told(lease: Lease) -> Job:
    return Job(str(lease.job_id), lease.job_type, lease.queue_name, lease.attempt)
