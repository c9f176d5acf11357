"""Owners of leases, and renewing and recovering these, in SQL.

A lease belongs to an owner, and remembers the owner's counter as it was when the lease was granted
or last renewed. No clock is stored for it, because no two clocks are ever compared.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from itertools import chain
from typing import NamedTuple

from portico.adapters.job_queue._liveness import (
    Process,
    Sightings,
    gone,
    process_name,
    this_process,
)
from portico.adapters.job_queue._rows import StoredJob, attempt_of, lease_of, token_of
from portico.adapters.job_queue._sqlite.burying import bury
from portico.adapters.job_queue._sqlite.driver import Connection
from portico.adapters.job_queue._sqlite.schema import COLUMNS
from portico.adapters.job_queue._sqlite.settling import LARGEST_BATCH, expire, padded, settle
from portico.adapters.job_queue._sqlite.sound_rows import JOBS, sound
from portico.ports.leasing import (
    Answer,
    Lease,
    LeaseKey,
    Recovered,
    Renewal,
    Settlement,
    Transition,
)

_BEAT = """
UPDATE portico_owners SET beat = ?, renews = max(renews, ?)
WHERE id = ? AND boot = ? AND namespace = ? AND pid = ? AND started = ?"""
"""A number whose insertion was rolled back may be another process's by now."""
_JOIN = """
INSERT INTO portico_owners (name, boot, namespace, pid, started, beat, renews, lease_seconds)
VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING id"""
_LEAVE = """
DELETE FROM portico_owners WHERE id = ? AND NOT EXISTS (
    SELECT 1 FROM portico_jobs WHERE status = 'running' AND owner_id = portico_owners.id)"""
_ASKED_TO_STOP = """
SELECT id, attempt, nonce FROM portico_jobs
WHERE status = 'running' AND owner_id = ? AND cancel_requested"""
_OWNERS = """
SELECT id, boot, namespace, pid, started, beat, renews, lease_seconds FROM portico_owners"""

_RUN_OUT = f"""
SELECT {COLUMNS}, {sound(JOBS)} FROM portico_jobs
WHERE status = 'running' AND owner_id = ? AND owner_beat <= ? LIMIT ?"""
_ORPHANED = f"""
SELECT {COLUMNS}, {sound(JOBS)} FROM portico_jobs
WHERE status = 'running' AND (owner_id IS NULL OR typeof(owner_beat) <> 'integer'
    OR owner_id NOT IN (SELECT id FROM portico_owners)) LIMIT ?"""
"""Nobody's, or nobody can tell since when."""
_EVER = 2**62
_UNHEARD = """
SELECT id, attempt FROM portico_jobs WHERE status = 'running' AND owner_id = ? AND nonce = ?"""


class RunOut(NamedTuple):
    """An owner, and up to which counter its leases have run out."""

    owner_id: int
    beat: int


class Owner:
    """This adapter as a holder of leases; lives in the writer's thread."""

    def __init__(self, lease_seconds: float) -> None:
        self.lease_seconds = lease_seconds
        self.sightings = Sightings()
        self._id: int | None = None
        self._process: Process | None = None
        self._beat = 0
        self._granting: list[tuple[int, bytes]] = []
        self._doubtful: list[tuple[int, bytes]] = []
        self.places: dict[bytes, int] = {}
        """Of jobs that were leased here and not completed, by id: where their rows are."""

    def granted(self, owner_id: int, nonce: bytes) -> None:
        """Leases with this nonce are about to be committed."""
        self._granting.append((owner_id, nonce))

    def committed(self) -> None:
        """What was granted will be heard of by whoever asked."""
        self._granting.clear()

    def interrupted(self) -> None:
        """The store could not be reached: nobody's silence counts, and no grant was heard of."""
        self.sightings.clear()
        self._doubtful += self._granting
        self._granting.clear()

    def give_back(self, connection: Connection, wall: int) -> None:
        """Release what was granted by a commit that failed and yet took place.

        Nobody knows of these leases, so nobody would run the jobs before the leases ran out, and
        that would be charged to jobs that never started.
        """
        if not self._doubtful:
            return
        unheard = [
            Settlement(job_id, token_of(attempt, nonce), Transition.RELEASE)
            for owner_id, nonce in self._doubtful
            for job_id, attempt in connection.execute(_UNHEARD, (owner_id, nonce))
            if type(attempt) is int  # else its lease runs out
        ]
        settle(connection, unheard, wall)
        self._granting += self._doubtful  # in doubt again, should this commit fail too
        self._doubtful = []

    @property
    def in_doubt(self) -> bool:
        """Whether there may be something for `give_back`."""
        return bool(self._doubtful)

    @property
    def id(self) -> int | None:
        """By which its leases are marked; `None` as long as it has held none."""
        return self._id

    def beat(self, connection: Connection, *, renews: bool) -> tuple[int, int]:
        """Advance the counter, and say who this is and where the counter stands."""
        self._beat += 1
        process = self._process = self._process or this_process()
        values = (self._beat, int(renews), self._id, *process)
        if self._id is None or connection.execute(_BEAT, values).rowcount == 0:
            own = (process_name(), *process, self._beat, int(renews), self.lease_seconds)
            self._id = int(connection.execute(_JOIN, own).fetchone()[0])
        return self._id, self._beat

    def leave(self, connection: Connection) -> None:
        """Be forgotten, unless leases are still held."""
        if self._id is not None:
            connection.execute(_LEAVE, (self._id,))

    def run_out(self, connection: Connection, now: float) -> list[RunOut]:
        """Whose leases have run out up to which counter; `now` is this process's own clock."""
        owners = connection.execute(_OWNERS).fetchall()
        self.sightings.keep({owner[0] for owner in owners})
        found: list[RunOut] = []
        for owner_id, boot, namespace, pid, started, beat, renews, lease in owners:
            if gone(Process(boot, namespace, pid, started)):
                found.append(RunOut(owner_id, _EVER))
            elif renews:
                overdue = self.sightings.overdue(owner_id, beat, lease, now)
                if overdue is not None:
                    found.append(RunOut(owner_id, overdue))
        return found


