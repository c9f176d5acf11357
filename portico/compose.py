"""From a URL or a configuration to concrete adapters: the only module that names them."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import parse_qsl, unquote

from portico.exceptions import ConfigurationError
from portico.ports.audit import AuditAdapter
from portico.ports.job_queue import JobQueueAdapter
from portico.utils.store_urls import shown, taken_apart

if TYPE_CHECKING:
    from portico.kits.job.job_service import JobService


def _memory(url: str, lease: float) -> JobQueueAdapter:
    from portico.adapters.job_queue._admission import OPTIONS, Admission
    from portico.adapters.job_queue.memory_queue import MemoryJobQueueAdapter

    parts = taken_apart(url)
    address, _, query = url.partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    if address != "memory://" or options.keys() - OPTIONS:
        raise ConfigurationError(
            f"queue URL is {parts.shown}; a queue in memory is just memory://, or with "
            f"{' and '.join(sorted(OPTIONS))}: memory://?max_pending=1000"
        )
    return MemoryJobQueueAdapter(lease, admission=Admission.of(parts.shown, options))


def _database(
    url: str, lease: float, *, alone: bool = False, create: bool = True
) -> JobQueueAdapter:
    from portico.adapters.job_queue.database_queue import (
        DatabaseJobQueueAdapter,
    )

    return DatabaseJobQueueAdapter(url, lease, alone=alone, create=create)


def _redis(url: str, lease: float) -> JobQueueAdapter:
    from portico.adapters.job_queue.redis_queue import RedisJobQueueAdapter

    return RedisJobQueueAdapter(url, lease)


_QUEUES: dict[str, Callable[[str, float], JobQueueAdapter]] = {
    "memory": _memory,
    "sqlite": _database,
    "postgresql": _database,
    "postgres": _database,
    **dict.fromkeys(("redis", "rediss", "valkey", "valkeys"), _redis),
    **dict.fromkeys(("redis+sentinel", "rediss+sentinel"), _redis),
    **dict.fromkeys(("redis+cluster", "rediss+cluster"), _redis),
    **dict.fromkeys(("redis+unix", "valkey+unix", "unix"), _redis),
}
_FORMS = (
    "memory://, sqlite:///jobs.db, postgresql://user:password@host/database or redis://host:6379/0"
)


def job_queue(
    url: str, *, lease: float = 60.0, alone: bool = False, create: bool = True
) -> JobQueueAdapter:
    """Build the queue adapter that a URL names; it connects in `initialize`.

    Args:
        url: `memory://`; `sqlite:///relative.db` or `sqlite:////absolute.db`, with
            `?durability=normal` to trade the last commits before a power cut for speed; or
            `postgresql://user:password@host/database`, with the options that
            `DatabaseJobQueueAdapter` names. All take `?max_pending=N`, how many jobs may wait in
            each queue (`QueueFullError` beyond it), and `?max_horizon=30d`, how far ahead they may
            be scheduled. Any other scheme is looked up among the entry points of the group
            `portico.job_queues`: functions of the URL and the lease.
        lease: seconds after which an attempt counts as lost when nobody renews it.
        alone: nothing else in this process opens the file of a `sqlite://` URL; a supervisor
            knows that, an application does not. See `DatabaseJobQueueAdapter`.
        create: whether `initialize` may make a file or tables; only databases have any to make.

    Raises:
        ConfigurationError: the URL has no known scheme, or one that its adapter refuses.
    """
    scheme = url.partition("://")[0] if "://" in url else ""
    build = _QUEUES.get(scheme) or _installed(scheme)
    if build is _database:
        return _database(url, lease, alone=alone and scheme == "sqlite", create=create)
    if build is None:
        raise ConfigurationError(f"queue URL is {shown(url)!r}; give {_FORMS}", {"url": shown(url)})
    return build(url, lease)


def _installed(scheme: str) -> Callable[[str, float], JobQueueAdapter] | None:
    """What an installed package offers for a scheme of its own; ours cannot be replaced."""
    from importlib.metadata import entry_points

    for found in entry_points(group="portico.job_queues", name=scheme) if scheme else ():
        build: Callable[[str, float], JobQueueAdapter] = found.load()
        return build
    return None


class SchemaKeeper(Protocol):
    """What brings the schema of one store to this release's version."""

    async def up(self) -> list[str]:
        """Apply what is not applied; the names of that."""

    async def status(self) -> list[tuple[str, bool]]:
        """Every version by name, oldest first, and whether it is applied."""

    def sql(self) -> str:
        """All versions as SQL."""


def schema_keeper(url: str) -> SchemaKeeper:
    """Build what keeps the schema of the store that a URL names.

    Raises:
        ConfigurationError: the URL names no store with a schema, or is not usable.
    """
    if sqlite_file(url):
        from portico.adapters.job_queue._sqlite.keeper import SqliteKeeper

        return SqliteKeeper(url)
    if url.startswith(("postgresql://", "postgres://")):
        job_queue(url)  # says what is wrong with the URL, or that the driver is missing
        from portico.adapters.job_queue._postgres.keeper import PostgresKeeper

        return PostgresKeeper(url)
    raise ConfigurationError(
        f"the queue is {shown(url)}, which has no schema; only sqlite:// and postgresql:// have",
        {"url": shown(url)},
    )


def job_service(
    queue: str | JobQueueAdapter,
    *,
    job_types: Collection[str] | None = None,
    audit: AuditAdapter | None = None,
) -> JobService:
    """Build the service that creates and manages jobs.

    Args:
        queue: a queue URL, for `async with job_service(url) as jobs:`, which opens and closes the
            queue; or a queue of the caller's.
        job_types: the types that may be created, or the handlers by type; all when left out.
        audit: told about created and cancelled jobs.

    Raises:
        ConfigurationError: the URL is not usable.
    """
    from portico.kits.job.job_service import JobService

    adapter = job_queue(queue) if isinstance(queue, str) else queue
    return JobService(adapter, job_types=job_types, audit=audit)


def audit(url: str) -> AuditAdapter:
    """Build the audit log that a URL names; it opens at the first event.

    Args:
        url: `memory://`, or `sqlite:///audit.db`; the file may be the one that holds the jobs.

    Raises:
        ConfigurationError: the URL has no known scheme, or names no file.
    """
    if url == "memory://":
        from portico.adapters.audit.memory_audit import MemoryAuditAdapter

        return MemoryAuditAdapter()
    if path := sqlite_file(url):
        from portico.adapters.audit.sqlite_audit import DatabaseAuditAdapter

        return DatabaseAuditAdapter(path)
    raise ConfigurationError(
        f"audit URL is {shown(url)!r}; give memory:// or sqlite:///audit.db",
        {"url": shown(url)},
    )


def sqlite_file(url: str) -> Path | None:
    """The file that a `sqlite://` URL names; `None` for any other URL."""
    path = url.removeprefix("sqlite:///").partition("?")[0]
    return Path(unquote(path)) if url.startswith("sqlite:///") and path else None


def same_file(url: str, other: str | None) -> bool:
    """Whether two URLs name one SQLite file, by whatever path."""
    one, another = sqlite_file(url), sqlite_file(other or "")
    if one is None or another is None:
        return False
    if os.path.exists(one) and os.path.exists(another):
        return os.path.samefile(one, another)
    return resolved(one) == resolved(another)


def resolved(path: Path) -> str:
    """Where a path leads; as it is where no file can have that name, which its adapter says."""
    try:
        return os.path.realpath(path)
    except ValueError:
        return str(path)
