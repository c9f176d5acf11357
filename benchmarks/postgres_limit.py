"""The most jobs that PostgreSQL takes: one statement to settle a batch, one to lease the next."""

from __future__ import annotations

import time
from collections.abc import Sequence
from secrets import token_bytes, token_hex
from typing import Any

import asyncpg

from benchmarks import noop
from benchmarks.samples import Timeline

BATCH = 256

TABLE = """
CREATE TABLE {name} (
    seq bigserial PRIMARY KEY, id uuid NOT NULL, job_type text NOT NULL, payload bytea NOT NULL,
    status smallint NOT NULL DEFAULT 0, token bytea, result bytea, ended_at bigint
);
CREATE INDEX ON {name} (seq) WHERE status = 0;
"""
SETTLE = """
UPDATE {name} SET status = 2, result = one.result, ended_at = $4
FROM unnest($1::bigint[], $2::bytea[], $3::bytea[]) AS one (seq, token, result)
WHERE {name}.seq = one.seq AND {name}.token = one.token AND status = 1"""
LEASE = """
UPDATE {name} SET status = 1, token = $2 WHERE seq = ANY (ARRAY(
    SELECT seq FROM {name} WHERE status = 0 ORDER BY seq LIMIT $1 FOR UPDATE SKIP LOCKED
))
RETURNING seq, id, token, job_type, payload"""


async def rate(url: str, jobs: int, batch: int = BATCH) -> float:
    """Jobs per second from the first tenth to the last, in a table that is removed."""
    connection = await asyncpg.connect(url.partition("?")[0])
    name = f"bench_{token_hex(6)}"
    try:
        await connection.execute(TABLE.format(name=name))
        rows = [(draft.id, draft.job_type, draft.payload) for draft in noop.drafts(jobs)]
        await connection.copy_records_to_table(
            name, records=rows, columns=["id", "job_type", "payload"]
        )
        timeline = Timeline(jobs)
        held: Sequence[Any] = []
        while not timeline.complete:
            if held:
                await connection.execute(
                    SETTLE.format(name=name),
                    [row["seq"] for row in held],
                    [row["token"] for row in held],
                    [b"{}"] * len(held),
                    time.time_ns() // 1000,
                )
                timeline.add(time.perf_counter(), len(held))
            held = await connection.fetch(LEASE.format(name=name), batch, token_bytes(16))
        return timeline.rate()
    finally:
        await connection.execute(f"DROP TABLE IF EXISTS {name}")
        await connection.close()
