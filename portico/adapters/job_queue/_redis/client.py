"""Speaking to the server: connecting, and running scripts."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

try:
    import redis.asyncio as driver
    from redis import exceptions as trouble
    from redis.asyncio.cluster import ClusterNode, RedisCluster
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff

    from portico.adapters.job_queue._redis.packing import (
        Packed,
        PackedByName,
        PackedByNameTls,
        PackedTls,
        PackedUnix,
    )
    from portico.adapters.job_queue._redis.sentinels import Sentinels
except ImportError as error:
    from portico.exceptions import ConfigurationError as _Missing

    raise _Missing(
        "a queue in Redis or Valkey needs the driver redis-py, which is not installed: "
        "pip install 'portico-jobs[redis]'",
        cause=error,
    ) from error

from portico.adapters.job_queue._opening import not_open
from portico.adapters.job_queue._redis.errors import translated
from portico.adapters.job_queue._redis.place import RedisPlace
from portico.adapters.job_queue._redis.scripts import Script, script
from portico.adapters.job_queue._redis.telling import without_damage
from portico.adapters.job_queue._turns import Turns
from portico.exceptions import ConfigurationError, PorticoError
from portico.utils.logging import get_logger

OLDEST = {"redis": (7, 0), "valkey": (7, 2)}

_AT_ONCE = 32
"""Round trips under way; more wait for their turn, as each takes a connection."""
_TROUBLE = (trouble.RedisError, trouble.RedisClusterException, OSError, TimeoutError)

logger = get_logger(__name__)


class Call(NamedTuple):
    """One script to be run, with its arguments."""

    script: str
    arguments: Sequence[Any]


class RedisClient:
    """The connections of one adapter to one store."""

    def __init__(self, place: RedisPlace) -> None:
        self.place = place
        self.script_of: Callable[[str], Script] = script
        self._client: Any = None
        self._sentinel: Sentinels | None = None
        self._turns = Turns(_AT_ONCE, place.timeout)

    async def open(self) -> None:
        """Connect, and hold the server against what is needed of it.

        Raises:
            ConfigurationError: it refuses us, is too old, or would evict jobs.
            QueueConnectionError: it cannot be reached.
        """
        if self._client is not None:
            return
        self._client, self._turns = self._made(), Turns(_AT_ONCE, self.place.timeout)
        try:
            await self._check()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Let go of all connections."""
        client, self._client = self._client, None
        sentinel, self._sentinel = self._sentinel, None
        if client is not None:
            await client.aclose()
        for one in sentinel.sentinels if sentinel else ():
            await one.aclose()

    async def run(self, *calls: Call) -> list[Any]:
        """Run scripts in this order, in one round trip where they go to one server.

        Returns:
            Per call the answer, or the `PorticoError` in its place: those before it and those
            after it may have been carried out.

        Raises:
            QueueConnectionError: the connection failed; some or all may have been carried out.
        """
        if self._client is None:
            raise not_open(self.place)
        # In a task of its own: half an answer, left in a connection, would be the next one's.
        return await asyncio.shield(asyncio.ensure_future(self._in_turn(self._client, calls)))

    async def one(self, name: str, *arguments: Any) -> Any:
        """Run one script, and raise what went wrong."""
        answer = (await self.run(Call(name, arguments)))[0]
        if isinstance(answer, PorticoError):
            raise answer
        return answer

    def pubsub(self) -> Any:
        """A connection for messages alone."""
        if self._client is None:
            raise not_open(self.place)
        return self._client.pubsub()

    async def has_subscribers(self, channel: str) -> bool | None:
        """Whether anybody hears of what is published there; `None`: a cluster has no one answer."""
        if self._client is None:
            raise not_open(self.place)
        if self.place.kind == "cluster":
            return None
        try:
            ((_, count),) = await self._client.pubsub_numsub(channel)
        except _TROUBLE as error:
            raise translated(error, self.place) from error
        return bool(count)

    async def _in_turn(self, client: Any, calls: Sequence[Call]) -> list[Any]:
        async with self._turns.turn(lambda error: translated(error, self.place)):
            return await self._run(client, calls)

    async def _run(self, client: Any, calls: Sequence[Call]) -> list[Any]:
        try:
            answers = await self._sent(client, calls)
            unknown = [n for n, a in enumerate(answers) if isinstance(a, trouble.NoScriptError)]
            if unknown:  # the server was restarted, or its scripts were flushed
                for number in unknown:
                    answers[number] = await self._loaded(client, calls[number])
            if self.place.kind == "one" and any(map(_is_replica, answers)):
                # It was the primary once. Connected anew, its name may lead to the one that is.
                await client.connection_pool.disconnect(inuse_connections=False)
        except _TROUBLE as error:
            raise translated(error, self.place) from error
        return [
            translated(answer, self.place)
            if isinstance(answer, Exception)
            else without_damage(answer, self.place)
            for answer in answers
        ]

    async def _sent(self, client: Any, calls: Sequence[Call]) -> list[Any]:
        prefix = self.place.prefix
        if len(calls) > 1 and self.place.kind != "cluster":
            pipeline = client.pipeline(transaction=False)
            for name, arguments in calls:
                pipeline.evalsha(self.script_of(name).digest, 1, prefix, *arguments)
            answers: list[Any] = await pipeline.execute(raise_on_error=False)
            return answers
        answers = []
        for name, arguments in calls:
            try:
                digest = self.script_of(name).digest
                answers.append(await client.evalsha(digest, 1, prefix, *arguments))
            except (trouble.ConnectionError, trouble.TimeoutError):
                raise
            except trouble.RedisError as error:
                answers.append(error)
        return answers

    async def _loaded(self, client: Any, call: Call) -> Any:
        try:
            text = self.script_of(call.script).text
            return await client.eval(text, 1, self.place.prefix, *call.arguments)
        except (trouble.ConnectionError, trouble.TimeoutError):
            raise
        except trouble.RedisError as error:
            return error

    def _made(self) -> Any:
        place = self.place
        settings: dict[str, Any] = {
            "username": place.username, "password": place.password, "protocol": 2,
            "socket_timeout": place.timeout, "socket_connect_timeout": place.connect_timeout,
            "retry": Retry(NoBackoff(), 0), "client_name": "portico",
        }  # fmt: skip
        secure: dict[str, Any] = {}
        if place.tls:
            secure = {
                "ssl_ca_certs": place.tls_ca,
                "ssl_cert_reqs": "none" if place.tls_insecure else "required",
                "ssl_check_hostname": not place.tls_insecure,
            }  # fmt: skip
        if place.kind == "cluster":
            nodes = [ClusterNode(host, port) for host, port in place.hosts]
            return RedisCluster(startup_nodes=nodes, ssl=place.tls, **settings, **secure)
        if place.kind == "sentinel":
            own = {
                "username": place.sentinel_username, "password": place.sentinel_password,
                "socket_timeout": place.connect_timeout, "retry": Retry(NoBackoff(), 0),
                "socket_connect_timeout": place.connect_timeout,
            }  # fmt: skip
            self._sentinel = Sentinels(  # type: ignore[no-untyped-call]
                list(place.hosts), sentinel_kwargs={**own, **secure, "ssl": place.tls}
            )
            return self._sentinel.master_for(
                place.service, db=place.database, **settings, **secure,
                connection_class=PackedByNameTls if place.tls else PackedByName,
            )  # fmt: skip
        if place.kind == "unix":
            where: dict[str, Any] = {"connection_class": PackedUnix, "path": place.socket}
        else:
            host, port = place.hosts[0]
            kind = PackedTls if place.tls else Packed
            where = {"connection_class": kind, "host": host, "port": port}
        pool = driver.ConnectionPool(**where, db=place.database, **settings, **secure)
        return driver.Redis.from_pool(pool)

    async def _check(self) -> None:
        """Hold the server against what is needed of it."""
        try:
            facts = await self._info()
        except _TROUBLE as error:
            raise translated(error, self.place) from error
        self._check_version(facts)
        self._check_memory(facts)
        if not int(facts.get("aof_enabled", 1)):
            logger.warning(
                "store_without_append_only_file",
                store=self.place.shown,
                note="when this server dies, what changed since its last snapshot is lost",
                hint="CONFIG SET appendonly yes, and appendfsync everysec or always",
            )

    async def _info(self) -> dict[str, Any]:
        client = self._client
        facts: dict[str, Any] = {}
        for section in ("server", "memory", "persistence"):
            found = await client.info(section)
            # A cluster answers per node; one of them stands for all.
            first = next(iter(found.values()), None)
            facts.update(first if isinstance(first, dict) else found)
        return facts

    def _check_version(self, facts: dict[str, Any]) -> None:
        name = "valkey" if "valkey_version" in facts else "redis"
        version = str(facts.get(f"{name}_version", "0"))
        oldest = OLDEST[name]
        if tuple(int(part) for part in re.findall("[0-9]+", version)[:2]) < oldest:
            raise ConfigurationError(
                f"{self.place} is {name} {version}; Portico needs "
                f"{'.'.join(map(str, oldest))} or newer"
            )

    def _check_memory(self, facts: dict[str, Any]) -> None:
        policy = str(facts.get("maxmemory_policy", "noeviction"))
        if policy == "noeviction":
            return
        if self.place.eviction_allowed:
            logger.warning("store_may_evict_jobs", store=self.place.shown, policy=policy)
            return
        raise ConfigurationError(
            f"{self.place} has the maxmemory-policy {policy}: when its memory is full it "
            "would delete jobs. Set it: CONFIG SET maxmemory-policy noeviction; or accept the "
            "loss with eviction=allowed in the queue's URL"
        )


def _is_replica(answer: object) -> bool:
    return isinstance(answer, trouble.ReadOnlyError)
