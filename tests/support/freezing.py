"""Stopping a supervisor where it is in nobody's way."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import psutil

from tests.support.supervisors import SupervisorProcess
from tests.support.waiting import wait_until

_PAUSE = 0.05


async def freeze(supervisor: SupervisorProcess, folder: Path) -> None:
    """Stop it (SIGSTOP) at an instant at which it holds no lock on the database of its folder.

    Else nobody could write there until it goes on, and a machine that is busy makes that likely.
    """
    process = psutil.Process(supervisor.pid)
    while True:
        supervisor.signal(signal.SIGSTOP)
        await wait_until(lambda: process.status() == psutil.STATUS_STOPPED)
        if _can_be_written(folder / "jobs.db"):
            return
        supervisor.signal(signal.SIGCONT)
        await asyncio.sleep(_PAUSE)


def _can_be_written(database: Path) -> bool:
    if not database.exists():  # its store is a server
        return True
    with closing(sqlite3.connect(database, timeout=1.0, isolation_level=None)) as outsider:
        try:
            outsider.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return False
        outsider.execute("ROLLBACK")
        return True
