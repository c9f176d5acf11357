"""Whether this release understands what another one has stored."""

from __future__ import annotations

from portico.adapters.job_queue._redis.client import RedisClient
from portico.adapters.job_queue._redis.rows import number
from portico.adapters.job_queue._redis.scripts import VERSION
from portico.exceptions import ConfigurationError


async def check_version(client: RedisClient) -> None:
    """Hold the version of what is stored against our own.

    Raises:
        ConfigurationError: a newer release has stored it.
    """
    version, place = number(await client.one("version")), client.place
    if version > VERSION:
        raise ConfigurationError(
            f"{place}: the jobs of the namespace {place.namespace!r} have version {version}, and "
            f"this release of Portico knows versions up to {VERSION}; upgrade Portico, or name "
            "another namespace",
            {"version": version, "known": VERSION},
        )
