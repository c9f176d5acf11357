"""An empty store for every run, on the same servers for all."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

from benchmarks import servers

SETTINGS: Mapping[str, Mapping[str, str]] = {
    "sqlite": {"journal_mode": "WAL", "synchronous": "FULL"},  # what Portico sets by itself
    "postgresql": servers.POSTGRES_SETTINGS,
    "redis": servers.REDIS_SETTINGS,
}


class Stores:
    """The servers, and what is made on them for a run.

    Args:
        given: URLs of servers that exist, by `postgresql` and `redis`; private ones else. The
            database of a given Redis is emptied, so it must be empty at the start.
        cache: where SQLite's files go.
    """

    def __init__(self, given: Mapping[str, str], cache: Path) -> None:
        self._given, self._cache = given, cache
        self._urls: dict[str, str] = {}
        self._started = ExitStack()

    def open(self, needed: Sequence[str]) -> None:
        """Start what is needed and was not given.

        Raises:
            ValueError: there is something in the database of the given Redis.
        """
        for store in sorted({"postgresql", "redis"} & set(needed)):
            start = {"postgresql": servers.postgres, "redis": servers.redis}[store]
            given = self._given.get(store)
            self._urls[store] = given or self._started.enter_context(start())
        if "redis" in self._urls and (keys := _keys(self._urls["redis"])):
            raise ValueError(f"the Redis database holds {keys} keys, and would be emptied")

    def close(self) -> None:
        """Stop what was started."""
        self._started.close()

    def settings(self) -> dict[str, object]:
        """How the stores are set up; of a given server only that it was given."""
        return {
            store: "as given" if store in self._given else dict(SETTINGS[store])
            for store in ("sqlite", *self._urls)
        }

    @contextmanager
    def place(self, store: str) -> Iterator[str]:
        """The URL of an empty store, which is removed afterwards."""
        if store == "memory":
            yield "memory://"
        elif store == "sqlite":
            with TemporaryDirectory(prefix="run-", dir=self._cache) as folder:
                yield f"sqlite:///{Path(folder).absolute()}/jobs.db"
        elif store == "redis":
            _flush(self._urls["redis"])
            yield self._urls["redis"]
            _flush(self._urls["redis"])
        else:
            yield from _database(self._urls["postgresql"])


def _keys(url: str) -> int:
    import redis

    with redis.Redis.from_url(url) as client:
        return int(client.dbsize())  # type: ignore[arg-type]  # it is not awaitable here


def _flush(url: str) -> None:
    import redis

    with redis.Redis.from_url(url) as client:
        client.flushdb()


def _database(url: str) -> Iterator[str]:
    name = f"bench_{token_hex(6)}"
    asyncio.run(_execute(url, f"CREATE DATABASE {name}"))
    try:
        yield urlsplit(url)._replace(path=f"/{name}").geturl()
    finally:
        asyncio.run(_execute(url, f"DROP DATABASE {name} WITH (FORCE)"))


async def _execute(url: str, statement: str) -> None:
    import asyncpg

    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
