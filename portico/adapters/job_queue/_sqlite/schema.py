"""The tables, and how an older file becomes a newer one.

The names have a prefix, for the file may be an application's own database. In `portico_jobs` the
small columns come first: SQLite walks through what stands before a column to reach it. The indexes
hold the status, though it follows from their condition, because SQLite looks it up all the same.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import fields

from portico.adapters.job_queue._rows import StoredJob
from portico.adapters.job_queue._sqlite import sound_tables
from portico.adapters.job_queue._sqlite.driver import Connection
from portico.exceptions import ConfigurationError
from portico.utils.logging import get_logger

logger = get_logger(__name__)

LATER = "status IN ('scheduled', 'retrying')"
"""In these words in every query: a partial index serves only the condition it was made with."""
ENDED_BADLY = "status IN ('failed', 'dead_letter')"

_FIRST = f"""
CREATE TABLE portico_jobs (
    seq INTEGER PRIMARY KEY,
    id BLOB NOT NULL,
    status TEXT NOT NULL,
    queue_name TEXT NOT NULL,
    job_type TEXT NOT NULL,
    priority INTEGER NOT NULL,
    run_at INTEGER NOT NULL,
    attempt INTEGER NOT NULL DEFAULT 0,
    nonce BLOB,
    settled_as TEXT,
    max_retries INTEGER NOT NULL,
    retry_count INTEGER NOT NULL DEFAULT 0,
    release_count INTEGER NOT NULL DEFAULT 0,
    snooze_count INTEGER NOT NULL DEFAULT 0,
    snoozed_since INTEGER,
    crash_count INTEGER NOT NULL DEFAULT 0,
    expiry_count INTEGER NOT NULL DEFAULT 0,
    suspect INTEGER NOT NULL DEFAULT 0,
    cancel_requested INTEGER NOT NULL DEFAULT 0,
    ended_by_attempt INTEGER NOT NULL DEFAULT 0,
    scheduled_at INTEGER,
    created_at INTEGER NOT NULL,
    started_at INTEGER,
    ended_at INTEGER,
    created_by BLOB,
    owner_id INTEGER,
    owner_beat INTEGER,
    payload BLOB NOT NULL,
    metadata BLOB NOT NULL,
    error_type TEXT,
    error_message TEXT,
    traceback TEXT,
    result BLOB
);
CREATE UNIQUE INDEX portico_jobs_id ON portico_jobs (id);
CREATE INDEX portico_jobs_pending
    ON portico_jobs (queue_name, priority DESC, run_at, seq, status) WHERE status = 'pending';
CREATE INDEX portico_jobs_later
    ON portico_jobs (queue_name, priority DESC, run_at, seq, status) WHERE {LATER};
CREATE INDEX portico_jobs_running ON portico_jobs (owner_id, owner_beat) WHERE status = 'running';
CREATE INDEX portico_jobs_ended_badly ON portico_jobs (queue_name, status, ended_at)
    WHERE {ENDED_BADLY};
