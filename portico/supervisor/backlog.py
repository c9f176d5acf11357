"""What is leased and not yet given to a worker, and how it is given.

Small jobs go in batches, in frames of bounded size; how many each worker takes is decided by
`dispatch`. Mourning (an `on_failure` whose process is gone) goes first, to a worker with a free
slot.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from itertools import count
from time import monotonic

from portico.ports.job_executor import Outcome, Quarantined
from portico.ports.leasing import Failure, Lease
from portico.supervisor import dispatch, wire
from portico.supervisor.assignment import Assignment
from portico.supervisor.member import Member

_FRAME_BYTES = 1024 * 1024


class Backlog:
    """Leased jobs in the order in which they should start, and mourning."""

    def __init__(self) -> None:
        self.times = dispatch.RunTimes()
        self._jobs: deque[Lease] = deque()
        self._suspects: deque[Lease] = deque()
        self.mourning: deque[Assignment] = deque()
        self.moved_at = monotonic()
        """When a job was given away last, or the first came in."""
        self._serials = count(1)

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

    def add(self, leases: Sequence[Lease]) -> list[Outcome]:
        """Take new leases in, and return the outcomes of those that nobody can be given."""
        too_large = [outcome for lease in leases if (outcome := _unless_it_fits(lease))]
        if too_large:
            refused = {outcome.lease.token for outcome in too_large}
            leases = [lease for lease in leases if lease.token not in refused]
        if leases:
            self.times.weigh([len(lease.payload) for lease in leases])
        if not self.waiting:
            self.moved_at = monotonic()
        for lease in leases:
            (self._suspects if lease.suspect else self._jobs).append(lease)
        return too_large

    def put_back(self, lease: Lease) -> None:
        """Take in a job that a worker was given and has not started: it is next again."""
        (self._suspects if lease.suspect else self._jobs).appendleft(lease)

    def take_all(self) -> list[Lease]:
        """Take out every job."""
        leases = self.jobs
        self._jobs.clear()
        self._suspects.clear()
        return leases

    def take(self, tokens: set[tuple[bytes, bytes]]) -> list[Lease]:
        """Take out the jobs of these (id, token) pairs."""
        taken = [lease for lease in self.jobs if (lease.id, lease.token) in tokens]
        for lease in taken:
            (self._suspects if lease.suspect else self._jobs).remove(lease)
        return taken

    def take_mourning(self) -> list[Assignment]:
        """Take out every `on_failure`."""
        mourning = list(self.mourning)
        self.mourning.clear()
        return mourning

    def assign(self, members: Iterable[Member]) -> None:
        """Give away what the workers take."""
        takers = sorted(
            (m for m in members if m.load.open), key=lambda m: (m.load.blocked, m.load.seconds)
        )
        if self.mourning:
            self._assign_mourning(takers)
        if not self.waiting or not takers:
            return
        given: dict[Member, list[Assignment]] = {}
        if self._suspects:
            takers = self._assign_suspects(takers, given)
        self._assign_jobs(takers, given)
        for member, assignments in given.items():
            self._send(member, assignments)
        if given:
            self.moved_at = monotonic()

    def _assign_suspects(
        self, takers: Sequence[Member], given: dict[Member, list[Assignment]]
    ) -> list[Member]:
        """A suspect gets a worker for itself; while there is none, one is kept from other jobs.

        Returns:
            The workers that may take other jobs now.
        """
        empty = deque(member for member in takers if not member.load.jobs)
        while self._suspects and empty:
            member, lease = empty.popleft(), self._suspects.popleft()
            estimate = self.times.estimate(lease.job_type)
            member.load.add(estimate, len(lease.payload))
            member.load.alone = True
            given[member] = [Assignment(lease, estimate)]
        others = [member for member in takers if not member.load.alone]
        return others[1:] if self._suspects else others

    def _assign_jobs(self, takers: Sequence[Member], given: dict[Member, list[Assignment]]) -> None:
        """A free slot for each first, then up to an even level of work."""
        for member in takers:
            while self._jobs and member.load.jobs < member.load.slots:
                if not self._give(member, 0.0, given):
                    break
        level = self._level(takers) if self._jobs else 0.0
        for member in takers:
            while self._jobs and self._give(member, level, given):
                pass

    def _level(self, takers: Sequence[Member]) -> float:
        waiting = len(self._jobs) * (self.times.mean or 0.0)
        return dispatch.level([member.load for member in takers], waiting)

    def _give(self, member: Member, level: float, given: dict[Member, list[Assignment]]) -> bool:
        """Move the next job to a worker's list, if the worker takes that one."""
        lease, load = self._jobs[0], member.load
        estimate, size = self.times.estimate(lease.job_type), len(lease.payload)
        if not load.accepts(estimate, size, level):
            return False
        self._jobs.popleft()
        load.add(estimate, size)
        given.setdefault(member, []).append(Assignment(lease, estimate))
        return True

    def _send(self, member: Member, assignments: Sequence[Assignment]) -> None:
        """Write the jobs in frames of bounded size, with serials in a row."""
        batch: list[Lease] = []
        first = size = 0
        for assignment in assignments:
            serial = next(self._serials)
            member.inflight[serial] = assignment
            first = first or serial
            batch.append(assignment.lease)
            size += len(assignment.lease.payload) + len(assignment.lease.metadata)
            if size > _FRAME_BYTES:
                member.process.send(wire.Run(first, batch))
                batch, first, size = [], 0, 0
        if batch:
            member.process.send(wire.Run(first, batch))

    def _assign_mourning(self, takers: Iterable[Member]) -> None:
        for member in takers:
            if not self.mourning:
                return
            load = member.load
            if load.alone or (load.jobs >= load.slots and (load.late or load.unknown)):
                continue  # behind short jobs it may go: it overtakes those that wait
            assignment = self.mourning.popleft()
            assert assignment.failure is not None
            assignment.since = monotonic()
            serial = next(self._serials)
            member.inflight[serial] = assignment
            member.load.add(None, 0)
            member.process.send(wire.Mourn(serial, assignment.lease, assignment.failure))


def _unless_it_fits(lease: Lease) -> Outcome | None:
    """A job that no frame holds cannot be run: each worker that was sent it would die of it."""
    size = len(lease.payload) + len(lease.metadata)
    if size <= wire.MAX_BODY:
        return None
    failure = Failure("PayloadTooLarge", f"the stored job has {size:,} bytes, too many to be run")
    return Outcome(lease, Quarantined(failure))
