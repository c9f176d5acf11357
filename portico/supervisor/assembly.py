"""Crew and pool from a configuration: how the parts that run jobs fit together."""

from __future__ import annotations

import os

from portico.kits.job.execution import ON_FAILURE_TIMEOUT
from portico.ports.time_limits import TimeLimits
from portico.supervisor import parting, printing, wire
from portico.supervisor.config import SupervisorConfig
from portico.supervisor.crew import Crew
from portico.supervisor.launch import Launcher, SpawnLauncher, ZygoteLauncher
from portico.supervisor.pool import OnRequest, ProcessPool
from portico.supervisor.scheduling.memory import Bounds
from portico.supervisor.scheduling.watch import Limits
from portico.supervisor.spawning import Zygote


def launcher_of(config: SupervisorConfig, early: Zygote | None = None) -> Launcher:
    """What starts the workers of this configuration, with a zygote that was started before."""
    if config.start_method == "spawn":
        return SpawnLauncher(config.app, config.limits, config.pass_env)
    return ZygoteLauncher(config.app, config.limits, early, config.pass_env)


def crew_of(config: SupervisorConfig, early: Zygote | None = None) -> Crew:
    """The workers, none of them started yet; to be called on the running loop."""
    key, usual = printing.new_key(), usual_limits(config)

    def hello(number: int) -> wire.Hello:
        return wire.Hello(
            worker=number,
            supervisor=os.getpid(),
            concurrency=config.concurrency,
            job_timeout=usual.job_timeout,
            kill_grace=usual.kill_grace,
            max_job_timeout=config.max_job_timeout,
            on_failure_timeout=ON_FAILURE_TIMEOUT,
            retry_returned_failures=config.retry_returned_failures,
            log_level=config.log_level,
            max_jobs=1 if config.max_jobs_per_worker == 1 else None,  # a promise, others are not
            output_key=key,
            loop=config.loop,
            exit_patience=min(parting.PATIENCE, config.shutdown_grace / 2),
        )

    return Crew(config, launcher_of(config, early), hello)


def usual_limits(config: SupervisorConfig) -> TimeLimits:
    """How long attempts may take whose type and job say nothing of it."""
    usual = TimeLimits(config.job_timeout, config.kill_grace)
    return usual.within(config.max_job_timeout, config.kill_grace)


UNRESPONSIVE = 10.0
"""Seconds in which a worker that runs nothing must start what it was given."""


def pool_of(
    config: SupervisorConfig, crew: Crew, on_request: OnRequest | None = None
) -> ProcessPool:
    """The executor that runs jobs in these workers.

    Args:
        config: what the crew was made from.
        crew: the workers.
        on_request: takes what handlers ask of the store; without it they wait for ever.
    """
    limits = Limits(
        usual=usual_limits(config),
        max_job_timeout=config.max_job_timeout,
        on_failure_timeout=ON_FAILURE_TIMEOUT,
        unresponsive=UNRESPONSIVE,
    )
    return ProcessPool(
        crew,
        limits,
        Bounds(ceiling=config.memory_ceiling, reserve=config.min_free_memory),
        weighs_workers=bool(config.memory_ceiling or config.max_memory_per_worker),
        on_request=on_request,
    )
