"""The values of the leasing surface: what is leased, how an attempt is settled, what is answered.

A **lease** is the right to settle one attempt of one job, proven by its token. Values that are
built once per job on the supervisor's hot path are named tuples: a third of the cost of a frozen
dataclass. Instants inside of them are integers, microseconds since 1970 UTC, for a lease is
carried and not read.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any, NamedTuple
from uuid import UUID

from portico.ports.job import CANCELLED_MESSAGE, Job, JobStatus
from portico.ports.listing import Glance as Glance
from portico.ports.listing import JobFilter as JobFilter
from portico.ports.listing import JobPage as JobPage


class Inserted(NamedTuple):
    """What the store made of a draft: PENDING or SCHEDULED, and since when it has it."""

    status: JobStatus
    created_at: datetime


LeaseKey = tuple[bytes, bytes]
"""A job's id and the token of one of its attempts."""


class Lease(NamedTuple):
    """The right to settle one attempt, with the job as it was stored.

    `payload` and `metadata` are the stored bytes, unopened: a supervisor hands them to a worker,
    and only the worker decodes them.
    """

    id: bytes
    """The job's id, 16 bytes; `job_id` is the same as a UUID."""
    token: bytes
    """Attempt number and random bytes: a number alone repeats when a store loses a write. Jobs
    that were leased together may share it: only with the id it is one lease's own."""
    attempt: int
    queue_name: str
    job_type: str
    payload: bytes
    priority: int
    max_retries: int
    retry_count: int
    """Retries before this attempt: on the last attempt it equals `max_retries`."""
    scheduled_at: int | None
    started_at: int
    created_at: int
    created_by: bytes | None
    metadata: bytes
    error_message: str | None
    """What the attempt before this one said."""
    suspect: bool
    """It was running when a worker with several jobs died: run it alone."""

    @property
    def job_id(self) -> UUID:
        """The job's id."""
        return UUID(bytes=self.id)

    @property
    def key(self) -> LeaseKey:
        """What no other lease has."""
        return self.id, self.token


class Evidence(NamedTuple):
    """What was seen of an attempt from outside of its handler; `None`: nobody could tell.

    CPU time and memory are the worker's, over its whole life: the system does not count them per
    job, and to ask at every start would cost more than a short job.
    """

    pid: int | None = None
    """The worker that ran it."""
    exit_code: int | None = None
    """How that worker ended, when it did not outlive the attempt: its exit code, ..."""
    signal: str | None = None
    """... or the name of the signal that killed it."""
    oom_suspected: bool = False
    """The system was out of memory when it killed the worker."""
    run_seconds: float | None = None
    """From the handler's start to the end of the attempt; a lease may wait before it starts."""
    worker_cpu_seconds: float | None = None
    worker_peak_rss: int | None = None
    """Bytes that were resident at most."""
    output: str = ""
    """The last lines that the worker printed since the start, at most 4 KiB."""


NOTHING_SEEN = Evidence()


class Failure(NamedTuple):
    """Why an attempt did not succeed, as text: no exception crosses a process.

    `type` is the exception's class name, or one of Portico's own words for it (`WorkerLostError`,
    `JobTimeoutError`, `UnknownJobType`, ...); `message` is at most 8 KiB. `traceback`, at most
    16 KiB, is the exception's, or where a worker died the stack that its fault handler left.
    """

    type: str
    message: str
    traceback: str = ""
    evidence: Evidence | None = None


CANCELLED = Failure("Cancelled", CANCELLED_MESSAGE)
"""How a job ends that someone cancelled, waiting or running."""


class Transition(str, Enum):
    """How an attempt ends. Every one applies to RUNNING with the settlement's token only.

    | member | becomes | counts |
    |---|---|---|
    | COMPLETE | COMPLETED | the result is stored |
    | RETRY | RETRYING, due after `delay`; DEAD_LETTER when `retry_count` has reached `max_retries` | retry_count + 1 when it will run again |
    | FAIL | FAILED | |
    | RELEASE | PENDING, in its old place | release_count + 1; it was never started |
    | INTERRUPT | as RELEASE; DEAD_LETTER when `max_retries` is 0 | release_count + 1; it was started, the outcome is unknown and not its fault |
    | SUSPECT | as INTERRUPT, marked to run alone | release_count + 1 |
    | CRASH | as RETRY; DEAD_LETTER also at the third crash | crash_count + 1, and as RETRY |
    | SNOOZE | SCHEDULED, due after `delay`; DEAD_LETTER when it has been put off for longer than `patience` | snooze_count + 1 |
    | QUARANTINE | DEAD_LETTER | |
    """  # noqa: E501 - a table

    COMPLETE = "complete"
    RETRY = "retry"
    FAIL = "fail"
    RELEASE = "release"
    INTERRUPT = "interrupt"
    SUSPECT = "suspect"
    CRASH = "crash"
    SNOOZE = "snooze"
    QUARANTINE = "quarantine"


