"""The most jobs that SQLite takes: settle one batch and lease the next in one transaction."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from benchmarks import noop
from benchmarks.samples import Timeline

BATCH = 256

SCHEMA = """
CREATE TABLE jobs (
    seq INTEGER PRIMARY KEY, id BLOB NOT NULL, job_type TEXT NOT NULL, payload BLOB NOT NULL,
    status INTEGER NOT NULL, token BLOB, result BLOB, ended_at INTEGER
);
CREATE INDEX waiting ON jobs (seq) WHERE status = 0;
"""
INSERT = "INSERT INTO jobs (id, job_type, payload, status) VALUES (?, ?, ?, 0)"
SETTLE = (
    "UPDATE jobs SET status = 2, result = ?, ended_at = ? WHERE seq = ? AND token = ? "
    "AND status = 1"
)
LEASE = (
    "UPDATE jobs SET status = 1, token = randomblob(16) WHERE seq IN "
    "(SELECT seq FROM jobs WHERE status = 0 ORDER BY seq LIMIT ?) "
    "RETURNING seq, id, token, job_type, payload"
)


def sqlite_rate(path: Path, jobs: int, batch: int = BATCH) -> float:
    """Jobs per second from the first tenth to the last, in a new file, WAL and FULL."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.executescript(SCHEMA)
        _fill(connection, jobs)
        timeline = Timeline(jobs)
        leases: list[tuple[int, bytes]] = []
        while not timeline.complete:
            settled = len(leases)
            leases = _exchange(connection, leases, batch)
            if settled:
                timeline.add(time.perf_counter(), settled)
        return timeline.rate()


def _fill(connection: sqlite3.Connection, jobs: int) -> None:
    rows = ((draft.id.bytes, draft.job_type, draft.payload) for draft in noop.drafts(jobs))
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany(INSERT, rows)
    connection.execute("COMMIT")


def _exchange(
    connection: sqlite3.Connection, done: Sequence[tuple[int, bytes]], batch: int
) -> list[tuple[int, bytes]]:
    now = time.time_ns() // 1000
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany(SETTLE, [(b"{}", now, seq, token) for seq, token in done])
    leased = connection.execute(LEASE, (batch,)).fetchall()
    connection.execute("COMMIT")
    return sorted((seq, token) for seq, _, token, _, _ in leased)
