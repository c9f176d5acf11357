"""What the log says while jobs succeed: a line each where a person watches, and never a flood.

On a terminal a line per job shows that something is done. Elsewhere nobody reads that, and it is
for debugging. So many jobs can end in a second that a terminal gets some of them and their count.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from math import inf
from typing import Any

from portico.ports.job_executor import Outcome
from portico.ports.leasing import Lease
from portico.utils.logging import get_logger, writes_to_terminal

LINES_PER_SECOND = 20
"""Jobs that a terminal shows one by one."""

logger = get_logger(__name__)


class Completions:
    """Tells of completed jobs."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Build it with a clock of seconds that never goes back."""
        self._clock = clock
        self._second = -1
        self._shown = 0
        self._left_out = 0

    @property
    def told(self) -> bool:
        """Whether the log has them at all."""
        return writes_to_terminal() or logger.is_enabled_for(logging.DEBUG)

    def tell(self, outcomes: Sequence[Outcome]) -> None:
        """Log jobs that have completed, in this order."""
        if not writes_to_terminal():
            for outcome in outcomes:
                logger.debug("job_completed", **run_of(outcome))
            return
        shown = outcomes[: self._room()]
        for outcome in shown:
            logger.info("job_completed", **run_of(outcome))
        self._shown += len(shown)
        self._left_out += len(outcomes) - len(shown)

    def flush(self) -> None:
        """Say how many were left out."""
        if self._left_out:
            logger.info("jobs_completed", more=self._left_out)
            self._left_out = 0

    def _room(self) -> int:
        """How many more lines this second has."""
        second = int(self._clock())
        if second != self._second:
            self.flush()
            self._second, self._shown = second, 0
        return LINES_PER_SECOND - self._shown


def run_of(outcome: Outcome) -> dict[str, Any]:
    """Which job and attempt an outcome is of, and how long that ran, as far as it is known."""
    facts, seconds = facts_of(outcome.lease), outcome.seconds
    if seconds is not None and 0.0 <= seconds < inf:  # a worker may say anything
        return {**facts, "seconds": round(seconds, 3)}
    return facts


def facts_of(lease: Lease) -> dict[str, Any]:
    """Which job this is, and which of its attempts."""
    return {
        "job_id": lease.job_id,
        "job_type": lease.job_type,
        "queue": lease.queue_name,
        "attempt": lease.attempt,
    }
