"""Mistakes that a type checker has to find: one in each line that says so, and none elsewhere."""

from __future__ import annotations

import portico
from portico import Job, JobFilter, JobHandler, JobResult, JobService


class Wrong(JobHandler):
    job_type = "a.b"

    async def handle(self, job: Job, context: object) -> JobResult:  # wrong
        print(job.paylod)  # wrong
        return JobResult(sucess=True)  # wrong


class Plain(JobHandler):
    job_type = "c.d"

    def handle(self, job: Job) -> JobResult:  # wrong
        return JobResult(success=True)


async def main(jobs: JobService) -> None:
    print(portico.JobHander)  # wrong
    await jobs.create_job("a.b", {}, schedule_at=None)  # wrong
    await jobs.create_job("a.b", {}, max_retries="3")  # wrong
    await jobs.create_job("a.b", {}, "default", 0, 3)  # wrong
    await jobs.create_job("a.b", ["x"])  # wrong
    await jobs.list_jobs({"status": "failed"})  # wrong
    await jobs.list_jobs(JobFilter(status="failed"))  # wrong
    await jobs.cancel(5)  # wrong
