"""Crew and pool from a configuration: how the parts that run jobs fit together."""

from __future__ import annotations

import os
from collections.abc import Callable

from portico.kits.job.execution import ON_FAILURE_TIMEOUT
from portico.supervisor import wire
from portico.supervisor.config import SupervisorConfig
from portico.supervisor.crew import Crew
from portico.supervisor.launch import Launcher, SpawnLauncher, ZygoteLauncher
from portico.supervisor.pool import ProcessPool

LOG_FD = 2
"""Workers write their log lines where their supervisor writes its own."""

OnRequest = Callable[[wire.Request, Callable[[wire.Answer], None]], None]


def launcher_of(config: SupervisorConfig) -> Launcher:
    """What starts the workers of this configuration."""
    kinds: dict[str, type[ZygoteLauncher | SpawnLauncher]] = {
        "zygote": ZygoteLauncher,
        "spawn": SpawnLauncher,
    }
    return kinds[config.start_method](config.app)


def crew_of(config: SupervisorConfig) -> Crew:
    """The workers, none of them started yet; to be called on the running loop."""

    def hello(number: int) -> wire.Hello:
        return wire.Hello(
            worker=number,
            supervisor=os.getpid(),
            concurrency=config.concurrency,
            job_timeout=config.job_timeout,
            on_failure_timeout=ON_FAILURE_TIMEOUT,
            retry_returned_failures=config.retry_returned_failures,
            log_level=config.log_level,
            log_format=config.log_format,
        )

    return Crew(config, launcher_of(config), LOG_FD, hello)


def pool_of(
    config: SupervisorConfig, crew: Crew, on_request: OnRequest | None = None
) -> ProcessPool:
    """The executor that runs jobs in these workers.

    Args:
        config: what the crew was made from.
        crew: the workers.
        on_request: takes what handlers ask of the store; without it they wait for ever.
    """
    return ProcessPool(
        crew,
        job_timeout=config.job_timeout,
        on_failure_timeout=ON_FAILURE_TIMEOUT,
        kill_grace=config.kill_grace,
        max_memory=config.max_memory_per_worker,
        on_request=on_request,
    )
