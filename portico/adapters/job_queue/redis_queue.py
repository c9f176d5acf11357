"""Jobs in Redis or Valkey."""

from __future__ import annotations

import time
from collections.abc import Callable

from portico.adapters.job_queue._redis.place import redis_place
from portico.adapters.job_queue._redis.store import RedisStore
from portico.adapters.job_queue._stored_queue import StoredQueueAdapter


class RedisJobQueueAdapter(StoredQueueAdapter[RedisStore]):
    """A queue in one namespace of a Redis or Valkey server, shared by supervisors on many machines.

    Leases are granted and judged by the server's clock. What a change is worth after a failure is
    what the server keeps: with `appendfsync everysec` the last second may be lost when its machine
    dies, and a failover may lose what the replica had not received. A job whose lease is lost so
    runs again; one whose insertion is lost is gone.

    Args:
        url: `redis://:password@host:6379/0`, `rediss://…` for TLS, `redis+sentinel://host,host/
            service/0`, `redis+cluster://host,host`, `redis+unix:///run/redis.sock?db=0` for a
            socket of this host; `valkey` and `valkeys` say the same as `redis`
            and `rediss`. Options: `namespace`, `timeout` and `connect_timeout` in seconds,
            `max_pending` and `max_horizon`, `tls_ca=FILE`, `tls_insecure=yes`,
            `eviction=allowed`, `sentinel_username`, `sentinel_password`.
        lease_seconds: how long a lease holds without renewal.
        clock: the wall clock, in seconds since 1970 UTC; only `max_horizon` is held against it.
        monotonic: the clock of timeouts, in seconds.

    Raises:
        ConfigurationError: the URL is not understood, or the driver is not installed; the message
            says what to do.
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
        place = redis_place(url)
        self._place, self._admission = place, place.admission
        self._store = RedisStore(
            place, lease_seconds, monotonic, self._ring_one, self._cancels.ring
        )

    def trouble(self) -> str | None:
        if not self._store.is_full:
            return None
        return f"{self._place}: its memory is full; purge jobs, or raise maxmemory"

    def _ring_one(self, queue_name: str | None) -> None:
        self._bell.ring(None if queue_name is None else (queue_name,))
