"""Imports of the libraries that only some of the examples need.

The package works without them as far as possible, so that a first job can run with the core
alone; a job that does need one ends FAILED and says what to install.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from portico.exceptions import NonRetryableError

INSTALL = "pip install 'portico-jobs[examples]'"


@contextmanager
def examples_extra() -> Iterator[None]:
    """Wrap imports of optional libraries.

    Raises:
        NonRetryableError: one is not installed; the message has the line that installs it.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise missing(str(error.name)) from error


def missing(library: str) -> NonRetryableError:
    """The error for a library that is not installed."""
    return NonRetryableError(f"{library} is not installed; run: {INSTALL}")
