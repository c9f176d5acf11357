"""Handlers with time limits of their own, and some that grow."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from portico.ports.job import Job, JobResult
from portico.ports.job_handler import JobHandler
from tests.support import fault_app
from tests.support.fault_app import Fault, Mourner


class Brief(Fault):
    """Has less time than other jobs."""

    job_timeout = 0.3
    kill_grace = 0.2


class Patient(Fault):
    """Has no deadline."""

    job_timeout = None


class Growing(Mourner):
    """Takes memory until it is stopped."""


async def grow(job: Job) -> JobResult:
    kept = []
    while sum(map(len, kept)) < job.payload.get("until_mib", 4096) << 20:
        kept.append(b"x" * (8 << 20))
        time.sleep(0.005)
    while not Path(os.environ["LEDGER"]).with_name("go").exists() and job.payload.get("wait"):
        time.sleep(0.01)
    return JobResult(success=True, result_data={"mib": len(kept) * 8})


async def grow_in_child(job: Job) -> None:
    code = "kept = b'x' * (400 << 20); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as child:
        child.wait()


def app() -> list[JobHandler]:
    return [
        Brief("brief_spin", fault_app.spin),
        Brief("brief_sleep", fault_app.sleep),
        Patient("patient", fault_app.block),
        Fault("spin", fault_app.spin),
        Fault("block", fault_app.block),
        Fault("sleep", fault_app.sleep),
        Fault("fine", fault_app.fine),
        Growing("grow", grow),
        Growing("grow_in_child", grow_in_child),
    ]
