"""`--check`: what can be wrong before a supervisor starts, looked at without starting one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any, NamedTuple, NoReturn

from portico import compose
from portico.exceptions import ConfigurationError, PorticoError, QueueConnectionError
from portico.kits.job.failures import failure_of
from portico.ports.worker_context import WorkerContext
from portico.supervisor import privileges, registry
from portico.supervisor.config import SupervisorConfig
from portico.supervisor.exit import EXIT_APP
from portico.utils.logging import get_logger


class Finding(NamedTuple):
    """A line for the operator, and the exit code that it asks for."""

    text: str
    code: int = 0


async def findings(config: SupervisorConfig) -> AsyncIterator[Finding]:
    """Check the configuration, the application and the store, one after another."""
    yield Finding(
        f"configuration ok: {config.workers} workers, queues {', '.join(config.queues)}, "
        f"concurrency {config.concurrency}"
    )
    if privileges.is_root() and not config.allow_root:
        yield Finding(f"running as root: {privileges.RUNNING_AS_ROOT}")
    yield await _app(config)
    yield await _store(config)
    if config.audit_url:
        yield _audit(config.audit_url)


async def _app(config: SupervisorConfig) -> Finding:
    try:
        async with AsyncExitStack() as stack:
            handlers = await registry.open_app(registry.load(config.app), _context(), stack)
            return Finding(f"app ok: {config.app} serves {', '.join(sorted(handlers))}")
    except ConfigurationError as error:
        told = failure_of(error.cause).traceback if error.cause else ""
        return Finding(f"{told}app: {error}", EXIT_APP)
    except BaseException as error:  # noqa: BLE001 - the application may raise anything
        reason = failure_of(error)
        told = f"closing {config.app} failed: {reason.type}: {reason.message}"
        return Finding(f"{reason.traceback}app: {told}", EXIT_APP)


async def _store(config: SupervisorConfig) -> Finding:
    try:
        queue = compose.job_queue(config.queue_url, lease=config.lease)
        try:
            await queue.initialize()
        finally:
            await queue.close()
    except QueueConnectionError as error:
        return Finding(f"store: {error}", 5)
    except PorticoError as error:
        return Finding(f"store: {error}", 1)
    return Finding("store ok")


def _audit(url: str) -> Finding:
    try:
        compose.audit(url)
    except ConfigurationError as error:
        return Finding(f"audit: {error}", 1)
    return Finding("audit ok")


class _Nothing:
    """Stands in for what only a running worker has."""

    def __getattr__(self, name: str) -> NoReturn:
        raise ConfigurationError(f"the app uses {name} while it opens, which --check cannot offer")


def _context() -> WorkerContext:
    nothing: Any = _Nothing()
    return WorkerContext(nothing, nothing, 0, get_logger("portico.check"))
