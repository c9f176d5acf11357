"""What is said to someone who uses a queue that is not open."""

from __future__ import annotations

from portico.exceptions import QueueConnectionError


def not_open(place: object) -> QueueConnectionError:
    """The error, with the ways to open it: a service has no `initialize` of its own."""
    return QueueConnectionError(
        f"{place} is not open: use the service within `async with job_service(...) as jobs:`, or "
        "open a queue of your own by `await queue.initialize()` before"
    )
