"""The exit codes of the command, and which error ends in which."""

from __future__ import annotations

from portico.exceptions import (
    ConflictError,
    PorticoError,
    ResourceNotFoundError,
    ValidationError,
)

OK = 0
TROUBLE = 1
USAGE = 2
NOT_FOUND = 3
REFUSED = 4
INTERRUPTED = 130
BROKEN_PIPE = 141

EPILOG = """\b
Exit codes:
  0  done
  1  configuration or job store trouble, or not confirmed
  2  usage
  3  no such job
  4  input not acceptable, or in conflict with what is there
"""


def code_of(error: PorticoError) -> int:
    """The exit code that an error ends in."""
    if isinstance(error, ResourceNotFoundError):
        return NOT_FOUND
    return REFUSED if isinstance(error, ValidationError | ConflictError) else TROUBLE
