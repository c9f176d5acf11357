"""Why a connection of the caller's cannot be used, and what to do about it."""

from __future__ import annotations

from portico.exceptions import ValidationError

KINDS = "sqlite3, aiosqlite, psycopg 3 and asyncpg connections, SQLAlchemy sessions and connections"


def name_of(connection: object) -> str:
    """The type of a connection; never its `repr`, which may tell where it leads."""
    kind = type(connection)
    return f"{kind.__module__}.{kind.__qualname__}"


def refused(connection: object, reason: str) -> ValidationError:
    """The error for a connection that cannot be used."""
    return ValidationError(f"the connection ({name_of(connection)}) {reason}")


def unknown(connection: object) -> ValidationError:
    return refused(
        connection, f"is of a kind that is not known; jobs can be created within {KINDS}"
    )


def closed(connection: object) -> ValidationError:
    return refused(connection, "is closed; give one with an open transaction")


def autocommit(connection: object) -> ValidationError:
    return refused(
        connection,
        "has no transaction open, and commits each statement by itself; begin one first, or use "
        "create_job of the service itself",
    )


def aborted(connection: object) -> ValidationError:
    return refused(
        connection, "is in a transaction that has failed; roll it back, and begin another one"
    )


def pipelined(connection: object) -> ValidationError:
    return refused(
        connection,
        "is in pipeline mode, in which no answer comes before its end; create the job before or "
        "after the `with connection.pipeline()` block",
    )


def read_only(connection: object) -> ValidationError:
    return refused(connection, "begins transactions that may only read; give one that may write")


def other_dialect(connection: object, theirs: str, ours: str) -> ValidationError:
    return refused(
        connection,
        f"leads to a {theirs} database, and the queue is in {ours}; give a connection to the "
        "queue's own database",
    )
