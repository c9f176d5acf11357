"""`--check` names the job types that ask for more time than `--max-job-timeout` allows."""

from __future__ import annotations

import pytest

from portico.ports.job import Job, JobResult
from portico.ports.job_handler import JobHandler
from portico.supervisor.checking import _cut_short
from portico.supervisor.config import SupervisorConfig


class Handler(JobHandler):
    job_type = "a.b"

    async def handle(self, job: Job) -> JobResult:
        return JobResult(success=True)


class Long(Handler):
    job_timeout = 3600


class Endless(Handler):
    job_timeout = None


class Lingering(Handler):
    job_timeout = 59
    kill_grace = 7


class Short(Handler):
    job_timeout = 30
    kill_grace = 20


@pytest.mark.parametrize(
    ("handler", "told"),
    [(Long(), True), (Endless(), True), (Lingering(), True), (Short(), False), (Handler(), False)],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("cap", [60.0, None])
def test_a_type_that_asks_for_too_much_is_named(
    handler: JobHandler, told: bool, cap: float | None
) -> None:
    config = SupervisorConfig(workers=1, job_timeout=300.0, max_job_timeout=cap)
    found = _cut_short(config, {"a.b": handler})
    assert [finding.text for finding in found] == (
        ["app: a.b asks for more time than --max-job-timeout allows: 60 s"] if told and cap else []
    )
