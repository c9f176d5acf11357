"""PostgreSQL's errors in Portico's words."""

from __future__ import annotations

import asyncio
from ssl import SSLError

import asyncpg

from portico.adapters.job_queue._postgres.place import PostgresPlace
from portico.exceptions import (
    ConfigurationError,
    DatabaseError,
    PorticoError,
    QueueConnectionError,
)

AGAIN = (
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.InvalidCachedStatementError,
)
"""After these the same transaction is tried once more."""
LOST = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # what the driver makes of a connection that ends in mid-operation
    OSError,
    asyncio.TimeoutError,
)
"""After these nobody knows whether a commit took place, and the connection is of no use."""
UNUSABLE = (
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.IdleInTransactionSessionTimeoutError,
)
"""After these another connection may do, perhaps to another server."""
REFUSED = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,
    asyncpg.RaiseError,
)
"""What the server says of one row, and means of the whole statement."""
_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (asyncpg.DiskFullError, "its disk is full; nothing was changed, free some space"),
    (asyncpg.ReadOnlySQLTransactionError, "it has become read-only"),
    (asyncpg.TooManyConnectionsError, "it takes no more connections; raise max_connections"),
    (asyncpg.InsufficientResourcesError, "it has run out of memory or another resource"),
    (asyncpg.QueryCanceledError, "a statement took too long and was cancelled"),
    (asyncpg.LockNotAvailableError, "a lock was not to be had"),
    (asyncpg.ObjectNotInPrerequisiteStateError, "it takes no connections to this database"),
    (asyncpg.OperatorInterventionError, "it is starting, stopping or recovering"),
    (asyncpg.TransactionRollbackError, "others kept it from going through"),
    (asyncpg.TargetServerAttributeNotMatched, "no server that takes writes was found"),
    (asyncpg.PostgresConnectionError, "the connection broke"),
    (asyncpg.InterfaceError, "the connection broke"),
    (asyncpg.InternalClientError, "the connection broke"),
    (asyncio.TimeoutError, "it did not answer in time"),
    (OSError, "it cannot be connected to"),
    (asyncpg.PostgresIOError, "it cannot read or write its files"),
)
_KINDS: tuple[tuple[type[Exception], str], ...] = (
    (asyncpg.DiskFullError, "full"),
    (asyncpg.LockNotAvailableError, "locked"),
)
_INCOMPLETE = "the schema is not there or incomplete; run `portico migrate up`"
_UNFIT: tuple[tuple[type[Exception], str, str], ...] = (
    (asyncpg.InvalidPasswordError, "login", "the user or the password is wrong"),
    (
        asyncpg.InvalidAuthorizationSpecificationError,
        "login",
        "the server does not let this user in; see its pg_hba.conf",
    ),
    (
        asyncpg.InvalidCatalogNameError,
        "database",
        "the database does not exist; create it, or name another one",
    ),
    (asyncpg.ClientConfigurationError, "options", "the options do not fit together"),
    (
        SSLError,
        "certificate",
        "its certificate does not verify; give the authority that signed it with "
        "sslrootcert=FILE, the host name that it was made for, or another sslmode",
    ),
    (
        asyncpg.InsufficientPrivilegeError,
        "rights",
        "this user lacks a right; let its owner run `portico migrate up`, and grant the rest",
    ),
    (asyncpg.UndefinedTableError, "schema", _INCOMPLETE),
    (asyncpg.UndefinedColumnError, "schema", _INCOMPLETE),
    (asyncpg.UndefinedFunctionError, "schema", _INCOMPLETE),
    (asyncpg.InvalidSchemaNameError, "schema", _INCOMPLETE),
)
"""What waiting does not mend, unless the server was well before; and for programs, what it is."""


def translated(error: BaseException, place: PostgresPlace) -> PorticoError:
    """The error as callers know it."""
    if isinstance(error, PorticoError):
        return error
    cause = error if isinstance(error, Exception) else None
    if _is_unreadable(error):
        # Not what it says: it may quote a password that was taken for something else.
        return ConfigurationError(
            f"{place} cannot be read; write / ? # @ : and % in names and passwords as %2F %3F %23 "
            "%40 %3A and %25, and ports as numbers"
        )
    for kind, what, reason in _UNFIT:
        if isinstance(error, kind):
            return ConfigurationError(
                f"{place} cannot be used: {reason} ({_said(error)})", {"reason": what}, cause
            )
    # One that goes down says no to encryption, too, and the driver takes its goodbye for that.
    rejected = isinstance(error, ConnectionError) and "rejected SSL" in str(error)
    if rejected and place.tls != "prefer":
        return ConfigurationError(
            f"{place} cannot be used: the server offers no encryption; set it up, or give "
            "sslmode=disable where the network is trusted",
            {"reason": "encryption"},
            cause,
        )
    for kind, reason in _REASONS:
        if isinstance(error, kind):
            told = next((name for one, name in _KINDS if isinstance(error, one)), "unreachable")
            return QueueConnectionError(
                f"{place} cannot be used right now: {reason} ({_said(error)})",
                {"reason": told},
                cause=cause,
            )
    return DatabaseError(f"{place}: {_said(error)}", cause=cause)


def _is_unreadable(error: BaseException) -> bool:
    """Whether the driver could not take the URL apart."""
    if isinstance(error, asyncpg.InterfaceError):
        return isinstance(error, ValueError) and "connection URI" in str(error)
    return isinstance(error, ValueError) and not isinstance(error, SSLError)


def _said(error: BaseException) -> str:
    """Without what the server adds to its message: it may quote a row, with what it holds."""
    told = error.args[0] if isinstance(error, asyncpg.PostgresError) and error.args else error
    return str(told) or type(error).__name__
