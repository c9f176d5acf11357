"""The most jobs that Redis takes: one script to settle a batch, one to lease the next."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from typing import Any

import redis

from benchmarks import noop
from benchmarks.places import driver_url
from benchmarks.samples import Timeline

BATCH = 256
_AT_ONCE = 1000

LEASE = """
local ids = redis.call('LRANGE', KEYS[1], 0, ARGV[1] - 1)
redis.call('LTRIM', KEYS[1], ARGV[1], -1)
local now, leases = redis.call('TIME')[1], {}
for number, id in ipairs(ids) do
    leases[number] = { id, redis.call('HMGET', KEYS[2] .. id, 'type', 'payload') }
    redis.call('HSET', KEYS[2] .. id, 'status', 'running', 'token', ARGV[2])
    redis.call('ZADD', KEYS[3], now + 60, id)
end
return leases
"""
SETTLE = """
local now, done = redis.call('TIME')[1], 0
for at = 2, #ARGV, 2 do
    local key = KEYS[1] .. ARGV[at]
    local row = redis.call('HMGET', key, 'status', 'token')
    if row[1] == 'running' and row[2] == ARGV[1] then
        redis.call('HSET', key, 'status', 'completed', 'result', ARGV[at + 1], 'ended', now)
        redis.call('ZREM', KEYS[2], ARGV[at])
        done = done + 1
    end
end
return done
"""


def redis_rate(url: str, jobs: int, batch: int = BATCH) -> float:
    """Jobs per second from the first tenth to the last, in keys that are removed."""
    prefix = f"bench:{{{secrets.token_hex(6)}}}:"
    with redis.Redis.from_url(driver_url(url), protocol=2) as client:
        lease, settle = client.register_script(LEASE), client.register_script(SETTLE)
        names = [f"{prefix}{name}" for name in ("ready", "job:", "leases")]
        ids = _fill(client, names, jobs)
        timeline, token = Timeline(jobs), ""
        held: list[str] = []
        while not timeline.complete:
            if held:
                pairs = [part for job_id in held for part in (job_id, b"{}")]
                settled = settle(names[1:], [token, *pairs])
                timeline.add(time.perf_counter(), int(settled))
            token = secrets.token_hex(16)
            held = [found[0] for found in lease(names, [batch, token])]
        _remove(client, names, ids)
        return timeline.rate()


def _fill(client: redis.Redis, names: Sequence[str], jobs: int) -> list[str]:
    ready, job, _ = names
    ids = []
    for first in range(0, jobs, _AT_ONCE):
        pipeline = client.pipeline(transaction=False)
        for draft in noop.drafts(min(_AT_ONCE, jobs - first)):
            ids.append(draft.id.hex)
            row: dict[Any, Any] = {
                "type": draft.job_type, "payload": draft.payload, "status": "pending",
            }  # fmt: skip
            pipeline.hset(f"{job}{draft.id.hex}", mapping=row)
            pipeline.rpush(ready, draft.id.hex)
        pipeline.execute()
    return ids


def _remove(client: redis.Redis, names: Sequence[str], ids: Sequence[str]) -> None:
    for first in range(0, len(ids), _AT_ONCE):
        client.unlink(*(f"{names[1]}{job_id}" for job_id in ids[first : first + _AT_ONCE]))
    client.unlink(*names)
