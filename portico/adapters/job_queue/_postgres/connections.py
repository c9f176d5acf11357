"""Connections to the server: made ready, used for one piece of work, thrown away when in doubt."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

import asyncpg

from portico.adapters.job_queue._opening import not_open
from portico.adapters.job_queue._postgres.errors import AGAIN, LOST, UNUSABLE, translated
from portico.adapters.job_queue._postgres.place import OWN_PATH, PostgresPlace
from portico.adapters.job_queue._turns import Turns
from portico.exceptions import ConfigurationError, PorticoError
from portico.utils.logging import get_logger

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    AnyConnection = asyncpg.Connection[Any] | PoolConnectionProxy[Any]
else:
    AnyConnection = asyncpg.Connection

T = TypeVar("T")
Work = Callable[[AnyConnection], Awaitable[T]]

OLDEST = 13
"""The first version of PostgreSQL that is supported."""
_MEET_TYPES = (
    "SELECT $1::uuid[], $2::text[], $3::bytea[], $4::integer[], $5::bigint[], $6::boolean[],"
    " $7::double precision[], ARRAY(SELECT ROW(1))"
)
"""The driver asks the server about each of these before it uses it, by functions' bare names."""
_TRIES = 6
_FIRST_PAUSE = 0.005
_GOODBYE = 2.0
"""Seconds for connections in use to be given back at the end."""

logger = get_logger(__name__)


