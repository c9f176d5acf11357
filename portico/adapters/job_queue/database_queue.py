"""Jobs in an SQL database; the URL says which one and where."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import parse_qsl, unquote

from portico.adapters.job_queue._admission import OPTIONS, Admission
from portico.adapters.job_queue._sqlite.connection import Place
from portico.adapters.job_queue._sqlite.store import SqliteStore
from portico.adapters.job_queue._stored_queue import StoredQueueAdapter
from portico.exceptions import ConfigurationError
from portico.utils.log_lines import masked_urls


class DatabaseJobQueueAdapter(StoredQueueAdapter):
    """A durable queue in a database; with SQLite, in a file of this host.

    Each adapter is one owner of leases. On SQLite a lease is lost when its owner's process has
    ended, or when an owner that renews has not done so for a lease length, by the clock of
    whoever recovers; an owner that never renews is judged by its process alone.

    Args:
        url: `sqlite:///relative.db` or `sqlite:////absolute.db`, optionally with
            `?durability=normal`, which is faster and may lose the last commits in a power cut,
            `?max_pending=100000`, beyond which `enqueue` and `insert` into a queue with so many
            waiting jobs raise `QueueFullError`, and `?max_horizon=30d` for scheduled jobs.
        lease_seconds: how long a lease holds without renewal.
        clock: the wall clock, in seconds since 1970 UTC.
        monotonic: the clock of leases and timeouts, in seconds.

    Raises:
        ConfigurationError: the URL is not understood; the message says what to write.
    """

    def __init__(
        self,
        url: str,
        lease_seconds: float = 60.0,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(lease_seconds, clock, monotonic)
        place, self._admission = _sqlite_place(url)
        self._store = SqliteStore(
            place,
            lease_seconds,
            self._now,
            monotonic,
            self._bell.ring,
            ring_cancels=self._cancels.ring,
            max_pending=self._admission.max_pending,
        )


def _sqlite_place(url: str) -> tuple[Place, Admission]:
    url = masked_urls(url)  # it goes into messages
    address, _, query = url.partition("?")
    scheme, _, path = address.partition("://")
    if scheme != "sqlite" or not path.startswith("/"):
        raise ConfigurationError(
            f"queue URL is {url!r}; give sqlite:///relative.db or sqlite:////absolute/path.db"
        )
    name = unquote(path[1:])
    if name.strip() in ("", "/"):
        raise ConfigurationError(f"queue URL {url!r} names no file; give sqlite:///jobs.db")
    if name == ":memory:":
        raise ConfigurationError(
            f"queue URL {url!r} names a database that ends with its connection; give memory:// "
            "for a queue in this process, or sqlite:///jobs.db for a file"
        )
    options = dict(parse_qsl(query, keep_blank_values=True))
    place = Place(url, Path(name).absolute(), _is_full(url, options))
    return place, Admission.of(url, options)


def _is_full(url: str, options: Mapping[str, str]) -> bool:
    known = {"durability", *OPTIONS}
    unknown = sorted(options.keys() - known)
    if unknown:
        raise ConfigurationError(
            f"queue URL {url!r} has the option {unknown[0]!r}; there are {', '.join(sorted(known))}"
        )
    durability = options.get("durability", "full")
    if durability not in ("full", "normal"):
        raise ConfigurationError(
            f"queue URL {url!r} has durability={durability!r}; give full or normal"
        )
    return durability == "full"
