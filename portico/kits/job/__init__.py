"""The job kit: create jobs with `JobService`, run them in this process with `WorkerManager`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from portico.kits.job.job_service import JobService
    from portico.kits.job.worker_manager import WorkerManager

__all__ = ["JobService", "WorkerManager"]

_HOMES = {"JobService": "job_service", "WorkerManager": "worker_manager"}


def __getattr__(name: str) -> Any:
    """Import on first use: who creates jobs need not load what runs them."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
