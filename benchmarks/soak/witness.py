"""What the store itself can tell of a run, and how it is kept from answering for a while.

Every change of a job's status is written down where it happens: by a trigger in the transaction
that makes it, or by the server as it carries out a command. So none is missed, and none is written
down that was rolled back.
"""

from __future__ import annotations

import asyncio
import re
import sqlite3
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

from benchmarks.places import driver_url
from benchmarks.soak import ledger

_PATIENCE = 10.0
"""Seconds that the lock is waited for, behind everybody else."""
_QUIET = 1.0
"""Seconds in which a server's last words arrive."""


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


class Witness(ABC):
    """Watches one queue, whose schema exists."""

    expires_alone = False
    """Leases go by the store's clock, which goes on while nobody can reach it."""

    @abstractmethod
    def watch(self) -> None:
        """Have every change of status written down from now on."""

    @abstractmethod
    def changes(self) -> list[Change]:
        """Every change of status, in order."""

    @abstractmethod
    def hold(self, seconds: float, calm: threading.Event) -> float | None:
        """Keep everybody out for so long, or until it is calm; since when, `None` if it failed."""

    def flaws(self) -> list[str]:
        """What the store finds wrong with itself."""
        return []


def witness_of(url: str) -> Witness:
    """The witness of a queue, by its URL."""
    scheme, _, rest = url.partition("://")
    if scheme == "sqlite":
        return SqliteWitness(Path(rest[1:].partition("?")[0]))
    if scheme in ("postgresql", "postgres"):
        return PostgresWitness(url)
    return RedisWitness(url)


def _pid(owner: str | None) -> int:
    """An owner's name is host, process, and perhaps more."""
    return int(owner.split(":")[1]) if owner else 0


class SqliteWitness(Witness):
    """A trigger in the file."""

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

    def __init__(self, path: Path) -> None:
        self._path = path

    def watch(self) -> None:
        with closing(sqlite3.connect(self._path)) as connection:
            connection.executescript(self._TRIGGER)

    def changes(self) -> list[Change]:
        with closing(sqlite3.connect(self._path)) as connection:
            rows = connection.execute(
                "SELECT id, at, old, new, attempt, how, owner FROM soak_changes ORDER BY seq"
            ).fetchall()
        return _changed([(UUID(bytes=key), *rest) for key, *rest in rows])

    def flaws(self) -> list[str]:
        with closing(sqlite3.connect(self._path)) as connection:
            found = [str(row[0]) for row in connection.execute("PRAGMA integrity_check")]
        return [flaw for flaw in found if flaw != "ok"]

    def hold(self, seconds: float, calm: threading.Event) -> float | None:
        with closing(sqlite3.connect(self._path, _PATIENCE, isolation_level=None)) as holder:
            try:
                holder.execute("BEGIN EXCLUSIVE")
            except sqlite3.OperationalError:
                return None
            start = ledger.now()
            calm.wait(seconds)
            holder.execute("ROLLBACK")
        return start


