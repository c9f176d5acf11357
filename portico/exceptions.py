"""The errors of Portico.

A class's docstring is its default message, so the reference and the text a user sees cannot
differ. `NonRetryableError` and its subclasses carry a verdict: a handler that raises one ends its
job FAILED, where every other exception asks for a retry.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class PorticoError(Exception):
    """Something went wrong in Portico."""

    def __init__(
        self,
        message: str | None = None,
        details: Mapping[str, Any] | None = None,
        cause: BaseException | None = None,
    ) -> None:
        """Build the error.

        Args:
            message: what `str()` returns; the class's docstring when left out.
            details: facts for a program to read: names, limits, identifiers.
            cause: the foreign error behind this one; also set as `__cause__`.
        """
        self.message = message if message is not None else _default_message(type(self))
        self.details: dict[str, Any] = dict(details or {})
        self.cause = cause
        super().__init__(self.message)
        if cause is not None:
            self.__cause__ = cause

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.message, self.details, self.cause)


def _default_message(error: type[PorticoError]) -> str:
    return (error.__doc__ or error.__name__).strip().splitlines()[0]


class ValidationError(PorticoError, ValueError):
    """The value is not acceptable and will not become so."""


class AuthenticationError(PorticoError):
    """The caller's identity could not be established."""


class AuthorizationError(PorticoError):
    """The caller may not do this."""


class ResourceNotFoundError(PorticoError):
    """There is no such thing."""


class ConflictError(PorticoError):
    """The request conflicts with what is already there."""


class RateLimitError(PorticoError):
    """Too many requests; try again later."""


class QueueFullError(RateLimitError):
    """As many jobs wait in the queue as it takes; try again later."""


class DatabaseError(PorticoError):
    """The database could not do what was asked."""


class CacheError(PorticoError):
    """The cache could not do what was asked."""


class ExternalServiceError(PorticoError):
    """A service outside of this application failed."""

    def __init__(
        self,
        message: str | None = None,
        details: Mapping[str, Any] | None = None,
        cause: BaseException | None = None,
        *,
        service_name: str | None = None,
        original_error: BaseException | None = None,
    ) -> None:
        """Build the error; without a message, one that names the service and what it met.

        Args:
            message: what `str()` returns.
            details: facts for a program to read; `service_name` joins them.
            cause: the foreign error behind this one.
            service_name: which service failed.
            original_error: another name for `cause`.
        """
        cause = original_error if original_error is not None else cause
        if service_name is not None:
            message = _failed_service(service_name, cause) if message is None else message
            details = {**(details or {}), "service_name": service_name}
        super().__init__(message, details, cause)

    @property
    def service_name(self) -> str | None:
        """Which service failed, where that was said."""
        return self.details.get("service_name")

    @property
    def original_error(self) -> BaseException | None:
        """The foreign error behind this one."""
        return self.cause


def _failed_service(name: str, cause: BaseException | None) -> str:
    met = "" if cause is None else f": {type(cause).__name__}: {cause}"
    return f"The service {name} failed{met}"


class LLMError(PorticoError):
    """The language model could not answer."""


class ConfigurationError(PorticoError):
    """The configuration is not usable."""


class NonRetryableError(PorticoError):
    """The job failed in a way that trying again cannot mend."""


class JobTimeoutError(PorticoError):
    """The job ran past its deadline."""


class WorkerLostError(PorticoError):
    """The worker process died while it ran the job."""


class LeaseLostError(PorticoError):
    """The lease on the job is no longer held: another supervisor may be running it."""


class QueueConnectionError(PorticoError):
    """The job store cannot be reached right now."""


class NotSupportedError(PorticoError):
    """This queue adapter does not offer the operation."""
