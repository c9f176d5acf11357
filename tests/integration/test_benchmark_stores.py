"""The stores that the comparison with other systems runs on."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from benchmarks.peers.stores import Stores
from benchmarks.servers import NoServerError
from tests.support.servers import program

pytestmark = [pytest.mark.servers, pytest.mark.slow]


async def _databases(url):
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval("SELECT count(*) FROM pg_database")
    finally:
        await connection.close()


def test_a_given_redis_that_holds_something_is_refused_and_kept(redis, tmp_path):
    redis.run("SET", "dear", "1")
    try:
        with pytest.raises(NoServerError, match="would be emptied"):
            Stores({"redis": redis.url()}, tmp_path)
        assert redis.run("GET", "dear") == "1"
    finally:
        redis.run("DEL", "dear")


def test_a_run_on_postgres_has_a_database_that_is_dropped(postgres, tmp_path):
    stores = Stores({"postgresql": postgres.url()}, tmp_path)
    before = asyncio.run(_databases(postgres.url()))

    with stores.place("postgresql") as url:
        assert asyncio.run(_databases(url)) == before + 1

    assert asyncio.run(_databases(postgres.url())) == before


def test_private_servers_are_as_durable_as_deployed_ones(tmp_path):
    for name in ("postgres", "initdb", "redis-server"):
        program(name)
    stores = Stores({}, tmp_path)
    try:
        with stores.place("postgresql"), stores.place("redis"):
            settings = stores.settings()
    finally:
        stores.close()

    assert settings["postgresql"]["fsync"] == "on"
    assert settings["postgresql"]["synchronous_commit"] == "on"
    assert settings["redis"]["appendonly"] == "yes"
    assert settings["redis"]["appendfsync"] == "everysec"
