"""Handlers as an application gives them, checked and keyed by job type."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from portico.exceptions import ConfigurationError
from portico.ports.draft import NAME
from portico.ports.job_handler import JobHandler

Handlers = Mapping[str, JobHandler]


def handlers_by_type(
    handlers: Handlers | Iterable[JobHandler], called: str = "handlers"
) -> dict[str, JobHandler]:
    """Take a mapping by job type, or any iterable of handlers.

    Args:
        handlers: what the application gave. An entry needs a `handle(job)`, not the base class.
        called: what error messages call it.

    Raises:
        ConfigurationError: it is neither, it is empty, an entry cannot handle jobs, a key differs
            from its handler's `job_type`, or two handlers serve one type.
    """
    by_type: dict[str, JobHandler] = {}
    for key, handler in _entries(handlers, called):
        job_type = _job_type(key, handler, called)
        if job_type in by_type:
            raise ConfigurationError(
                f"two handlers serve {job_type!r} in {called}: {_name(by_type[job_type])} and "
                f"{_name(handler)}; give one of them another job_type"
            )
        by_type[job_type] = handler
    if not by_type:
        raise ConfigurationError(f"there are no handlers in {called}; give at least one JobHandler")
    return by_type


def _entries(handlers: Any, called: str) -> Iterable[tuple[object, Any]]:
    if isinstance(handlers, Mapping):
        return list(handlers.items())
    if isinstance(handlers, Iterable) and not isinstance(handlers, str | bytes):
        return [(None, handler) for handler in handlers]
    raise ConfigurationError(
        f"{called} is of type {type(handlers).__name__}; "
        "give a mapping of job types to handlers, or an iterable of handlers"
    )


def _job_type(key: object, handler: Any, called: str) -> str:
    if isinstance(handler, type):
        raise ConfigurationError(f"{called} holds the class {handler.__name__}; give an instance")
    if not callable(getattr(handler, "handle", None)):
        raise ConfigurationError(
            f"{called} holds {handler!r:.80}, which has no handle(job); "
            "subclass portico.ports.job_handler.JobHandler"
        )
    own = getattr(handler, "job_type", None)
    if key is not None and isinstance(own, str) and own != key:
        raise ConfigurationError(
            f"{called} maps {key!r} to {_name(handler)}, whose job_type is {own!r}; "
            "make them the same"
        )
    job_type = own if key is None else key
    if not isinstance(job_type, str) or not NAME.fullmatch(job_type):
        raise ConfigurationError(
            f"{_name(handler)} has the job_type {job_type!r:.80}; "
            "use 1 to 128 letters, digits or any of _ . : -"
        )
    return job_type


def _name(handler: object) -> str:
    return f"{type(handler).__module__}.{type(handler).__qualname__}"
