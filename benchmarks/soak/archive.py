"""What the store knows of the jobs in the end, and every change of status on the way there.

The way is written down by a trigger in the database itself, in the transaction that makes the
change, so that no change is missed and none is written down that was rolled back.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

from benchmarks.soak import ledger
from portico.ports.job_queue import JobQueueAdapter
from portico.ports.leasing import JobFilter, JobRecord

_TRIGGER = """
CREATE TABLE soak_changes (
    seq INTEGER PRIMARY KEY, id BLOB, at REAL, old TEXT, new TEXT, attempt INTEGER, how TEXT,
    owner TEXT
);
CREATE TRIGGER soak_change AFTER UPDATE OF status ON portico_jobs BEGIN
    INSERT INTO soak_changes (id, at, old, new, attempt, how, owner) VALUES (
        NEW.id, (julianday('now') - 2440587.5) * 86400.0, OLD.status, NEW.status, NEW.attempt,
        iif(OLD.status = 'running', NEW.settled_as, NULL),
        (SELECT name FROM portico_owners WHERE id = NEW.owner_id));
END;
"""
_PAGE = 1000


class Change(NamedTuple):
    """A job's status changed, on the ledger's clock; `owner` holds the lease, or held it."""

    job_id: str
    at: float
    old: str
    new: str
    attempt: int
    how: str
    owner: int

    def __str__(self) -> str:
        how = f" by {self.how}" if self.how else ""
        return f"{self.old} → {self.new}{how}, attempt {self.attempt}, supervisor {self.owner}"


def watch(database: Path) -> None:
    """Have every change of status written down; the schema must exist."""
    with closing(sqlite3.connect(database)) as connection:
        connection.executescript(_TRIGGER)


def changes(database: Path) -> list[Change]:
    """Every change of status, in order."""
    offset = ledger.now() - time.time()
    with closing(sqlite3.connect(database)) as connection:
        rows = connection.execute(
            "SELECT id, at, old, new, attempt, how, owner FROM soak_changes ORDER BY seq"
        ).fetchall()
    return [
        Change(str(UUID(bytes=key)), at + offset, old, new, attempt, how or "", _pid(owner))
        for key, at, old, new, attempt, how, owner in rows
    ]


def flaws(database: Path) -> list[str]:
    """What SQLite finds wrong with the file."""
    with closing(sqlite3.connect(database)) as connection:
        found = [str(row[0]) for row in connection.execute("PRAGMA integrity_check")]
    return [flaw for flaw in found if flaw != "ok"]


async def records(queue: JobQueueAdapter) -> dict[str, JobRecord]:
    """Every job with its counters, read through the port."""
    found: dict[str, JobRecord] = {}
    cursor: str | None = None
    while True:
        page = await queue.list_jobs(JobFilter(), _PAGE, cursor)
        for job in page.jobs:
            record = await queue.inspect(job.id)
            if record is not None:
                found[str(job.id)] = record
        cursor = page.cursor
        if cursor is None:
            return found


async def standing(queue: JobQueueAdapter) -> tuple[int, int]:
    """How many jobs have ended, and how many have not."""
    ended = left = 0
    for stats in (await queue.all_stats()).values():
        done = stats.completed_count + stats.failed_count + stats.dead_letter_count
        ended += done
        left += stats.total - done
    return ended, left


def _pid(owner: str | None) -> int:
    """An owner's name ends with its process id."""
    return int(owner.rpartition(":")[2]) if owner else 0
