"""Whether this release understands what another one has stored."""

from __future__ import annotations

from portico.adapters.job_queue._redis.client import RedisClient
from portico.adapters.job_queue._redis.rows import number
from portico.adapters.job_queue._redis.scripts import VERSION
from portico.exceptions import ConfigurationError


async def check_version(client: RedisClient) -> None:
    """Hold the version of what is stored against our own.

    Raises:
        ConfigurationError: a newer release has stored it, or one from before the first.
    """
    version, place = number(await client.one("version")), client.place
    if 0 < version < VERSION:
        raise ConfigurationError(
            f"{place}: the jobs of the namespace {place.namespace!r} have version {version}, from "
            f"before the first release, and this one reads version {VERSION}; name another "
            "namespace, or delete these jobs",
            {"version": version, "known": VERSION},
        )
    if version > VERSION:
        raise ConfigurationError(
            f"{place}: the jobs of the namespace {place.namespace!r} have version {version}, and "
            f"this release of Portico knows versions up to {VERSION}; upgrade Portico, or name "
            "another namespace",
            {"version": version, "known": VERSION},
        )