class PostgresWitness(Witness):
    """A trigger in the schema; the lock is one on the table of jobs."""

    expires_alone = True
    _TRIGGER = """
CREATE TABLE {schema}.soak_changes (
    seq bigserial PRIMARY KEY, id uuid, at float8, old text, new text, attempt int, how text,
    owner text
);
CREATE FUNCTION {schema}.soak_change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO {schema}.soak_changes (id, at, old, new, attempt, how, owner) VALUES (
        NEW.id, extract(epoch FROM clock_timestamp()), OLD.status, NEW.status, NEW.attempt,
        CASE WHEN OLD.status = 'running' THEN NEW.settled_as END,
        (SELECT name FROM {schema}.portico_owners WHERE portico_owners.id = NEW.owner_id));
    RETURN NULL;
END $$;
CREATE TRIGGER soak_change AFTER UPDATE ON {schema}.portico_jobs
    FOR EACH ROW WHEN (OLD.status IS DISTINCT FROM NEW.status)
    EXECUTE FUNCTION {schema}.soak_change();
"""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._url = parts._replace(query="").geturl()
        self._schema = parse_qs(parts.query).get("schema", ["portico"])[0]

    def watch(self) -> None:
        asyncio.run(self._execute(self._TRIGGER.format(schema=self._schema)))

    def changes(self) -> list[Change]:
        rows = asyncio.run(
            self._fetch(
                "SELECT id, at, old, new, attempt, how, owner "  # noqa: S608 - our own schema
                f"FROM {self._schema}.soak_changes ORDER BY seq"
            )
        )
        return _changed(rows)

    def hold(self, seconds: float, calm: threading.Event) -> float | None:
        return asyncio.run(self._hold(seconds, calm))

    async def _hold(self, seconds: float, calm: threading.Event) -> float:
        connection = await self._connected()
        try:
            async with connection.transaction():
                await connection.execute(
                    f"LOCK TABLE {self._schema}.portico_jobs IN ACCESS EXCLUSIVE MODE"
                )
                start = ledger.now()
                await asyncio.to_thread(calm.wait, seconds)
            return start
        finally:
            await connection.close()

    async def _execute(self, statements: str) -> None:
        connection = await self._connected()
        await connection.execute(statements)
        await connection.close()

    async def _fetch(self, statement: str) -> list[Any]:
        connection = await self._connected()
        rows = [tuple(row) for row in await connection.fetch(statement)]
        await connection.close()
        return rows

    async def _connected(self) -> Any:
        import asyncpg

        return await asyncpg.connect(self._url)


class RedisWitness(Witness):
    """The server tells of every command that its scripts carry out, and is held by a pause."""

    expires_alone = True
    _TOLD = re.compile(r'^([0-9.]+) \[[^]]*\] "HSET" "[^"]*:job:([0-9a-f]{32})" (.*)$')

    def __init__(self, url: str) -> None:
        import redis

        self._namespace = parse_qs(urlsplit(url).query).get("namespace", ["default"])[0]
        self._client = redis.Redis.from_url(driver_url(url), protocol=2, socket_timeout=None)
        self._told: list[str] = []

    def watch(self) -> None:
        monitor = self._client.monitor().__enter__()  # type: ignore[no-untyped-call]

        def listen() -> None:
            with suppress(Exception):  # the server goes when the run is over
                while True:
                    self._told.append(monitor.connection.read_response().decode("utf-8", "replace"))

        threading.Thread(target=listen, name="soak-monitor", daemon=True).start()

    def changes(self) -> list[Change]:
        time.sleep(_QUIET)  # noqa: TID251 - nothing says which of its words is a server's last
        rows: list[tuple[Any, ...]] = []
        known: dict[str, dict[str, str]] = {}
        for line in list(self._told):
            if f"{{{self._namespace}}}" in line and (found := self._TOLD.match(line)):
                at, job_id, rest = found.groups()
                words = re.findall(r'"((?:[^"\\]|\\.)*)"', rest)
                row = known.setdefault(job_id, {})
                before = row.get("status")
                row.update(zip(words[::2], words[1::2], strict=True))
                if before is not None and row["status"] != before:
                    after = row["status"]
                    how = row.get("ended_as") if before == "running" else None
                    if after == "completed":  # the one end that the store does not write down
                        how = "complete"
                    attempt = int(row.get("token", "")[:8] or "0", 16)
                    rows.append(
                        (UUID(job_id), float(at), before, after, attempt, how, row.get("owner"))
                    )
        return _changed(rows)

    def hold(self, seconds: float, calm: threading.Event) -> float | None:
        start = ledger.now()
        self._client.client_pause(int(seconds * 1000))
        calm.wait(seconds)
        return start


def _changed(rows: Sequence[Sequence[Any]]) -> list[Change]:
    """Rows on the wall clock, as changes on the ledger's."""
    offset = ledger.now() - time.time()
    return [
        Change(str(key), at + offset, old, new, attempt, how or "", _pid(owner))
        for key, at, old, new, attempt, how, owner in rows
    ]
