"""Queues on a PostgreSQL server whose one clock the tests turn by hand.

Every statement of the store asks `portico_now()` of its schema what time it is; here that function
is replaced from outside.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

import psycopg

from portico.adapters.job_queue import DatabaseJobQueueAdapter
from portico.ports.job_queue import JobQueueAdapter
from tests.support.servers import PostgresServer

REAL = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
_TABLES = ("jobs", "attempts", "totals", "owners")


class StoreClock:
    """The clock of a schema: the real one and an offset, or standing still."""

    def __init__(self, url: str, schema: str, *, runs: bool) -> None:
        self.connection = psycopg.connect(url, autocommit=True)
        self.schema = schema
        self._runs = runs

    def install(self) -> None:
        self.connection.execute(
            f"CREATE TABLE IF NOT EXISTS {self.schema}.test_clock (micros bigint)"
        )
        self.connection.execute(f"DELETE FROM {self.schema}.test_clock")
        self.connection.execute(f"INSERT INTO {self.schema}.test_clock VALUES (0)")
        self.connection.execute(
            f"CREATE OR REPLACE FUNCTION {self.schema}.portico_now() RETURNS bigint LANGUAGE sql "
            f"VOLATILE AS $$ SELECT {REAL if self._runs else '0::bigint'} + micros "
            f"FROM {self.schema}.test_clock $$"
        )

    def set(self, micros: int) -> None:
        self.connection.execute(f"UPDATE {self.schema}.test_clock SET micros = %s", (micros,))

    def close(self) -> None:
        self.connection.close()


class _Offsets(Protocol):
    wall_offset: float
    listeners: list[Callable[[], None]]
    one_for_all: bool


class _ClockedQueue(DatabaseJobQueueAdapter):
    def __init__(self, url: str, kept: StoreClock, clocks: _Offsets, **known: Any) -> None:
        super().__init__(url, **known)
        self._kept, self._clocks = kept, clocks

    async def initialize(self) -> None:
        await super().initialize()
        self._kept.install()
        self._clocks.listeners.append(self._tell)
        self._tell()

    def _tell(self) -> None:
        self._kept.set(int(self._clocks.wall_offset * 1_000_000))

    async def close(self) -> None:
        await super().close()
        if self._tell in self._clocks.listeners:
            self._clocks.listeners.remove(self._tell)
        self._kept.close()


def schema_of(folder: Path) -> str:
    """A schema for each folder, as a file queue has a file there."""
    return f"test_{hashlib.sha256(str(folder).encode()).hexdigest()[:16]}"


def postgres_queue(
    server: PostgresServer, folder: Path, clocks: _Offsets, **known: Any
) -> JobQueueAdapter:
    """A queue in a schema of its own, whose server goes by the offset of these clocks."""
    schema = schema_of(folder)
    clocks.one_for_all = True
    return _ClockedQueue(
        f"{server.url()}?schema={schema}&pool_size=4",
        StoreClock(server.url(), schema, runs=True),
        clocks,
        **known,
    )


class ModelSchema:
    """One schema for all examples of a state machine, emptied before each; its clock stands."""

    NAME = "model"

    def __init__(self, server: PostgresServer) -> None:
        self.url = f"{server.url()}?schema={self.NAME}&pool_size=2"
        self.clock = StoreClock(server.url(), self.NAME, runs=False)
        self._installed = False

    def empty(self) -> None:
        known = self.clock.connection.execute(
            f"SELECT to_regclass('{self.NAME}.portico_jobs') IS NOT NULL"
        ).fetchone()
        if known == (True,):
            tables = ", ".join(f"{self.NAME}.portico_{name}" for name in _TABLES)
            # Faster than to truncate, which makes new files.
            for name in tables.split(", "):
                self.clock.connection.execute(f"DELETE FROM {name}")

    def install(self, micros: int) -> None:
        if not self._installed:
            self.clock.install()
            self._installed = True
        self.clock.set(micros)

    def forget_owners(self, jobs: Iterable[UUID]) -> None:
        """Delete the rows of whoever holds these."""
        self.clock.connection.execute(
            f"DELETE FROM {self.NAME}.portico_owners WHERE id IN (SELECT owner_id FROM "
            f"{self.NAME}.portico_jobs WHERE id = ANY(%s))",
            (list(jobs),),
        )

    def close(self) -> None:
        self.clock.close()
