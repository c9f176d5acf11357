"""An empty store for every run, on the same servers for all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

from benchmarks import servers
from benchmarks.servers import NoServerError


class Stores:
    """The servers, and what is made on them for a run.

    Args:
        given: URLs of servers that exist, by `postgresql` and `redis`; private ones else, started
            when they are needed first.
        cache: where SQLite's files go.

    Raises:
        NoServerError: the database of the given Redis, which would be emptied, is not empty.
    """

    def __init__(self, given: Mapping[str, str], cache: Path) -> None:
        self._urls, self._cache = dict(given), cache
        self._started = ExitStack()
        if "redis" in given and (keys := _keys(given["redis"])):
            raise NoServerError(f"the Redis database holds {keys} keys, and would be emptied")

    def close(self) -> None:
        """Stop what was started."""
        self._started.close()

    def settings(self) -> dict[str, object]:
        """How the stores that were used are set up, as they say themselves."""
        asked = {"redis": _redis_settings, "postgresql": _postgres_settings}
        return {store: asked[store](url) for store, url in self._urls.items()}

    @contextmanager
    def place(self, store: str) -> Iterator[str]:
        """The URL of an empty store, which is removed afterwards."""
        if store == "memory":
            yield "memory://"
        elif store == "sqlite":
            with TemporaryDirectory(prefix="run-", dir=self._cache) as folder:
                yield f"sqlite:///{Path(folder).absolute()}/jobs.db"
        elif store == "redis":
            url = self._url(store, servers.redis)
            _flush(url)
            yield url
            _flush(url)
        else:
            yield from _database(self._url(store, servers.postgres))

    def _url(self, store: str, start: Callable[[], AbstractContextManager[str]]) -> str:
        if store not in self._urls:
            self._urls[store] = self._started.enter_context(start())
        return self._urls[store]


def _keys(url: str) -> int:
    import redis

    with redis.Redis.from_url(url) as client:
        return int(client.dbsize())


def _flush(url: str) -> None:
    import redis

    with redis.Redis.from_url(url) as client:
        client.flushdb()


def _redis_settings(url: str) -> dict[str, str]:
    import redis

    with redis.Redis.from_url(url, decode_responses=True) as client:
        version = client.info("server")["redis_version"]
        return {"version": version, **client.config_get(*servers.REDIS_SETTINGS)}


def _postgres_settings(url: str) -> dict[str, str]:
    names = ("server_version", *servers.POSTGRES_SETTINGS)
    return {name: str(asyncio.run(_query(url, f"SHOW {name}"))) for name in names}


def _database(url: str) -> Iterator[str]:
    name = f"bench_{token_hex(6)}"
    asyncio.run(_query(url, f"CREATE DATABASE {name}"))
    try:
        yield urlsplit(url)._replace(path=f"/{name}").geturl()
    finally:
        asyncio.run(_query(url, f"DROP DATABASE {name} WITH (FORCE)"))


async def _query(url: str, statement: str) -> object:
    import asyncpg

    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()
