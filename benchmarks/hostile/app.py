"""Handlers that attack what they share with their supervisor, and one that does nothing."""

from __future__ import annotations

import asyncio
from random import Random
from uuid import UUID

from benchmarks.hostile.attacks import ATTACKS
from benchmarks.hostile.frames import Means
from portico.ports.job import Job, JobResult
from portico.ports.job_handler import JobHandler

HOSTILE, HEALTHY, LARGE = "hostile.attack", "hostile.healthy", "hostile.large"


class Attack(JobHandler):
    """Does what its payload names, from a seed."""

    job_type = HOSTILE

    async def handle(self, job: Job) -> JobResult:
        payload = job.payload
        random = Random(payload["seed"])  # noqa: S311 - no secret
        means = Means(random, payload["seconds"], UUID(payload["known"]))
        ATTACKS[payload["attack"]](means)
        return JobResult(success=True)


class Healthy(JobHandler):
    """Waits a moment."""

    job_type = HEALTHY

    async def handle(self, job: Job) -> JobResult:
        await asyncio.sleep(0.002)
        return JobResult(success=True, result_data={"n": job.payload["n"]})


class Large(JobHandler):
    """Has a large result."""

    job_type = LARGE

    async def handle(self, job: Job) -> JobResult:
        return JobResult(success=True, result_data={"x": ["y" * 1000] * 1000})


app = [Attack(), Healthy(), Large()]
