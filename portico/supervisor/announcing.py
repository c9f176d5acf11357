"""What a worker tells of its application, before it runs anything."""

from __future__ import annotations

from portico.kits.job.execution import mourners_of
from portico.kits.job.failures import failure_of
from portico.kits.job.handlers import Handlers, limits_of, lone_types, most_running
from portico.supervisor import wire


def ready(handlers: Handlers) -> wire.Ready:
    """What the supervisor has to know of it, and goes by from then on."""
    return wire.Ready(
        wire.VERSION,
        sorted(handlers),
        mourners_of(handlers),
        most_running(handlers),
        lone_types(handlers),
        limits_of(handlers),
    )


def unready(reason: str, cause: BaseException | None) -> wire.Unready:
    """Why a worker cannot begin, and where in the application's code."""
    stack = failure_of(cause).traceback if cause else ""
    return wire.Unready(reason[: wire.MAX_REASON], stack[-wire.MAX_REASON :])
