"""A queue of its own for every run, wherever the URL points.

A file next to the one that was named; a schema or a namespace of its own on a server. What a run
leaves behind is removed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory
from urllib.parse import parse_qs, urlencode, urlsplit

SQLITE = "sqlite:///"
_AT_ONCE = 1000

Place = Callable[[str, Path], AbstractAsyncContextManager[str]]


@asynccontextmanager
async def _in_memory(url: str, _: Path) -> AsyncIterator[str]:
    yield url


@asynccontextmanager
async def _in_a_file(url: str, directory: Path) -> AsyncIterator[str]:
    _, mark, options = url.partition("?")
    with TemporaryDirectory(prefix="run-", dir=directory) as place:
        yield f"{SQLITE}{place}/jobs.db{mark}{options}"


@asynccontextmanager
async def _in_a_namespace(url: str, directory: Path) -> AsyncIterator[str]:
    from redis.asyncio import Redis

    del directory  # it is in memory
    namespace = f"bench-{token_hex(6)}"
    address, _, options = url.partition("?")
    yield f"{address}?namespace={namespace}" + (f"&{options}" if options else "")
    async with Redis.from_url(driver_url(url)) as client:
        keys = client.scan_iter(f"portico:{{{namespace}}}:*", count=_AT_ONCE)
        async for batch in _batches(keys):
            await client.unlink(*batch)


@asynccontextmanager
async def _in_a_schema(url: str, directory: Path) -> AsyncIterator[str]:
    import asyncpg

    del directory  # it is the server's
    schema = f"bench_{token_hex(6)}"
    address, _, options = url.partition("?")
    yield f"{address}?schema={schema}" + (f"&{options}" if options else "")
    connection = await asyncpg.connect(address)
    await connection.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")
    await connection.close()


async def _batches(keys: AsyncIterator[bytes]) -> AsyncIterator[list[bytes]]:
    batch = []
    async for key in keys:
        batch.append(key)
        if len(batch) == _AT_ONCE:
            yield batch
            batch = []
    if batch:
        yield batch


PLACES: dict[str, Place] = {
    "memory": _in_memory,
    "sqlite": _in_a_file,
    "postgresql": _in_a_schema,
    "postgres": _in_a_schema,
    "redis": _in_a_namespace,
    "rediss": _in_a_namespace,
    "valkey": _in_a_namespace,
    "valkeys": _in_a_namespace,
}
"""By scheme: given the URL and a directory, the URL of an empty queue for one run."""


def place_of(url: str) -> Place:
    """How runs on this URL are kept apart.

    Raises:
        ValueError: nobody has said how, for this scheme.
    """
    scheme = url.partition("://")[0]
    if scheme.endswith(("+sentinel", "+cluster")):
        raise ValueError(
            f"{scheme}:// leads to several servers, and the benchmarks measure one; give "
            "redis://… or rediss://… of the one that holds the keys"
        )
    if scheme not in PLACES:
        raise ValueError(f"{scheme}:// is not known; there are {', '.join(sorted(PLACES))}")
    return PLACES[scheme]


def driver_url(url: str) -> str:
    """A URL of one Redis or Valkey server, in the spelling of redis-py."""
    parts = urlsplit(url)
    asked = parse_qs(parts.query)
    options = {}
    if "tls_ca" in asked:
        options["ssl_ca_certs"] = asked["tls_ca"][0]
    if "tls_insecure" in asked:
        options |= {"ssl_cert_reqs": "none", "ssl_check_hostname": "False"}
    scheme = parts.scheme.replace("valkey", "redis")
    return parts._replace(scheme=scheme, query=urlencode(options)).geturl()


def shown(url: str) -> str:
    """A URL for tables and files: its scheme and options, without an address or a password."""
    address, mark, options = url.partition("?")
    return f"{address.partition('://')[0]}://{mark}{options}"
