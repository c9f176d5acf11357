"""Pools of real worker processes inside of a test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from portico.supervisor import birth
from portico.supervisor.assembly import crew_of, pool_of
from portico.supervisor.config import SupervisorConfig
from portico.supervisor.crew import Crew
from portico.supervisor.pool import ProcessPool


@asynccontextmanager
async def pool_of_processes(app: str, **settings: Any) -> AsyncIterator[tuple[ProcessPool, Crew]]:
    """A pool that is ready; its workers are gone afterwards."""
    config = SupervisorConfig(app=app, **{"workers": 2, "log_level": "ERROR", **settings})
    birth.adopt_orphans()
    crew = crew_of(config)
    pool = pool_of(config, crew)
    await crew.start()
    try:
        yield pool, crew
    finally:
        await crew.stop(2.0)
