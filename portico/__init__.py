"""Background jobs for CPU-heavy Python work: durable queues, real worker processes.

What an application writes can be imported from here. Each name is loaded when it is first used, so
that `import portico` loads nothing else, and who creates jobs need not load what runs them.
"""

__version__ = "0.1.0"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from portico.compose import job_queue, job_service
    from portico.exceptions import (
        AuthenticationError,
        AuthorizationError,
        CacheError,
        ConfigurationError,
        ConflictError,
        DatabaseError,
        ExternalServiceError,
        JobTimeoutError,
        LeaseLostError,
        LLMError,
        NonRetryableError,
        NotSupportedError,
        PorticoError,
        QueueConnectionError,
        QueueFullError,
        RateLimitError,
        ResourceNotFoundError,
        ValidationError,
        WorkerLostError,
    )
    from portico.kits.job.job_service import JobService
    from portico.kits.job.worker_manager import WorkerManager
    from portico.ports.job import Job, JobResult, JobStatus, QueueStats
    from portico.ports.job_handler import JobHandler
    from portico.ports.leasing import JobFilter
    from portico.ports.worker_context import WorkerContext
    from portico.utils.logging import configure_logging, get_logger

__all__ = [
    "AuthenticationError",
    "AuthorizationError",
    "CacheError",
    "ConfigurationError",
    "ConflictError",
    "DatabaseError",
    "ExternalServiceError",
    "Job",
    "JobFilter",
    "JobHandler",
    "JobResult",
    "JobService",
    "JobStatus",
    "JobTimeoutError",
    "LLMError",
    "LeaseLostError",
    "NonRetryableError",
    "NotSupportedError",
    "PorticoError",
    "QueueConnectionError",
    "QueueFullError",
    "QueueStats",
    "RateLimitError",
    "ResourceNotFoundError",
    "ValidationError",
    "WorkerContext",
    "WorkerLostError",
    "WorkerManager",
    "configure_logging",
    "get_logger",
    "job_queue",
    "job_service",
]

_HOMES = {
    "Job": "ports.job",
    "JobFilter": "ports.leasing",
    "JobHandler": "ports.job_handler",
    "JobResult": "ports.job",
    "JobService": "kits.job.job_service",
    "JobStatus": "ports.job",
    "QueueStats": "ports.job",
    "WorkerContext": "ports.worker_context",
    "WorkerManager": "kits.job.worker_manager",
    "configure_logging": "utils.logging",
    "get_logger": "utils.logging",
    "job_queue": "compose",
    "job_service": "compose",
}
"""Where a name is, below `portico`; the others are exceptions."""


if not TYPE_CHECKING:  # or a checker would take any name for one that there is

    def __getattr__(name: str) -> object:
        """Import on first use, and keep it."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        found: object = getattr(import_module(f"{__name__}.{_HOMES.get(name, 'exceptions')}"), name)
        globals()[name] = found
        return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
