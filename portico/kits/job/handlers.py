"""Handlers as an application gives them, checked and keyed by job type."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from inspect import getattr_static
from typing import Any

from portico.exceptions import ConfigurationError
from portico.kits.job.handler_form import flaw_of
from portico.ports import time_limits
from portico.ports.job_handler import JobHandler
from portico.ports.names import NAME

Handlers = Mapping[str, JobHandler]

_UNSAID = object()


def handlers_by_type(
    handlers: Handlers | Iterable[JobHandler], called: str = "handlers"
) -> dict[str, JobHandler]:
    """Take a mapping by job type, or any iterable of handlers.

    Args:
        handlers: what the application gave. An entry needs a `handle(job)`, not the base class.
        called: what error messages call it.

    Raises:
        ConfigurationError: it is neither, it is empty, an entry cannot handle jobs or has an
            unusable time limit or a misspelt attribute, a key differs from its handler's
            `job_type`, or two handlers serve one type.
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
    own = _own_type(handler)
    if key is not None and isinstance(own, str) and own != key:
        raise ConfigurationError(
            f"{called} maps {key!r} to {_name(handler)}, whose job_type is {own!r}; "
            "make them the same"
        )
    job_type = own if key is None else key
    if not isinstance(job_type, str) or not NAME.fullmatch(job_type):
        hint = "; is it a method that lacks its @property?" if callable(job_type) else ""
        raise ConfigurationError(
            f"{_name(handler)} has the job_type {job_type!r:.80}; "
            f"use 1 to 128 letters, digits or any of _ . : -{hint}"
        )
    if flaw := flaw_of(handler):
        raise ConfigurationError(f"{_name(handler)} {flaw}")
    _check_limits(handler)
    return job_type


def _own_type(handler: Any) -> object:
    try:
        return getattr(handler, "job_type", None)
    except Exception as error:
        raise ConfigurationError(
            f"the job_type of {_name(handler)} cannot be read: {type(error).__name__}: {error}",
            cause=error,
        ) from error


def _check_limits(handler: object) -> None:
    most = most_running_of(handler)
    if most is not None and (isinstance(most, bool) or not isinstance(most, int) or most < 1):
        raise ConfigurationError(
            f"max_running of {_name(handler)} is {most!r:.80}; give a whole number of 1 or more"
        )
    alone = alone_of(handler)
    if not isinstance(alone, bool):
        raise ConfigurationError(f"alone of {_name(handler)} is {alone!r:.80}; give True or False")
    for limit, value in _own_limits(handler).items():
        if wrong := time_limits.flaw(limit, value):
            raise ConfigurationError(f"{limit} of {_name(handler)} {wrong}")


def limits_of(handlers: Handlers) -> dict[str, dict[str, Any]]:
    """The time limits that handlers have of their own, by job type; only types that have some."""
    own = {job_type: _own_limits(handler) for job_type, handler in handlers.items()}
    return {job_type: limits for job_type, limits in own.items() if limits}


def most_running(handlers: Handlers) -> dict[str, int]:
    """How many jobs may run at a time in one supervisor, of the types that have a limit."""
    most = {job_type: most_running_of(handler) for job_type, handler in handlers.items()}
    return {job_type: number for job_type, number in most.items() if number is not None}


def most_running_of(handler: Any) -> Any:
    """What a handler says of that, be it an attribute or a property; `None` when it does not."""
    stands = getattr_static(handler, "max_running", None)
    return None if stands is None else handler.max_running


def lone_types(handlers: Handlers) -> frozenset[str]:
    """The types whose jobs have a worker to themselves, each its own."""
    return frozenset(job_type for job_type, handler in handlers.items() if alone_of(handler))


def alone_of(handler: Any) -> Any:
    """What a handler says of that; `False` when it does not."""
    return getattr_static(handler, "alone", None) is not None and handler.alone


def _own_limits(handler: object) -> dict[str, Any]:
    """What stands in the handler or its class; a stand-in of a test has every attribute."""
    return {
        name: getattr(handler, name)
        for name in time_limits.NAMES
        if getattr_static(handler, name, _UNSAID) is not _UNSAID
    }


def _name(handler: object) -> str:
    return f"{type(handler).__module__}.{type(handler).__qualname__}"
