"""The raw limits, by the kind of queue that they bound."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import uvloop

from benchmarks import pipe_limit, postgres_limit, redis_limit, sqlite_limit


@dataclass(frozen=True)
class Limit:
    """What no implementation can exceed by much; `measure(jobs, workers, directory)`."""

    name: str
    jobs: int
    measure: Callable[[int, int, Path], float]


def _pipe(jobs: int, workers: int, _: Path) -> float:
    return uvloop.run(pipe_limit.pipe_rate(jobs, workers))


def _sqlite(jobs: int, _: int, directory: Path) -> float:
    with TemporaryDirectory(prefix="bench-", dir=directory) as name:
        return sqlite_limit.sqlite_rate(Path(name) / "limit.db", jobs)


PIPE = Limit(f"pipes, batches of {pipe_limit.BATCH}", 200_000, _pipe)
SQLITE = Limit(f"SQLite WAL/FULL, batches of {sqlite_limit.BATCH}", 20_000, _sqlite)
ALL = (PIPE, SQLITE)


def limit_of(queue_url: str) -> Limit:
    """The limit that bounds a queue."""
    if queue_url.startswith(("redis:", "rediss:", "valkey:", "valkeys:")):
        name = f"Redis, two scripts, batches of {redis_limit.BATCH}"
        return Limit(name, 50_000, lambda jobs, _, __: redis_limit.redis_rate(queue_url, jobs))
    if queue_url.startswith(("postgresql:", "postgres:")):
        name = f"PostgreSQL, SKIP LOCKED over asyncpg, batches of {postgres_limit.BATCH}"
        return Limit(
            name, 20_000, lambda jobs, _, __: uvloop.run(postgres_limit.rate(queue_url, jobs))
        )
    return SQLITE if queue_url.startswith("sqlite:") else PIPE
