"""What is leased and not yet given to a worker, and how it is given.

Small jobs go in batches, in frames of bounded size; how many each worker takes is decided by
`dispatch`. Mourning (an `on_failure` whose process is gone) goes first, to a worker with a free
slot.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from math import inf

from portico.kits.job.turns import Turns
from portico.ports.job_executor import Deferred, Outcome
from portico.ports.leasing import Lease, LeaseKey
from portico.supervisor import wire
from portico.supervisor.scheduling import dispatch
from portico.supervisor.scheduling.assignment import Assignment
from portico.supervisor.scheduling.confinement import Blame, Confinement
from portico.supervisor.scheduling.events import Command, Send
from portico.supervisor.scheduling.lone import Lone
from portico.supervisor.scheduling.mourning import Mourning
from portico.supervisor.scheduling.portions import portions, within_frames
from portico.supervisor.scheduling.seat import Seat
from portico.supervisor.scheduling.waiting import Waiting

_MOST_CONFINED = 16
"""Jobs of confined types that are kept; the others go back to the store."""
_MOST_LONE = 32
"""Of the types that share a worker with nothing: each takes the start of a worker."""


class Backlog:
    """Leased jobs in the order in which they should start, and mourning."""

    def __init__(self, report: Callable[[Outcome], None]) -> None:
        """Make it empty; `report` takes the outcomes of jobs that nobody can be given."""
        self._report = report
        self.times = dispatch.RunTimes()
        self.confinement = Confinement()
        self.lone = Lone()
        self._waiting = Waiting(self.confinement, self.lone)
        self.mourning = Mourning()
        self.moved_at = 0.0
        """When a job was given away last, or the first came in that any worker may take."""
        self.paused = False
        """Nothing is given away but mourning: there is no room for what would come back."""
        self._serial = 0
        """What was given away last."""
        self.turns = Turns()

    def __len__(self) -> int:
        return len(self._waiting) + len(self.mourning)

    @property
    def jobs(self) -> list[Lease]:
        """What waits, in order."""
        return list(self._waiting)

    @property
    def waiting(self) -> int:
        """How many jobs wait."""
        return len(self._waiting)

    @property
    def ahead(self) -> int:
        """How much waits for any worker, and keeps more from being leased."""
        return self._waiting.ahead + len(self.mourning)

    def room(self, now: float) -> dict[str, int]:
        """How many more may be leased of the types of which no more may wait here."""
        room: dict[str, int] = {}
        if self.turns.limits:
            room = self.turns.room(self._waiting.of_types(self.turns.limits), self._soon, now)
        for job_type in self.lone.types:
            few = max(0, _MOST_LONE - len(self._waiting.lone))
            room[job_type] = min(few, room.get(job_type, few))
        for job_type in self.confinement.types:
            room[job_type] = max(0, _MOST_CONFINED - len(self._waiting.confined))
        return room

    def due(self, now: float) -> float:
        """When time alone will change what may be given away."""
        begins = self.confinement.not_before
        waits = self._waiting.confined and begins > now  # else for something that has to happen
        return min(begins if waits else inf, self.confinement.ends)

    def add(self, leases: Sequence[Lease], now: float) -> None:
        """Take new leases in."""
        sizes = [len(lease.payload) + len(lease.metadata) for lease in leases]
        if max(sizes, default=0) > wire.MAX_BODY:
            leases = within_frames(leases, self._report)
            sizes = [size for size in sizes if size <= wire.MAX_BODY]
        if sizes:
            self.times.weigh(sizes)
        if not self._waiting.ahead:
            self.moved_at = now
        self._waiting.add(leases)
        self._put_off(self._waiting.confined, _MOST_CONFINED, now)
        self._put_off(self._waiting.lone, _MOST_LONE, now)

    def _put_off(self, waiting: deque[Lease], most: int, now: float) -> None:
        """More of them than workers come to soon are not kept."""
        while len(waiting) > most:
            lease = waiting.pop()
            self._report(Outcome(lease, Deferred(self.turns.delay(lease.job_type, None, now))))

    def put_back(self, lease: Lease) -> None:
        """Take in a job that a worker was given and has not started: it is next again."""
        self._waiting.put_back(lease)

    def take_all(self) -> list[Lease]:
        """Take out every job."""
        return self._waiting.take_all()

    def take_stuck(self, now: float, patience: float) -> list[Lease]:
        """Take out what no worker has taken for so long, though it waits for nothing else."""
        stuck = self._waiting.ahead and now - self.moved_at > patience
        return self._waiting.take_stuck() if stuck else []

    def take(self, keys: Collection[LeaseKey]) -> list[Lease]:
        """Take out the jobs of these leases."""
        return self._waiting.take(keys)

    def confine(self, seat: Seat, blame: Blame, now: float) -> list[Command]:
        """A job has killed its worker: what follows for its type."""
        commands = self.confinement.killed(seat, blame, now)
        if commands:
            self._waiting.sort_out()
        return commands

    def release(self, now: float) -> list[Command]:
        """Let types that have behaved go to all workers again."""
        commands = self.confinement.release(now)
        if commands:
            self._waiting.sort_out()
        return commands

    def over(self, assignment: Assignment) -> None:
        """A worker holds this no more."""
        if assignment.failure is None:
            self._make_room(assignment.lease.job_type)

    def ended(self, seat: Seat, ended: Sequence[Assignment], elapsed: Sequence[float]) -> None:
        """A worker has run these, each in so many seconds, and holds them no more."""
        sizes = [len(one.lease.payload) for one in ended]
        seat.load.remove([one.estimate for one in ended], sum(sizes))
        kinds = [one.lease.job_type for one in ended]
        for kind in set(kinds):
            own = [seconds for seconds, its in zip(elapsed, kinds, strict=True) if its == kind]
            self.times.learn(kind, own)
            if self.confinement.watchful:
                self.confinement.worked(kind, sum(own))
        if self.turns.limits:
            for kind in kinds:
                self._make_room(kind)

    def limit(self, most_running: Mapping[str, int]) -> None:
        """How many jobs may run at a time, of the types that have a limit."""
        if most_running != self.turns.limits:
            self.turns.limits = most_running
            self._waiting.call_all_up()

    def keep_apart(self, types: frozenset[str]) -> None:
        """A worker is ready; jobs of these types share none with others."""
        self.lone.joined()
        if types != self.lone.types:
            self.lone.types = types
            self._waiting.sort_out()

    def _make_room(self, job_type: str) -> None:
        """One of this type runs no more, or will not."""
        self.turns.end(job_type)
        self._waiting.call_up(job_type)

    def assign(self, seats: Iterable[Seat], now: float) -> list[Command]:
        """Give away what the workers take, and return the frames that say so."""
        takers = sorted(
            (seat for seat in seats if seat.takes),
            key=lambda seat: (seat.load.blocked, seat.load.seconds),
        )
        frames: list[Command] = []
        if self.mourning:
            frames += self._assign_mourning(takers, now)
        if self.paused or not self.waiting or not takers:
            return frames
        given: dict[Seat, list[Assignment]] = {}
        if self._waiting.confined:
            takers = self._assign_confined(takers, given, now)
        if self.lone.types:
            frames += self._assign_lone(takers, given, now)
            takers = [seat for seat in takers if seat.load.takes]
        if self._waiting.suspects:
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
        suspects, full = self._waiting.suspects, self.turns.full
        empty = deque(seat for seat in takers if not seat.load.jobs)
        while suspects and empty and not full(suspects[0].job_type):
            self._give_alone(empty.popleft(), suspects.popleft(), given, now)
        others = [seat for seat in takers if not seat.load.alone]
        wait = suspects and not full(suspects[0].job_type)
        return others[1:] if wait else others

    def _assign_lone(
        self, takers: Sequence[Seat], given: dict[Seat, list[Assignment]], now: float
    ) -> list[Command]:
        """Give those that share a worker with nothing to fresh ones, and ask for more of these."""
        waiting, full, others = self._waiting.lone, self.turns.full, bool(self._waiting.jobs)
        for seat, lease in self.lone.pairs(waiting, takers, full, others_wait=others):
            self._give_alone(seat, lease, given, now)
            seat.serve_this_alone()
        wanting = [*waiting, *(x for x in self._waiting.confined if x.job_type in self.lone.types)]
        return self.lone.ask(wanting, takers, full, now)

    def _assign_confined(
        self, takers: Sequence[Seat], given: dict[Seat, list[Assignment]], now: float
    ) -> list[Seat]:
        """The next one of a confined type goes to the worker for them, as soon as that is empty.

        Returns:
            The workers that may take other jobs now.
        """
        confined, others_wait = self._waiting.confined, bool(self._waiting.ahead)
        lone = confined[0].job_type in self.lone.types
        able = [seat for seat in takers if seat.load.fresh or not lone]
        seat = self.confinement.worker(able, now, others_wait=others_wait)
        if seat is None or self.turns.full(confined[0].job_type):
            return list(takers)
        if not seat.load.jobs:
            self._give_alone(seat, confined.popleft(), given, now)
            self.confinement.given()
            if lone:
                seat.serve_this_alone()
        return [other for other in takers if other is not seat]

    def _give_alone(
        self, seat: Seat, lease: Lease, given: dict[Seat, list[Assignment]], now: float
    ) -> None:
        estimate = self.times.estimate(lease.job_type)
        self.turns.begin(lease.job_type)
        seat.load.add(estimate, len(lease.payload))
        seat.load.alone = True
        given[seat] = [Assignment(lease, estimate, now)]

    def _assign_jobs(
        self, takers: Sequence[Seat], given: dict[Seat, list[Assignment]], now: float
    ) -> None:
        """A free slot for each first, then up to an even level of work."""
        for seat in takers:
            while self._waiting.jobs and seat.load.jobs < seat.load.slots:
                if not self._give(seat, 0.0, given, now):
                    break
        level = self._level(takers) if self._waiting.jobs else 0.0
        for seat in takers:
            while self._waiting.jobs and self._give(seat, level, given, now):
                pass

    def _level(self, takers: Sequence[Seat]) -> float:
        waiting = len(self._waiting.jobs) * (self.times.mean or 0.0)
        return dispatch.level([seat.load for seat in takers], waiting)

    def _give(
        self, seat: Seat, level: float, given: dict[Seat, list[Assignment]], now: float
    ) -> int:
        """Move the next jobs, all of one type, to a worker's list; as many as it takes of them."""
        if self.turns.limits and not self._next_may_begin(now):
            return 0
        jobs, load, kind = self._waiting.jobs, seat.load, self._waiting.jobs[0].job_type
        estimate = self.times.estimate(kind)
        room = load.room(estimate, level)
        if kind in self.turns.limits:
            room = min(room, 1)
        batch: list[Assignment] = []
        while len(batch) < room and jobs and jobs[0].job_type == kind:
            size = len(jobs[0].payload)
            if not load.fits(size):
                break
            load.add(estimate, size)
            batch.append(Assignment(jobs.popleft(), estimate, now))
        if batch:
            given.setdefault(seat, []).extend(batch)
            self.turns.begin(kind)  # of a type with a limit it is one
        return len(batch)

    def _next_may_begin(self, now: float) -> bool:
        """Set aside what has to wait for its turn, until one comes that has not.

        It stays here, so that the next one begins as soon as one ends; but for a flood of it, which
        would keep the jobs from other supervisors.
        """
        jobs = self._waiting.jobs
        while jobs and self.turns.full(job_type := jobs[0].job_type):
            takes = self.times.estimate(job_type)
            if not self._waiting.set_aside(self._soon(job_type)):
                self._report(
                    Outcome(jobs.popleft(), Deferred(self.turns.delay(job_type, takes, now)))
                )
        return bool(jobs)

    def _soon(self, job_type: str) -> int:
        """How many of a type with a limit may wait here."""
        affordable = max(1, int(dispatch.MOST_BYTES_AHEAD / max(1.0, self.times.mean_bytes)))
        return min(self.turns.soon(job_type, self.times.estimate(job_type)), affordable)

    def _frames(self, seat: Seat, assignments: Sequence[Assignment]) -> list[Send]:
        """The jobs in frames of bounded size, with serials in a row."""
        frames: list[Send] = []
        for batch in portions(assignments):
            first = self._serial + 1
            self._serial += len(batch)
            seat.inflight.update(zip(range(first, self._serial + 1), batch, strict=True))
            frames.append(Send(seat, wire.Run(first, [one.lease for one in batch])))
        return frames

    def _assign_mourning(self, takers: Sequence[Seat], now: float) -> list[Command]:
        frames: list[Command] = []
        for seat in takers:
            load = seat.load
            full = load.jobs >= load.slots and (load.late or load.unknown)
            if load.alone or load.left <= 0 or full:
                continue  # behind short jobs it may go: it overtakes those that wait
            assignment = self.mourning.take_next(None if load.fresh else self.lone.types)
            if assignment is None:
                continue
            assert assignment.failure is not None
            assignment.since = now
            self._serial = serial = self._serial + 1
            seat.inflight[serial] = assignment
            seat.load.add(None, 0)
            if assignment.lease.job_type in self.lone.types:
                seat.serve_this_alone()
            frames.append(Send(seat, wire.Mourn(serial, assignment.lease, assignment.failure)))
        waiting = self.mourning.of_types(self.lone.types)
        return frames + self.lone.ask(waiting, takers, lambda _: False, now)
