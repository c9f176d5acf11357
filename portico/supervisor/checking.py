"""`--check`: what can be wrong before a supervisor starts, looked at without starting one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any, NamedTuple, NoReturn

from portico import compose
from portico.exceptions import ConfigurationError, PorticoError, QueueConnectionError
from portico.kits.job.failures import failure_of
from portico.kits.job.handlers import Handlers, limits_of
from portico.ports.time_limits import TimeLimits
from portico.ports.worker_context import WorkerContext
from portico.supervisor import birth, privileges, registry, spawning, tampering
from portico.supervisor.config import SupervisorConfig
from portico.supervisor.exit import EXIT_APP
from portico.supervisor.sandbox import offer
from portico.supervisor.sharing import hazards
from portico.utils import import_path
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
    if places := tampering.exposed(config.limits.write):
        yield Finding(f"{', '.join(places)}: {tampering.CODE_IS_WRITABLE}")
    if names := spawning.variables_kept(config.pass_env):
        yield Finding(f"{', '.join(names)}: workers do not have them but by --pass-env")
    yield Finding(offer.described(config.limits))
    for file in offer.open_stores(config):
        yield Finding(f"{file}: {offer.STORE_IS_WRITABLE}")
    for finding in await _app(config):
        yield finding
    yield await _store(config)
    if config.audit_url:
        yield _audit(config.audit_url)


async def _app(config: SupervisorConfig) -> list[Finding]:
    found: list[Finding] = []
    try:
        async with AsyncExitStack() as stack:
            app = _load(config, found)
            handlers = await registry.open_app(app, _context(), stack)
            found += _cut_short(config, handlers)
            return [*found, Finding(f"app ok: {config.app} serves {', '.join(sorted(handlers))}")]
    except ConfigurationError as error:
        told = failure_of(error.cause).traceback if error.cause else ""
        return [*found, Finding(f"{told}app: {error}", EXIT_APP)]
    except BaseException as error:  # noqa: BLE001 - the application may raise anything
        reason = failure_of(error)
        told = f"closing {config.app} failed: {reason.type}: {reason.message}"
        return [*found, Finding(f"{reason.traceback}app: {told}", EXIT_APP)]


def _cut_short(config: SupervisorConfig, handlers: Handlers) -> list[Finding]:
    """The types that ask for more time than their operator allows."""
    most, usual = config.max_job_timeout, TimeLimits(config.job_timeout, config.kill_grace)
    asked = {kind: usual.narrowed(said) for kind, said in limits_of(handlers).items()}
    return [
        Finding(f"app: {kind} asks for more time than --max-job-timeout allows: {most:g} s")
        for kind, limits in asked.items()
        if most is not None and limits.within(most, config.kill_grace) != limits
    ]


def _load(config: SupervisorConfig, found: list[Finding]) -> Any:
    """Import the application, and look at what is left as the zygote would."""
    before = birth.open_descriptors()
    app = registry.load(config.app, import_path.of_the_application())
    if config.start_method == "zygote":
        registry.preload(config.app)
        opened = frozenset(birth.open_descriptors()).difference(before)
        found += [Finding(f"app: {hazard.text}") for hazard in hazards(config.app, opened)]
    return app


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
