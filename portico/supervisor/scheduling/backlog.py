"""What is leased and not yet given to a worker, and how it is given.

Small jobs go in batches, in frames of bounded size; how many each worker takes is decided by
`dispatch`. Mourning (an `on_failure` whose process is gone) goes first, to a worker with a free
slot.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import count

from portico.kits.job.turns import Turns
from portico.ports.job_executor import Deferred, Outcome, Quarantined
from portico.ports.leasing import Failure, Lease, LeaseKey
from portico.supervisor import wire
from portico.supervisor.scheduling import dispatch
from portico.supervisor.scheduling.assignment import Assignment, Fate
from portico.supervisor.scheduling.events import Send
from portico.supervisor.scheduling.seat import Seat

_FRAME_BYTES = 1024 * 1024


class Backlog:
    """Leased jobs in the order in which they should start, and mourning."""

    def __init__(self, report: Callable[[Outcome], None]) -> None:
        """Make it empty; `report` takes the outcomes of jobs that nobody can be given."""
        self._report = report
        self.times = dispatch.RunTimes()
        self._jobs: deque[Lease] = deque()
        self._suspects: deque[Lease] = deque()
        self.mourning: deque[Assignment] = deque()
        self.moved_at = 0.0
        """When a job was given away last, or the first came in."""
        self.paused = False
        """Nothing is given away but mourning: there is no room for what would come back."""
        self._serials = count(1)
        self.turns = Turns()

    def __len__(self) -> int:
        return len(self._jobs) + len(self._suspects) + len(self.mourning)

    @property
    def jobs(self) -> list[Lease]:
        """What waits, in order; suspects first, for they have waited once already."""
        return [*self._suspects, *self._jobs]

    @property
    def waiting(self) -> int:
        """How many jobs wait."""
        return len(self._jobs) + len(self._suspects)

    def add(self, leases: Sequence[Lease], now: float) -> None:
        """Take new leases in."""
        too_large = [outcome for lease in leases if (outcome := _unless_it_fits(lease))]
        if too_large:
            for outcome in too_large:
                self._report(outcome)
            refused = {outcome.lease.key for outcome in too_large}
            leases = [lease for lease in leases if lease.key not in refused]
        if leases:
            self.times.weigh([len(lease.payload) for lease in leases])
        if not self.waiting:
            self.moved_at = now
        for lease in leases:
            (self._suspects if lease.suspect else self._jobs).append(lease)

    def put_back(self, lease: Lease) -> None:
        """Take in a job that a worker was given and has not started: it is next again."""
        (self._suspects if lease.suspect else self._jobs).appendleft(lease)

    def take_all(self) -> list[Lease]:
        """Take out every job."""
        leases = self.jobs
        self._jobs.clear()
        self._suspects.clear()
        return leases

    def take(self, keys: Collection[LeaseKey]) -> list[Lease]:
        """Take out the jobs of these leases."""
        taken = [lease for lease in self.jobs if lease.key in keys]
        for lease in taken:
            (self._suspects if lease.suspect else self._jobs).remove(lease)
        return taken

    def stop_mourning(self, keys: Collection[LeaseKey], fate: Fate) -> None:
        """What to do with mourning for these: none for a lost lease, whose next attempt may run."""
        for assignment in list(self.mourning):
            if assignment.lease.key in keys:
                assignment.fate = fate
                if fate is Fate.FORFEITED:
                    self.mourning.remove(assignment)

    def take_mourning(self) -> list[Assignment]:
        """Take out every `on_failure`."""
        mourning = list(self.mourning)
        self.mourning.clear()
        return mourning

    def over(self, assignment: Assignment) -> None:
        """A worker holds this no more."""
        if assignment.failure is None:
            self.turns.end(assignment.lease.job_type)

    def assign(self, seats: Iterable[Seat], now: float) -> list[Send]:
        """Give away what the workers take, and return the frames that say so."""
        takers = sorted(
            (seat for seat in seats if seat.load.open),
            key=lambda seat: (seat.load.blocked, seat.load.seconds),
        )
        frames = self._assign_mourning(takers, now) if self.mourning else []
        if self.paused or not self.waiting or not takers:
            return frames
        given: dict[Seat, list[Assignment]] = {}
        if self._suspects:
            takers = self._assign_suspects(takers, given, now)
        self._assign_jobs(takers, given, now)
        for seat, assignments in given.items():
            frames += self._frames(seat, assignments)
        if given:
            self.moved_at = now
        return frames

    def _assign_suspects(
        self, takers: Sequence[Seat], given: dict[Seat, list[Assignment]], now: float
    ) -> list[Seat]:
        """A suspect gets a worker for itself; while there is none, one is kept from other jobs.

        Returns:
            The workers that may take other jobs now.
        """
        empty = deque(seat for seat in takers if not seat.load.jobs)
        while self._suspects and empty and not self.turns.full(self._suspects[0].job_type):
            seat, lease = empty.popleft(), self._suspects.popleft()
            estimate = self.times.estimate(lease.job_type)
            self.turns.begin(lease.job_type)
            seat.load.add(estimate, len(lease.payload))
            seat.load.alone = True
            given[seat] = [Assignment(lease, estimate, now)]
        others = [seat for seat in takers if not seat.load.alone]
        wait = self._suspects and not self.turns.full(self._suspects[0].job_type)
        return others[1:] if wait else others

    def _assign_jobs(
        self, takers: Sequence[Seat], given: dict[Seat, list[Assignment]], now: float
    ) -> None:
        """A free slot for each first, then up to an even level of work."""
        for seat in takers:
            while self._jobs and seat.load.jobs < seat.load.slots:
                if not self._give(seat, 0.0, given, now):
                    break
        level = self._level(takers) if self._jobs else 0.0
        for seat in takers:
            while self._jobs and self._give(seat, level, given, now):
                pass

    def _level(self, takers: Sequence[Seat]) -> float:
        waiting = len(self._jobs) * (self.times.mean or 0.0)
        return dispatch.level([seat.load for seat in takers], waiting)

    def _give(
        self, seat: Seat, level: float, given: dict[Seat, list[Assignment]], now: float
    ) -> bool:
        """Move the next job to a worker's list, if the worker takes that one."""
        if self.turns.limits and not self._next_may_begin(now):
            return False
        lease, load = self._jobs[0], seat.load
        estimate, size = self.times.estimate(lease.job_type), len(lease.payload)
        if not load.accepts(estimate, size, level):
            return False
        self._jobs.popleft()
        self.turns.begin(lease.job_type)
        load.add(estimate, size)
        given.setdefault(seat, []).append(Assignment(lease, estimate, now))
        return True

    def _next_may_begin(self, now: float) -> bool:
        """Put off what has to wait for its turn, until one comes that has not."""
        while self._jobs and self.turns.full(job_type := self._jobs[0].job_type):
            delay = self.turns.delay(job_type, self.times.estimate(job_type), now)
            self._report(Outcome(self._jobs.popleft(), Deferred(delay)))
        return bool(self._jobs)

    def _frames(self, seat: Seat, assignments: Sequence[Assignment]) -> list[Send]:
        """The jobs in frames of bounded size, with serials in a row."""
        frames: list[Send] = []
        batch: list[Lease] = []
        first = size = 0
        for assignment in assignments:
            serial = next(self._serials)
            seat.inflight[serial] = assignment
            first = first or serial
            batch.append(assignment.lease)
            size += len(assignment.lease.payload) + len(assignment.lease.metadata)
            if size > _FRAME_BYTES:
                frames.append(Send(seat, wire.Run(first, batch)))
                batch, first, size = [], 0, 0
        if batch:
            frames.append(Send(seat, wire.Run(first, batch)))
        return frames

    def _assign_mourning(self, takers: Iterable[Seat], now: float) -> list[Send]:
        frames: list[Send] = []
        for seat in takers:
            if not self.mourning:
                break
            load = seat.load
            if load.alone or (load.jobs >= load.slots and (load.late or load.unknown)):
                continue  # behind short jobs it may go: it overtakes those that wait
            assignment = self.mourning.popleft()
            assert assignment.failure is not None
            assignment.since = now
            serial = next(self._serials)
            seat.inflight[serial] = assignment
            seat.load.add(None, 0)
            frames.append(Send(seat, wire.Mourn(serial, assignment.lease, assignment.failure)))
        return frames


def _unless_it_fits(lease: Lease) -> Outcome | None:
    """A job that no frame holds cannot be run: each worker that was sent it would die of it."""
    size = len(lease.payload) + len(lease.metadata)
    if size <= wire.MAX_BODY:
        return None
    failure = Failure("PayloadTooLarge", f"the stored job has {size:,} bytes, too many to be run")
    return Outcome(lease, Quarantined(failure))