class Connections:
    """A pool of connections to one place.

    Each piece of work runs on a connection of its own, is repeated after a deadlock, and has its
    errors told as `portico.exceptions`.
    """

    def __init__(self, place: PostgresPlace) -> None:
        self.place = place
        self.pooled = False
        """Whether a pooler stands in between: nothing may be kept in a session."""
        self._pool: asyncpg.Pool[Any] | None = None
        self._turns = self._fresh_turns()

    def _fresh_turns(self) -> Turns:
        place = self.place
        return Turns(place.pool_size, place.connect_timeout + place.command_timeout)

    @property
    def open(self) -> bool:
        """Whether there is a pool."""
        return self._pool is not None

    async def start(self, prepare: Work[None]) -> None:
        """Find out what the server is, let `prepare` look at it, and make the pool.

        Raises:
            ConfigurationError: it cannot be used as it is.
            QueueConnectionError: it cannot be reached right now.
        """
        try:
            first = await self.connect(bare=True)
            try:
                await self._recognise(first)
                await self._pin(first)
                await prepare(first)
            finally:
                await _closed(first)
            self._turns = self._fresh_turns()
            self._pool = await asyncpg.create_pool(
                min_size=0,
                max_size=self.place.pool_size,
                init=self._ready,
                reset=_nothing,
                **self._arguments(bare=self.pooled),
            )
        except Exception as error:  # noqa: BLE001 - translated, whatever it is
            told = translated(error, self.place)
            raise told from told.cause  # one without a cause has something to hide

    async def stop(self) -> None:
        """Close what there is; work that is under way has a moment to end."""
        pool, self._pool = self._pool, None
        if pool is None:
            return
        try:
            await asyncio.wait_for(pool.close(), _GOODBYE)
        except (TimeoutError, *LOST):
            pool.terminate()

    async def run(self, work: Work[T], *, atomic: bool = False) -> T:
        """Do some work on a connection.

        Args:
            work: gets the connection. May be called again after a deadlock, so it must be one
                statement, or be done atomically.
            atomic: in one transaction.

        Raises:
            QueueConnectionError: the store cannot be reached; what was to be changed may be.
            DatabaseError: it refused; nothing was changed.
        """
        for trial in range(1, _TRIES + 1):
            try:
                return await self._once(work, atomic=atomic)
            except AGAIN as error:
                if trial == _TRIES:
                    raise translated(error, self.place) from error
                await asyncio.sleep(_FIRST_PAUSE * 2**trial * random.random())  # noqa: S311
            except PorticoError:
                raise
            except Exception as error:
                raise translated(error, self.place) from error
        raise AssertionError("unreachable")

    async def _once(self, work: Work[T], *, atomic: bool) -> T:
        pool = self._pool
        if pool is None:
            raise not_open(self.place)
        async with self._turns.turn(lambda error: translated(error, self.place)):
            return await self._with_connection(pool, work, atomic=atomic)

    async def _with_connection(self, pool: asyncpg.Pool[Any], work: Work[T], *, atomic: bool) -> T:
        # The pool's own limit would begin only when a connection is free.
        async with asyncio.timeout(self.place.connect_timeout + self.place.command_timeout):
            connection = await pool.acquire(timeout=self.place.connect_timeout)
        try:
            if not atomic:
                return await work(connection)
            async with connection.transaction():
                return await work(connection)
        except (*LOST, *UNUSABLE, asyncio.CancelledError):
            with suppress(asyncpg.InterfaceError):  # the pool may have seen it break already
                connection.terminate()  # its state is unknown, and asking might take for ever
            raise
        finally:
            await pool.release(connection)

    async def connect(self, *, bare: bool) -> asyncpg.Connection[Any]:
        """A connection beside the pool.

        Args:
            bare: without anything that a session would have to keep.
        """
        connection: asyncpg.Connection[Any] = await asyncpg.connect(**self._arguments(bare=bare))
        if bare:
            self._watch_socket(connection)
        else:
            await self._ready(connection)
        return connection

    def _arguments(self, *, bare: bool) -> dict[str, Any]:
        return {
            **self.place.connect,
            "timeout": self.place.connect_timeout,
            "command_timeout": self.place.command_timeout,
            **({"statement_cache_size": 0} if bare else {}),
        }

    async def _recognise(self, connection: asyncpg.Connection[Any]) -> None:
        version = connection.get_server_version()
        if version.major < OLDEST:
            raise ConfigurationError(
                f"{self.place}: the server is PostgreSQL {version.major}, and Portico needs "
                f"{OLDEST} or newer; upgrade the server",
                {"version": version.major, "needed": OLDEST},
            )
        encoding = await connection.fetchval("SELECT pg_catalog.getdatabaseencoding()")
        if encoding != "UTF8":
            raise ConfigurationError(
                f"{self.place}: the database has the encoding {encoding}, and texts of jobs need "
                "UTF8; make one: CREATE DATABASE name ENCODING 'UTF8' TEMPLATE template0",
                {"encoding": encoding, "needed": "UTF8"},
            )
        if self.place.pgbouncer is not None:
            self.pooled = self.place.pgbouncer
        else:
            # A pooler makes up the number of the process that it tells its clients.
            pid = await connection.fetchval("SELECT pg_catalog.pg_backend_pid()")
            self.pooled = pid != connection.get_server_pid()
        if self.pooled:
            logger.info(
                "postgres_pooler",
                queue=self.place.url,
                next="nothing is prepared and nothing is listened for; waiting jobs are polled for",
            )

    async def _ready(self, connection: AnyConnection) -> None:
        """What every session of the pool has."""
        self._watch_socket(connection)
        await self._pin(connection)
        if self.pooled:
            return
        limit = int(self.place.command_timeout * 1000)
        await connection.execute(
            f"SET statement_timeout = {limit};"
            f"SET idle_in_transaction_session_timeout = {2 * limit};"
            "SET default_transaction_isolation = 'read committed';"
        )

    async def _pin(self, connection: AnyConnection) -> None:
        """Let nobody else's functions be called, by our statements or by the driver's own."""
        if not self.pooled:
            await connection.execute(f"SET search_path = {OWN_PATH}")
            return
        async with connection.transaction():
            await connection.execute(f"SET LOCAL search_path = {OWN_PATH}")
            await connection.fetch(_MEET_TYPES, *([None] * _MEET_TYPES.count("$")))

    def _watch_socket(self, connection: AnyConnection) -> None:
        """Let the system notice a peer that is gone."""
        transport = getattr(connection, "_transport", None)
        found = transport.get_extra_info("socket") if transport else None
        if found is None or found.family == getattr(socket, "AF_UNIX", None):
            return
        wanted = {
            "TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3,
            "TCP_USER_TIMEOUT": self.place.tcp_user_timeout,
        }  # fmt: skip
        with suppress(OSError):
            found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, value in wanted.items():
                if hasattr(socket, name):
                    found.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


async def _closed(connection: asyncpg.Connection[Any]) -> None:
    try:
        await connection.close(timeout=_GOODBYE)
    except (TimeoutError, asyncpg.PostgresError, *LOST):
        connection.terminate()


async def _nothing(_: AnyConnection) -> None:
    """No session is ever changed, so there is nothing to put back; asking would cost a trip."""
