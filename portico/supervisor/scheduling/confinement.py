"""Job types that kill their workers again and again are confined to one worker: pure.

Blame is exact, so a storm of deaths is the doing of job types, and they alone pay for it. A type
whose deaths cost more of the workers' time than its work is worth runs in one worker, one job at a
time, until it has killed none for a while; all confined types share that worker. Everything else
has the other workers to itself, and that one too between two jobs of theirs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf
from typing import NamedTuple

from portico.ports.leasing import Lease
from portico.supervisor.scheduling.events import Command, Note
from portico.supervisor.scheduling.inquest import Conclusion, Ruling
from portico.supervisor.scheduling.seat import Seat

WINDOW = 10.0
"""Seconds for which a death is remembered."""
FEWEST = 5
"""Deaths of one type within these before it may be confined: a poison job is dead-lettered after
three, and its type need not pay for it."""
GOOD_CONDUCT = 30.0
"""Seconds without a death after which a type is released."""
_WORTH = 0.1
"""Of a type's work: what its deaths may cost in the starts of workers before it is confined."""
_SHARE = 0.2
"""Of the one worker's time: what the deaths of all confined types together may cost."""
_SHORTEST, _LONGEST = 0.2, 10.0
"""Seconds between two jobs of confined types when the first has killed its worker. At least: what a
death costs elsewhere, in the log and in the store, is not in the start. At most: they have to come
to their end."""


class Blame(NamedTuple):
    """The job that killed its worker, and for how many seconds it ran."""

    lease: Lease
    ran: float


@dataclass(slots=True)
class _Conduct:
    """What one type has done to its workers lately, and for them."""

    deaths: deque[tuple[float, float]] = field(default_factory=deque)
    """When, and how much of its work had been done by then, in seconds."""
    worked: float = 0.0

    def forget(self, now: float) -> None:
        while self.deaths and now - self.deaths[0][0] >= WINDOW:
            self.deaths.popleft()

    def hurts(self, birth: float) -> bool:
        """Whether its deaths cost more than it is worth; a start takes `birth` seconds."""
        worked = self.worked - self.deaths[0][1]
        return len(self.deaths) >= FEWEST and len(self.deaths) * birth > _WORTH * worked


