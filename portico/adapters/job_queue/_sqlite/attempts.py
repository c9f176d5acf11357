"""The history of attempts, in SQL: written only where an attempt did not succeed."""

from __future__ import annotations

from portico.adapters.job_queue._attempts import StoredAttempt
from portico.adapters.job_queue._sqlite.driver import Connection
from portico.ports.leasing import MAX_HISTORY

_FIELDS = StoredAttempt._fields
_NOTE = f"""
INSERT INTO portico_attempts (job_id, {", ".join(_FIELDS)})
VALUES ({", ".join("?" * (len(_FIELDS) + 1))})"""
_TRIM = f"""
DELETE FROM portico_attempts WHERE seq IN (
    SELECT seq FROM portico_attempts WHERE job_id = ? ORDER BY seq DESC
    LIMIT -1 OFFSET {MAX_HISTORY})"""

_TEXTS = ("owner", "error_type", "error_message", "traceback", "signal", "output")
_COLUMNS = ", ".join(f"CAST({name} AS TEXT)" if name in _TEXTS else name for name in _FIELDS)
_HISTORY = f"SELECT {_COLUMNS} FROM portico_attempts WHERE job_id = ? ORDER BY seq"


def note(connection: Connection, job_id: bytes, attempt: StoredAttempt) -> None:
    """Add an attempt to the history of its job, and drop the oldest beyond the limit."""
    connection.execute(_NOTE, (job_id, *attempt))
    connection.execute(_TRIM, (job_id,))


def history(connection: Connection, job_id: bytes) -> list[StoredAttempt]:
    """The attempts of a job that did not succeed, oldest first."""
    return [StoredAttempt(*row) for row in connection.execute(_HISTORY, (job_id,))]


def forget(connection: Connection, job_id: bytes) -> None:
    """Delete the history of a job that is deleted."""
    connection.execute("DELETE FROM portico_attempts WHERE job_id = ?", (job_id,))
