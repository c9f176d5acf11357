"""The job stores. Importing this package loads no driver: a name is resolved when it is used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from portico.adapters.job_queue.database_queue import DatabaseJobQueueAdapter
    from portico.adapters.job_queue.memory_queue import MemoryJobQueueAdapter
    from portico.adapters.job_queue.memory_queue import MemoryJobQueueAdapter as InMemoryJobQueue
    from portico.adapters.job_queue.redis_queue import RedisJobQueueAdapter

__all__ = [
    "DatabaseJobQueueAdapter",
    "InMemoryJobQueue",
    "MemoryJobQueueAdapter",
    "RedisJobQueueAdapter",
]

_HOME = {
    "DatabaseJobQueueAdapter": ("database_queue", "DatabaseJobQueueAdapter"),
    "MemoryJobQueueAdapter": ("memory_queue", "MemoryJobQueueAdapter"),
    "RedisJobQueueAdapter": ("redis_queue", "RedisJobQueueAdapter"),
    "InMemoryJobQueue": ("memory_queue", "MemoryJobQueueAdapter"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _HOME[name]
    return getattr(import_module(f"{__name__}.{module}"), attribute)


def __dir__() -> list[str]:
    return sorted(__all__)