class Confinement:
    """Who is confined, and to which worker."""

    def __init__(self) -> None:
        self._conduct: dict[str, _Conduct] = {}
        self._until: dict[str, float] = {}
        self._seat: Seat | None = None
        self._awaited = False
        """The worker is dead, and its replacement has not come yet."""
        self.not_before = 0.0
        """When the next job of a confined type may begin."""
        self._others_first = True

    @property
    def types(self) -> list[str]:
        """The confined types."""
        return sorted(self._until)

    @property
    def ends(self) -> float:
        """When the next type may be released."""
        return min(self._until.values(), default=inf)

    def holds(self, job_type: str) -> bool:
        """Whether this type is confined."""
        return job_type in self._until

    # What is seen of types

    @property
    def watchful(self) -> bool:
        """Whether there is a type whose work has to be told."""
        return bool(self._conduct)

    def worked(self, job_type: str, seconds: float) -> None:
        """Jobs of this type have run so long, and their worker lives."""
        if conduct := self._conduct.get(job_type):
            conduct.worked += seconds

    def killed(self, seat: Seat, blame: Blame, now: float) -> list[Command]:
        """A job has killed its worker; the note of it, when its type is confined for that."""
        job_type = blame.lease.job_type
        conduct = self._conduct.setdefault(job_type, _Conduct())
        conduct.worked += blame.ran
        conduct.deaths.append((now, conduct.worked - blame.ran))
        conduct.forget(now)
        if self.holds(job_type):
            pause = seat.birth * (1 / _SHARE - 1)
            self.not_before = now + min(_LONGEST, max(_SHORTEST, pause))
            self._until[job_type] = self.not_before + GOOD_CONDUCT
        elif conduct.hurts(seat.birth):
            self._until[job_type] = now + GOOD_CONDUCT
            return [_confined(job_type, len(conduct.deaths), blame.lease)]
        return []

    def release(self, now: float) -> list[Command]:
        """Let go of the types that have behaved; a note for each."""
        for job_type, conduct in list(self._conduct.items()):
            conduct.forget(now)
            if not conduct.deaths and not self.holds(job_type):
                del self._conduct[job_type]
        released = [job_type for job_type, until in self._until.items() if now >= until]
        for job_type in released:
            del self._until[job_type]
        note = f"no worker has died of it for {GOOD_CONDUCT:g} s: it runs in all workers again"
        return [
            Note("info", "type_released", None, {"job_type": job_type, "note": note})
            for job_type in released
        ]

    # The worker for them

    def joined(self, seat: Seat) -> None:
        """A worker is ready: it may be the one that is awaited."""
        if self._awaited:
            self._seat, self._awaited = seat, False

    def left(self, seat: Seat) -> None:
        """A worker is dead."""
        if seat is self._seat:
            self._seat, self._awaited = None, bool(self._until)

    def worker(self, takers: Sequence[Seat], now: float, *, others_wait: bool) -> Seat | None:
        """The worker that is to run the next confined job and nothing else before; it may have to
        get empty first. `None`: it is not the turn of one, for want of a worker or of time.

        Args:
            takers: the workers that take jobs.
            now: the instant.
            others_wait: whether jobs of other types wait; they take turns with the confined ones.
        """
        at_work = self._seat is not None and self._seat.load.alone
        if at_work or self._awaited or now < self.not_before or not takers:
            return None
        seat = self._seat = self._chosen(takers)
        if seat.load.jobs or not (self._others_first and others_wait):
            return seat
        self._others_first = False
        return None

    def _chosen(self, takers: Sequence[Seat]) -> Seat:
        """The same worker as ever, unless it takes no jobs or is busy for long."""
        empty = next((seat for seat in takers if not seat.load.jobs), None)
        seat = self._seat
        if seat is None or seat not in takers or (seat.load.stuck and empty):
            return empty or takers[0]
        return seat

    def given(self) -> None:
        """The worker was given one: other jobs come before the next."""
        self._others_first = True


def blamed(conclusions: Sequence[Conclusion], killed_for: str | None) -> Blame | None:
    """Who is to blame for a death, if one job alone is.

    Args:
        conclusions: what the death means for each thing that the worker held.
        killed_for: why we killed it, when we did.
    """
    if killed_for is None and (lease := _of_the_hook(conclusions)):
        return Blame(lease, 0.0)
    for conclusion in conclusions:
        failure, outcome = conclusion.failure, conclusion.outcome
        if conclusion.ruling is Ruling.MOURN and failure is not None and outcome is not None:
            seconds = failure.evidence.run_seconds if failure.evidence else outcome.seconds
            return Blame(outcome.lease, seconds or 0.0)
    return None


def _of_the_hook(conclusions: Sequence[Conclusion]) -> Lease | None:
    """The job whose `on_failure` alone ran there when the worker died."""
    ran = [one for one in conclusions if one.ruling is not Ruling.ELSEWHERE]
    if len(ran) == 1 and ran[0].ruling is Ruling.HOOK_LOST:
        return ran[0].assignment.lease
    return None


def _confined(job_type: str, deaths: int, last: Lease) -> Note:
    return Note("error", "type_confined", None, {
        "job_type": job_type,
        "deaths": deaths,
        "within_seconds": WINDOW,
        "last_job": last.job_id,
        "action": "its jobs run in one worker, one at a time, until it has killed none for "
        f"{GOOD_CONDUCT:g} s; all other types keep the other workers",
        "hint": "see worker_exited, and `portico dead list` for the jobs that crashed three times",
    })  # fmt: skip