def served(connection: Connection) -> bool:
    """Whether the process of some owner lives, as far as that can be told from here."""
    owners = connection.execute("SELECT boot, namespace, pid, started FROM portico_owners")
    return not all(gone(Process(*owner)) for owner in owners)


def renew(connection: Connection, owner: Owner, leases: Sequence[Lease]) -> list[Renewal]:
    """Extend held leases, and give a sign of life."""
    owner_id, beat = owner.beat(connection, renews=True)
    renewed = 0
    for start in range(0, len(leases), LARGEST_BATCH):
        part = leases[start : start + LARGEST_BATCH]
        size = padded(len(part))
        values = chain.from_iterable((lease.id, *attempt_of(lease.token)) for lease in part)
        filling = (None,) * (3 * (size - len(part)))
        changed = connection.execute(_renew_many(size), (owner_id, beat, *values, *filling))
        renewed += changed.rowcount
    stopping = {row[0] for row in connection.execute(_ASKED_TO_STOP, (owner_id,))}
    if renewed == len(leases):
        return [Renewal(Answer.OK, lease.id in stopping) for lease in leases]
    found = [_renewal(connection, lease, stopping) for lease in leases]
    for lease, renewal in zip(leases, found, strict=True):
        if renewal.answer is not Answer.OK:  # nobody here will settle it
            owner.places.pop(lease.id, None)
    return found


def cancel_requests(connection: Connection, owner: Owner) -> list[LeaseKey]:
    """The leases of an owner that someone asked to end."""
    rows = connection.execute(_ASKED_TO_STOP, (owner.id,))
    return [
        (job_id, token_of(attempt, nonce))
        for job_id, attempt, nonce in rows
        if type(attempt) is int and type(nonce) is bytes  # else its lease runs out
    ]


def _renew_many(size: int) -> str:
    values = ", ".join(["(?, ?, ?)"] * size)
    return f"""
UPDATE portico_jobs SET owner_id = ?, owner_beat = ? FROM (VALUES {values}) v
WHERE id = v.column1 AND attempt = v.column2 AND nonce = v.column3 AND status = 'running'"""


def _renewal(connection: Connection, lease: Lease, stopping: set[bytes]) -> Renewal:
    row = connection.execute(
        "SELECT status = 'running' AND attempt = ? AND nonce = ? FROM portico_jobs WHERE id = ?",
        (*attempt_of(lease.token), lease.id),
    ).fetchone()
    if row is None:
        return Renewal(Answer.NOT_FOUND)
    return Renewal(Answer.OK, lease.id in stopping) if row[0] else Renewal(Answer.LOST)


def recover(
    connection: Connection, owner: Owner, limit: int, wall: int, now: float
) -> list[Recovered]:
    """Settle attempts whose lease ran out, and forget owners that are gone."""
    run_out = owner.run_out(connection, now)
    rows = [row for overdue in run_out for row in connection.execute(_RUN_OUT, (*overdue, limit))]
    rows += connection.execute(_ORPHANED, (limit,))
    ended = [
        _recovered(connection, StoredJob(*row[:-1]), wall, sound=row[-1]) for row in rows[:limit]
    ]
    for overdue in run_out:
        if overdue.beat == _EVER:
            connection.execute(_LEAVE, (overdue.owner_id,))
    return [one for one in ended if one is not None]


def _recovered(
    connection: Connection, job: StoredJob, wall: int, *, sound: object
) -> Recovered | None:
    """End one attempt; what cannot be ended as it should is buried, and keeps no other waiting."""
    if sound:
        with suppress(sqlite3.IntegrityError):
            status = expire(connection, job, wall)
            return None if status is None else Recovered(lease_of(job), status)
    bury(connection, job.seq)
    return None
