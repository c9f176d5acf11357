"""Every verb of the command over damaged rows: these are shown as far as they can be read, or
refused in one line, and nothing ends in a traceback of Python's."""

from __future__ import annotations

import asyncio
import io
import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest
import redis as driver

from portico import compose
from portico.adapters.job_queue._sqlite.schema import upgrade
from portico.cli.command import run
from portico.ports.leasing import Settlement, Transition
from tests.support.damage import FAILURE
from tests.support.jobs import make_job
from tests.support.postgres_queues import schema_of
from tests.support.redis_queues import own_namespace
from tests.support.servers import PostgresServer, RedisServer

pytestmark = pytest.mark.security("S8")

ODD: list[Any] = [b"\0\xff", 1.5, "a\0b\x1b[2J"]


class Said:
    """What a run of the command has said; never a traceback, and nothing that a terminal obeys."""

    def __init__(self, *arguments: str) -> None:
        streams = [io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2)]
        with redirect_stdout(streams[0]), redirect_stderr(streams[1]):
            self.code = run(arguments)
        self.out, self.err = (stream.buffer.getvalue().decode() for stream in streams)  # type: ignore[attr-defined]
        assert "Traceback" not in self.err
        assert "\x1b" not in self.out + self.err


def look(url: str, *verb: str) -> Any:
    """What a verb says, in its table and as JSON; `None` where it refuses."""
    Said("-u", url, *verb)
    said = Said("-u", url, *verb, "--json")
    if said.out:
        return json.loads(said.out)
    assert said.err.startswith("portico: "), (verb, said.code, said.err)
    assert said.err.count("\n") == 1
    return None


def look_at_all(url: str, job_ids: Sequence[UUID], step: int = 1) -> None:
    """All verbs; those that look at one job at each, or at some, and at the end those that change
    one."""
    assert look(url, "status") is not None
    assert len(look(url, "jobs", "list", "--limit", "1000")["jobs"]) >= len(job_ids)
    assert look(url, "dead", "list", "--limit", "1000") is not None
    keys = look(url, "jobs", "show", str(job_ids[0])).keys()
    for job_id in job_ids[1::step]:
        shown = look(url, "jobs", "show", str(job_id))
        assert shown is None or shown.keys() == keys
    for job_id in job_ids[:: 10 * step]:
        look(url, "jobs", "result", str(job_id))
        Said("-u", url, "jobs", "cancel", str(job_id))
        Said("-u", url, "dead", "retry", str(job_id))


def columns(table: str) -> list[str]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        upgrade(connection, "here")
        return [str(row[1]) for row in connection.execute(f"PRAGMA table_info({table})")]


async def dead(url: str, count: int) -> list[UUID]:
    """So many dead jobs, each with an attempt in its history."""
    queue = compose.job_queue(url)
    await queue.initialize()
    try:
        jobs = [await queue.enqueue(make_job(max_retries=0)) for _ in range(count)]
        leases = (await queue.exchange((), ("default",), count)).leases
        ends = [Settlement(one.id, one.token, Transition.RETRY, failure=FAILURE) for one in leases]
        await queue.exchange(ends, (), 0)
    finally:
        await queue.close()
    return [job.id for job in jobs]


@pytest.mark.parametrize("table", ["portico_jobs", "portico_attempts"])
def test_no_value_in_a_column_of_sqlite_ends_a_verb_in_a_traceback(
    table: str, tmp_path: Path
) -> None:
    names = columns(table)
    url = f"sqlite:///{tmp_path / 'jobs.db'}?durability=normal"
    sound, *job_ids = asyncio.run(dead(url, len(names) * len(ODD) + 1))
    key = "id" if table == "portico_jobs" else "job_id"
    with closing(sqlite3.connect(tmp_path / "jobs.db", isolation_level=None)) as outsider:
        outsider.execute("PRAGMA ignore_check_constraints = on")
        damages = [(name, value) for name in names for value in ODD]
        for (name, value), job_id in zip(damages, job_ids, strict=True):
            with suppress(sqlite3.Error):  # the schema forbids some of them
                outsider.execute(
                    f"UPDATE {table} SET {name} = ? WHERE {key} = ?", (value, job_id.bytes)
                )
    look_at_all(url, [sound, *job_ids], step=2)


@pytest.mark.parametrize("column", ["queue_name", "total"])
def test_no_odd_count_of_a_queue_ends_a_verb_in_a_traceback(column: str, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'jobs.db'}?durability=normal"
    asyncio.run(dead(url, 1))
    with closing(sqlite3.connect(tmp_path / "jobs.db", isolation_level=None)) as outsider:
        for value in ODD:
            with suppress(sqlite3.Error):
                outsider.execute(f"UPDATE portico_queues SET {column} = ?", (value,))
            assert look(url, "status") is not None
            Said("-u", url, "status", "--queue", "default")


ODD_OF_A_TYPE = {
    "text": r"E'\x1b[2J \u202e'",
    "bytea": r"'\x00ff'",
    "bigint": str(2**63 - 1),
    "integer": str(-(2**31)),
    "smallint": str(-(2**15)),
}
ODD_FIELDS = [b"\xff\0\x1b[2J", b"9" * 40]


@pytest.mark.servers
def test_no_value_of_a_redis_hash_or_key_ends_a_verb_in_a_traceback(redis: RedisServer) -> None:
    url = own_namespace(redis.url())
    sound, *job_ids = asyncio.run(dead(url, 48))
    prefix = f"portico:{{{url.partition('=')[2]}}}:"
    with driver.Redis.from_url(redis.url()) as client:
        fields = sorted(client.hkeys(f"{prefix}job:{job_ids[0].hex}"))
        damages = [(field, value) for field in fields for value in ODD_FIELDS]
        assert fields
        for (field, value), job_id in zip(damages, job_ids, strict=False):
            client.hset(f"{prefix}job:{job_id.hex}", field, value)
        for kind, job_id in zip(("job", "body", "history"), job_ids[::-1], strict=False):
            client.delete(f"{prefix}{kind}:{job_id.hex}")
            client.sadd(f"{prefix}{kind}:{job_id.hex}", b"\xff")
        client.sadd(f"{prefix}queues", b"\xff\xfe")
        client.hset(f"{prefix}queue:".encode() + b"\xff\xfe:counts", "pending", b"\xff")
    look_at_all(url, [sound, *job_ids])


@pytest.mark.servers
def test_no_value_in_a_column_of_postgres_ends_a_verb_in_a_traceback(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    schema = schema_of(tmp_path)
    url = f"{postgres.url()}?schema={schema}"
    sound, *job_ids = asyncio.run(dead(url, 45))

    async def damage() -> None:
        """Each column in a job of its own, as far as the schema lets that."""
        connection = await asyncpg.connect(postgres.url())
        found = await connection.fetch(
            "SELECT column_name, data_type FROM information_schema.columns"
            " WHERE table_schema = $1 AND table_name = 'portico_jobs' AND column_name <> 'id'",
            schema,
        )
        for (name, kind), job_id in zip(found, job_ids, strict=False):
            value = ODD_OF_A_TYPE.get(kind, "NULL")
            with suppress(asyncpg.PostgresError):
                await connection.execute(
                    f"UPDATE {schema}.portico_jobs SET {name} = {value} WHERE id = $1", job_id
                )
        await connection.close()

    asyncio.run(damage())
    look_at_all(url, [sound, *job_ids], step=9)
