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
