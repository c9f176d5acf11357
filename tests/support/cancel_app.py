"""Handlers that take their cancellation each in another way, beside one that is not cancelled."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from portico.ports.job import Job
from tests.support.fault_app import Fault, Mourner, spin, stubborn
from tests.support.waiting import wait_until


async def heed(job: Job) -> None:
    await asyncio.sleep(3600)


async def finish(job: Job) -> None:
    """Complete all the same."""
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        return


async def until_told(job: Job) -> None:
    await wait_until(Path(os.environ["LEDGER"]).with_name("go").exists, timeout=60)


app = [
    Mourner("heed", heed), Mourner("spin", spin), Fault("stubborn", stubborn),
    Fault("finish", finish), Fault("until_told", until_told),
]  # fmt: skip