CREATE TABLE portico_queues (
    queue_name TEXT PRIMARY KEY,
    total INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE portico_owners (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    boot TEXT NOT NULL,
    namespace TEXT NOT NULL,
    pid INTEGER NOT NULL,
    started TEXT NOT NULL,
    beat INTEGER NOT NULL,
    renews INTEGER NOT NULL DEFAULT 0,
    lease_seconds REAL NOT NULL
);
"""
_ATTEMPTS = """
CREATE TABLE portico_attempts (
    seq INTEGER PRIMARY KEY,
    job_id BLOB NOT NULL,
    attempt INTEGER NOT NULL,
    ended_as TEXT NOT NULL,
    started_at INTEGER,
    ended_at INTEGER NOT NULL,
    owner TEXT,
    error_type TEXT,
    error_message TEXT,
    traceback TEXT,
    pid INTEGER,
    exit_code INTEGER,
    signal TEXT,
    oom_suspected INTEGER NOT NULL DEFAULT 0,
    run_seconds REAL,
    worker_cpu_seconds REAL,
    worker_peak_rss INTEGER,
    output TEXT
);
CREATE INDEX portico_attempts_job ON portico_attempts (job_id);
"""
"""How attempts ended that were not successful: of those the job's own row says it all."""
_STRICT = sqlite3.sqlite_version_info >= (3, 37)
"""By the library that the application has, for it reads the file as well; ours may be newer."""
MIGRATIONS = [_FIRST, _ATTEMPTS, sound_tables.script(_FIRST, strict=_STRICT)]
"""One script per version; a file at version n needs those from the n-th on."""

_READ = {
    "owner": "(SELECT name FROM portico_owners o WHERE o.id = owner_id)",
    **{name: f"CAST({name} AS BLOB)" for name in ("payload", "metadata", "result")},
    **{name: f"CAST({name} AS TEXT)" for name in ("error_type", "error_message", "traceback")},
}
"""SQLite keeps a value of any type in any column; these are read as what they should be."""


def columns(unread: Mapping[str, str]) -> str:
    """What `StoredJob(*row)` takes, with something else in the place of some columns."""
    read = {**_READ, **unread}
    return ", ".join(read.get(f.name, f.name) for f in fields(StoredJob))


COLUMNS = columns({})


def upgrade(connection: Connection, place: str) -> None:
    """Bring the schema to this release's version, in one transaction.

    Raises:
        ConfigurationError: the file was written by a newer release.
    """
    newest = len(MIGRATIONS)
    if is_current(connection):
        return
    # Else a view of the application's on a table that is made anew would stop the renaming.
    connection.execute("PRAGMA legacy_alter_table = ON")
    connection.execute("BEGIN IMMEDIATE")
    version = version_of(connection)
    if version > newest:
        connection.execute("ROLLBACK")
        raise _newer(version, place)
    _apply(connection, MIGRATIONS[version:])
    connection.execute("CREATE TABLE IF NOT EXISTS portico_schema (version INTEGER NOT NULL)")
    connection.execute("DELETE FROM portico_schema")
    connection.execute("INSERT INTO portico_schema VALUES (?)", (newest,))
    connection.execute("COMMIT")
    connection.execute("PRAGMA legacy_alter_table = OFF")
    if version < _CHECKED <= newest:
        _tell_of_damage(connection, place)


_CHECKED = 3
"""The version whose tables refuse what does not belong there."""
_THEIRS = """
SELECT name, sql FROM sqlite_master WHERE type IN ('index', 'trigger') AND sql IS NOT NULL
    AND tbl_name LIKE 'portico~_%' ESCAPE '~' AND name NOT LIKE 'portico~_%' ESCAPE '~'"""
"""What the application has made on our tables: it goes with a table that is made anew."""


def _apply(connection: Connection, scripts: Sequence[str]) -> None:
    theirs = connection.execute(_THEIRS).fetchall()
    for script in scripts:
        for statement in script.split(";"):
            connection.execute(statement)
    kept = {name for name, _ in connection.execute(_THEIRS)}
    for statement in (sql for name, sql in theirs if name not in kept):
        connection.execute(statement)


def _tell_of_damage(connection: Connection, place: str) -> None:
    (rows,) = connection.execute("SELECT count(*) FROM portico_damaged").fetchone()
    if rows:
        logger.error(
            "damaged_rows_mended",
            store=place,
            rows=rows,
            next="something other than Portico had written to them; jobs among them that had not "
            "ended are dead-lettered, and all are kept as they were in the table portico_damaged",
        )


def is_current(connection: Connection) -> bool:
    """Whether the schema is of this release's version."""
    return version_of(connection) == len(MIGRATIONS)


def check(connection: Connection, place: str) -> None:
    """Make sure that the tables are there, and of this release's version.

    Raises:
        ConfigurationError: they are not; the message says what to do.
    """
    version, newest = version_of(connection), len(MIGRATIONS)
    if version > newest:
        raise _newer(version, place)
    if version == 0:
        raise ConfigurationError(
            f"{place}: there are no tables of Portico's in it; name the right file, or have them "
            "made: portico migrate up, or the first supervisor or producer",
            {"version": version, "needed": newest},
        )
    if version < newest:
        raise ConfigurationError(
            f"{place} has schema version {version}, and this release of Portico needs version "
            f"{newest}; run `portico migrate up`",
            {"version": version, "needed": newest},
        )


def _newer(version: int, place: str) -> ConfigurationError:
    newest = len(MIGRATIONS)
    return ConfigurationError(
        f"{place} has schema version {version}, and this release of Portico knows versions "
        f"up to {newest}; upgrade Portico, or name another file",
        {"version": version, "known": newest},
    )


def version_of(connection: Connection) -> int:
    """Which version a file has; 0 when it has none."""
    known = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'portico_schema'")
    if known.fetchone() is None:
        return 0
    row = connection.execute("SELECT version FROM portico_schema").fetchone()
    return 0 if row is None else int(row[0])