MAX_CRASHES = 3
"""A job whose worker died this often while it ran alone is dead-lettered, retries left or not."""
MAX_EXPIRIES = 10
"""A job whose supervisor vanished this often is dead-lettered, retries left or not."""


class Settlement(NamedTuple):
    """The end of one attempt, as the holder of its lease reports it.

    Without a token it speaks for whichever attempt is running: that is what the unfenced
    `acknowledge` and `reject` can promise, and why supervisors do not use them.
    """

    id: bytes
    token: bytes | None
    transition: Transition
    result: bytes | None = None
    failure: Failure | None = None
    delay: float = 0.0
    """Seconds until it is due again: RETRY, CRASH, SNOOZE."""
    patience: float | None = None
    """Seconds of snoozing in a row after which SNOOZE gives up; `None` never does."""


class Answer(str, Enum):
    """What became of a settlement or a renewal."""

    OK = "ok"
    ALREADY = "already"
    """This very transition of this very attempt is recorded: an earlier answer got lost."""
    LOST = "lost"
    """The token is not the current one, or the attempt has ended otherwise; nothing changed."""
    NOT_FOUND = "not_found"


class Receipt(NamedTuple):
    """The answer to one settlement, and the status that the job has now (`None`: no such job)."""

    answer: Answer
    status: JobStatus | None


class Exchange(NamedTuple):
    """What one exchange brought: a receipt per settlement, in order, and the new leases."""

    receipts: list[Receipt]
    leases: list[Lease]
    next_due: float | None = None
    """Seconds until the next waiting job of these queues is due; `None`: none is known."""
    unseen: bool = False
    """There is more to look at than one exchange does: the next one goes on from there."""


class Renewal(NamedTuple):
    """The answer for one held lease; `cancel`: someone asked to stop this job."""

    answer: Answer
    cancel: bool = False


class Recovered(NamedTuple):
    """An attempt whose lease ran out: the lease as it was, and the status the job has now."""

    lease: Lease
    status: JobStatus


MAX_HISTORY = 20
"""Attempts of which a store keeps a record, per job: the newest ones."""


@dataclass(frozen=True, kw_only=True)
class AttemptRecord:
    """How one attempt ended."""

    attempt: int
    """Counted from 1, and from 1 again after a redrive."""
    ended_as: str
    """The value of a `Transition`; or `dead_letter`: it failed, and no retry was left; `cancel`:
    someone asked for it; `expire`: its lease ran out."""
    started_at: datetime | None
    """When it was leased."""
    ended_at: datetime
    """When the store was told."""
    owner: str | None = None
    """Who held the lease, for people to read."""
    error_type: str | None = None
    error_message: str | None = None
    traceback: str | None = None
    evidence: Evidence = NOTHING_SEEN


@dataclass(frozen=True, kw_only=True)
class JobRecord:
    """A job with everything the store knows of its attempts.

    At all times `attempt == retry_count + release_count + snooze_count + (1 if RUNNING) +
    (1 if ended_by_attempt)`, with `retry_count` from `job`.
    """

    job: Job
    attempt: int
    release_count: int = 0
    snooze_count: int = 0
    crash_count: int = 0
    expiry_count: int = 0
    suspect: bool = False
    ended_by_attempt: bool = False
    """Terminal by its last attempt, and not by a cancellation while it waited."""
    cancel_requested: bool = False
    error_type: str | None = None
    traceback: str | None = None
    result: dict[str, Any] | None = None
    due_at: datetime | None = None
    """Since when, or from when, it may be leased; `None` when it is not waiting."""
    owner: str | None = None
    """Who holds the lease, for people to read."""
    attempts: tuple[AttemptRecord, ...] = ()
    """The attempts that have ended, oldest first, at most `MAX_HISTORY` and a successful one; a
    redrive keeps them."""

    @property
    def accounted(self) -> bool:
        """Whether the accounting identity holds."""
        running = self.job.status is JobStatus.RUNNING
        return self.attempt == (
            self.job.retry_count + self.release_count + self.snooze_count
            + running + self.ended_by_attempt
        )  # fmt: skip


class Outlook(NamedTuple):
    """How long the jobs of a queue wait, in seconds by the store's clock; `None`: none does."""

    oldest_wait: float | None = None
    """For which a job has been due that nobody has started: the longest."""
    next_due: float | None = None
    """In which the next job is due that is not yet."""
