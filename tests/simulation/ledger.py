"""What really happened, seen from above: the invariants are checked against this."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from portico.adapters.job_queue import MemoryJobQueueAdapter
from portico.adapters.job_queue._rows import RETRYING, RUNNING, SCHEDULED
from portico.ports.job_executor import (
    Completed,
    Failed,
    Interrupted,
    Quarantined,
    Released,
    Verdict,
)
from portico.ports.leasing import (
    CANCELLED,
    MAX_CRASHES,
    MAX_EXPIRIES,
    Answer,
    Exchange,
    Lease,
    Recovered,
    Settlement,
    Transition,
)
from tests.simulation.clockwork import World
from tests.simulation.jobs import KINDS


@dataclass(eq=False)
class Attempt:
    """One lease, and what became of it."""

    lease: Lease
    holder: Any
    """The supervisor that asked for it."""
    arrived: bool = False
    """The holder knows that it has it."""
    begun: bool = False
    """A page names it."""
    starts: int = 0
    running: int = 0
    hooks: int = 0
    hooking: int = 0
    written: Verdict | None = None
    """The whole of the result is in the pipe of a worker that has told no lies."""
    doubtful: bool = False
    """It ran in a worker that has: what that said since may have been heard, or not."""
    read_at: float | None = None
    """When the supervisor had read its last frame."""
    exchanges: int = 0
    """That the holder has made since."""
    unstarted: int = 0
    """Workers that held it, had started nothing, and died."""
    death: str | None = None
    """It was running when its worker died: alone, with others, or killed by the supervisor."""
    ended: str | None = None
    known_lost: bool = False
    """The holder held it and was told that it does not."""
    known_cancelled: bool = False
    """The holder was told that someone wants it stopped, and had no outcome yet."""

    def __str__(self) -> str:
        return f"job {self.lease.job_id.int} attempt {self.lease.attempt}"


@dataclass
class JobStory:
    starts: int = 0
    attempts: list[Attempt] = field(default_factory=list)
    redriven: bool = False


class Ledger:
    """Every lease and every start."""

    def __init__(self, world: World, store: MemoryJobQueueAdapter) -> None:
        self.world = world
        self.store = store
        self.attempts: dict[tuple[bytes, bytes], Attempt] = {}
        self.current: dict[bytes, Attempt] = {}
        self.jobs: dict[bytes, JobStory] = defaultdict(JobStory)
        self.unread: dict[Any, list[Attempt]] = defaultdict(list)

    def _check(self, whose: Attempt | str, holds: object, text: str, *things: object) -> None:
        """Checked so often that the text is put together only where it does not hold."""
        if not holds:
            self.world.violated(f"{whose}: {text.format(*things)}")

    # The store's side

    def before_lease(self) -> dict[bytes, int]:
        """When the jobs are due that wait for an instant."""
        return {
            row.id: row.run_at
            for row in self.store._rows.values()
            if row.status in (SCHEDULED, RETRYING)
        }

    def granted(self, lease: Lease, holder: Any, due: dict[bytes, int]) -> Attempt:
        attempt = Attempt(lease, holder)
        job = self.jobs[lease.id]
        job.attempts.append(attempt)
        self._check(attempt, lease.id not in self.current, "leased while another lease holds")
        due_by_now = due.get(lease.id, 0) <= self.world.now * 1e6
        self._check(attempt, due_by_now, "leased before it was due")
        self.attempts[lease.id, lease.token] = self.current[lease.id] = attempt
        return attempt

    def settled(self, settlement: Settlement, answer: Answer) -> None:
        assert settlement.token is not None
        attempt = self.attempts[settlement.id, settlement.token]
        transition = settlement.transition
        self.world.say("  {}: {.value} -> {.value}", attempt, transition, answer)
        if answer is Answer.ALREADY:
            self._check(attempt, attempt.ended == transition.value, "ALREADY, but it is not so")
        if answer is not Answer.OK:
            return
        current = self.current.pop(settlement.id, None)
        self._check(attempt, current is attempt, "settled with a stale token")
        self._check(attempt, attempt.ended is None, "ended twice")
        attempt.ended = transition.value
        self._truth(attempt, settlement)

    def _truth(self, attempt: Attempt, settlement: Settlement) -> None:
        """Whether what the store was told is what happened."""
        told, written = settlement.transition, attempt.written
        if attempt.known_cancelled:
            heard = told in (Transition.COMPLETE, Transition.FAIL) or _timed_out(settlement)
            self._check(attempt, heard, "{.value}, though it was to be cancelled", told)
        if told is Transition.FAIL and _cancelled(settlement):
            self._check(attempt, not isinstance(written, Completed), "a success was cancelled")
            return
        if written is not None:
            self._check(attempt, told in _TOLD[type(written)], "{} after {}", told, written)
            return
        if attempt.doubtful:
            return
        if told is Transition.CRASH and KINDS[attempt.lease.job_type].listens:
            mourned = attempt.hooks or attempt.holder.stops
            self._check(attempt, mourned, "nobody ran its on_failure")
        self._check(
            attempt,
            {
                Transition.CRASH: attempt.death == "alone" or attempt.unstarted >= _PATIENCE,
                Transition.SUSPECT: attempt.death == "with others",
                Transition.INTERRUPT: attempt.death is not None,
                Transition.RETRY: attempt.death is not None,
                Transition.RELEASE: not attempt.starts,
            }.get(told, False),
            "{.value}, but its worker's death: {}, starts: {}",
            told,
            attempt.death,
            attempt.starts,
        )

    def exchanged(self, holder: Any, exchange: Exchange) -> None:
        """The holder has talked to the store, and might have said what it had read.

        What is in its outbox has its turn: after an outage the batches are small at first.
        """
        unread = self.unread[holder]
        queued = {lease.key for lease in holder.unsettled()} if unread else set()
        for attempt in unread:
            attempt.exchanges += attempt.lease.key not in queued
            if attempt.exchanges > 3 and attempt.ended is None:
                self.world.violated(f"{attempt}: its end is known to {holder}, who says nothing")
        if unread:
            self.unread[holder] = [a for a in unread if a.ended is None]

    def left_out(self, holder: Any, mentioned: set[tuple[bytes, bytes]]) -> list[Attempt]:
        """What this supervisor has been given, has not settled, and does not mention."""
        return [
            a
            for a in self.current.values()
            if a.holder is holder and a.arrived and (a.lease.id, a.lease.token) not in mentioned
        ]

    def expired(self, found: Recovered) -> None:
        attempt = self.attempts[found.lease.id, found.lease.token]
        self.world.say("  {}: its lease ran out -> {.value}", attempt, found.status)
        current = self.current.pop(found.lease.id, None)
        self._check(attempt, current is attempt, "expired, but is not the current one")
        attempt.ended = "expire"
        holder = attempt.holder
        if holder.up and attempt.arrived and holder.undisturbed_for() > 2 * holder.lease + 6:
            self.world.violated(f"{attempt}: expired under {holder}, who was well all the time")
        if holder.up and attempt.read_at is not None and attempt.exchanges > 1:
            self.world.violated(f"{attempt}: expired, though {holder} knew its end")
        self.row(found.lease.id)

    def row(self, key: bytes) -> None:
        row = self.store._rows[key]
        running = row.status == RUNNING
        expected = (
            row.retry_count + row.release_count + row.snooze_count + running + row.ended_by_attempt
        )
        if (
            row.attempt == expected
            and row.retry_count <= row.max_retries
            and row.crash_count <= MAX_CRASHES
            and row.expiry_count <= MAX_EXPIRIES
            and running == (key in self.current)
        ):
            return
        self.world.violated(
            f"job {int.from_bytes(key, 'big')}: {row.attempt} attempts, {expected} accounted, "
            f"{row.retry_count} retries, {row.crash_count} crashes, {row.expiry_count} expiries, "
            f"{row.status}, a lease: {key in self.current}"
        )

    # The workers' side

    def handler_starts(self, lease: Lease) -> Attempt:
        attempt, job = self.attempts[lease.id, lease.token], self.jobs[lease.id]
        self.world.say("    {}: handler starts", attempt)
        attempt.starts += 1
        attempt.running += 1
        job.starts += 1
        # Who has run a job may give it back and say it had not: that cannot be disproved.
        once = attempt.starts == 1 or attempt.doubtful
        self._check(attempt, once, "started {} times", attempt.starts)
        if lease.max_retries == 0 and not job.redriven:
            starts = sum(a.starts for a in job.attempts if not a.doubtful)
            self._check(attempt, starts <= 1, "started twice, with max_retries=0")
        for earlier in job.attempts:
            busy = (earlier.running or earlier.hooking) and earlier is not attempt
            if busy and "expire" not in (earlier.ended, attempt.ended):
                self.world.violated(f"{attempt}: starts while {earlier} goes on")
        return attempt

    def hook_starts(self, lease: Lease) -> Attempt:
        attempt = self.attempts[lease.id, lease.token]
        self.world.say("    {}: on_failure starts", attempt)
        attempt.hooks += 1
        attempt.hooking += 1
        expired = attempt.ended == "expire"
        once = attempt.hooks == 1 or expired or attempt.doubtful
        self._check(attempt, once, "on_failure runs twice")
        self._check(attempt, attempt.ended is None or expired, "on_failure after the end")
        return attempt

    def frame_written(self, attempt: Attempt, verdict: Verdict) -> None:
        self.world.say("    {}: {.__name__} is in the pipe", attempt, type(verdict))
        attempt.written = verdict

    def end_read(self, attempt: Attempt, holder: Any) -> None:
        if attempt.holder is holder:
            attempt.read_at = self.world.now
            if attempt.ended is None:
                self.unread[holder].append(attempt)


def _cancelled(settlement: Settlement) -> bool:
    failure = settlement.failure
    return failure is not None and failure[:2] == CANCELLED[:2]  # the rest is what was seen of it


def _timed_out(settlement: Settlement) -> bool:
    return settlement.failure is not None and settlement.failure.type == "JobTimeoutError"


_PATIENCE = 3
"""Workers that may die before they start anything, with a job among what they hold."""
_TOLD: dict[type, tuple[Transition, ...]] = {
    Completed: (Transition.COMPLETE,),
    Failed: (Transition.RETRY, Transition.FAIL),
    Interrupted: (Transition.INTERRUPT,),
    Released: (Transition.RELEASE,),
    Quarantined: (Transition.QUARANTINE,),
}
