"""How long a worker serves. Each draws up to a tenth more than the limits say, so that those which
were started together do not go together."""

from __future__ import annotations

import random

from portico.supervisor.config import SupervisorConfig
from portico.supervisor.scheduling.seat import Seat

_MORE = 1.1


def seat_of(config: SupervisorConfig, key: int) -> Seat:
    """A place to work, up to so many jobs and so much memory."""
    jobs, memory = config.max_jobs_per_worker, config.max_memory_per_worker
    return Seat(
        key,
        config.concurrency,
        None if jobs is None else int(jobs * _more()),
        None if memory is None else int(memory * _more()),
        None if jobs is None else int(jobs * _MORE),
    )


def age_of(config: SupervisorConfig) -> float | None:
    """Seconds after which a worker is replaced; `None`: it grows as old as it likes."""
    age = config.max_age_per_worker
    return None if age is None else age * _more()


def _more() -> float:
    return random.uniform(1.0, _MORE)  # noqa: S311 - no secret
