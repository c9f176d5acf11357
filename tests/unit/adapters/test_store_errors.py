"""What each store's error is: to be waited for, or mended, or a defect; and what it is called."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from ssl import SSLCertVerificationError

import asyncpg
import pytest
from redis import exceptions as driver

from portico.adapters.job_queue._postgres import errors as postgres
from portico.adapters.job_queue._postgres.place import place_of
from portico.adapters.job_queue._redis import errors as redis
from portico.adapters.job_queue._redis.place import redis_place
from portico.adapters.job_queue._sqlite import connection as sqlite
from portico.exceptions import ConfigurationError, QueueConnectionError

POSTGRES, _ = place_of("postgresql://user:hush@localhost/jobs")
REDIS = redis_place("redis://user:hush@localhost")
REDIS_TLS = redis_place("rediss://user:hush@localhost/7")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (asyncpg.InvalidPasswordError("password authentication failed"), "login"),
        (asyncpg.InvalidAuthorizationSpecificationError("no pg_hba.conf entry"), "login"),
        (asyncpg.InvalidCatalogNameError("database does not exist"), "database"),
        (asyncpg.InsufficientPrivilegeError("permission denied for table x"), "rights"),
        (asyncpg.UndefinedTableError("relation does not exist"), "schema"),
        (asyncpg.UndefinedColumnError("column does not exist"), "schema"),
        (SSLCertVerificationError("certificate has expired"), "certificate"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_postgres_refuses_is_a_matter_of_configuration_with_a_name(
    error: Exception, reason: str
) -> None:
    told = postgres.translated(error, POSTGRES)
    assert isinstance(told, ConfigurationError)
    assert told.details == {"reason": reason}
    assert "hush" not in str(told)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (asyncpg.ObjectNotInPrerequisiteStateError("not accepting connections"), "no connections"),
        (asyncpg.TooManyConnectionsError("too many clients"), "no more connections"),
        (asyncpg.CannotConnectNowError("the database system is starting up"), "it is starting"),
        (asyncpg.ReadOnlySQLTransactionError("cannot execute UPDATE"), "read-only"),
        (asyncpg.TargetServerAttributeNotMatched("none of the hosts"), "no server that takes wri"),
        (asyncpg.DiskFullError("could not extend file"), "disk is full"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_postgres_cannot_now_is_an_outage(error: Exception, said: str) -> None:
    told = postgres.translated(error, POSTGRES)
    assert isinstance(told, QueueConnectionError)
    assert said in str(told)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (driver.AuthenticationError("invalid username-password pair"), "login"),
        (driver.ResponseError("WRONGPASS invalid username-password pair"), "login"),
        (driver.ResponseError("NOAUTH Authentication required."), "login"),
        (driver.NoPermissionError("this user has no permissions to run evalsha"), "rights"),
        (driver.ResponseError("NOPERM no permissions to access one of the keys"), "rights"),
        (driver.ResponseError("ERR DB index is out of range"), "database"),
        (driver.ConnectionError("Error 1: certificate has expired"), "certificate"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_redis_refuses_is_a_matter_of_configuration_with_a_name(
    error: Exception, reason: str
) -> None:
    told = redis.translated(error, REDIS_TLS)
    assert isinstance(told, ConfigurationError)
    assert told.details == {"reason": reason}
    assert "hush" not in str(told)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (driver.ResponseError("DENIED Redis is running in protected mode"), "denied"),
        (driver.ConnectionError("max number of clients reached"), "maxclients"),
        (driver.ResponseError("MISCONF Redis is configured to save"), "misconf"),
        (driver.ReadOnlyError("You can't write against a read only replica."), "readonly"),
        (driver.BusyLoadingError("Redis is loading the dataset in memory"), "loading"),
        (driver.ResponseError("NOREPLICAS Not enough good replicas to write."), "noreplicas"),
        (driver.OutOfMemoryError("command not allowed when used memory > 'maxmemory'."), "full"),
        (driver.ConnectionError("Connection closed by server."), "unreachable"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_redis_cannot_now_is_an_outage_with_a_name(error: Exception, reason: str) -> None:
    told = redis.translated(error, REDIS)
    assert isinstance(told, QueueConnectionError)
    assert told.details == {"reason": reason}


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (sqlite3.SQLITE_PERM, "unreachable"),
        (sqlite3.SQLITE_AUTH, "unreachable"),
        (sqlite3.SQLITE_READONLY, "unreachable"),
        (sqlite3.SQLITE_CANTOPEN, "unreachable"),
        (sqlite3.SQLITE_IOERR, "unreachable"),
        (sqlite3.SQLITE_BUSY, "locked"),
        (sqlite3.SQLITE_FULL, "full"),
    ],
)
def test_what_a_file_in_use_refuses_is_an_outage(code: int, reason: str) -> None:
    error = sqlite3.OperationalError("it says so")
    error.sqlite_errorcode = code
    told = sqlite.translated(error, sqlite.Place("sqlite:///jobs.db", Path("jobs.db")))
    assert isinstance(told, QueueConnectionError)
    assert told.details["reason"] == reason
