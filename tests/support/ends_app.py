"""Handlers that leave something for the end of their process, and an application that does so when
it is imported. What runs there writes `name pid` lines to the file `ends` beside the ledger."""

from __future__ import annotations

import atexit
import gzip
import logging
import logging.handlers
import multiprocessing
import os
import tempfile
import threading
import time
import weakref
from pathlib import Path
from typing import Any

from portico.ports.job import Job, JobResult
from tests.support.fault_app import Fault

HERE = Path(os.environ["LEDGER"]).parent
KEPT: list[Any] = []
"""For the end of the process, as modules keep things."""


def mark(name: str) -> None:
    with (HERE / "ends").open("a") as file:
        file.write(f"{name} {os.getpid()}\n")


class Thing:
    """Something that can be finalized."""


def opened(name: str) -> Any:
    KEPT.append((HERE / name).open("w"))
    return KEPT[-1]


def later(name: str) -> None:
    time.sleep(0.2)
    mark(name)


async def leave_all(job: Job) -> JobResult:
    """One of everything."""
    thing = Thing()
    buffered = logging.handlers.MemoryHandler(1000, target=logging.FileHandler(HERE / "log"))
    record = logging.makeLogRecord({"msg": "a buffered line", "levelno": logging.INFO})
    buffered.handle(record)
    KEPT.extend((thing, buffered, tempfile.TemporaryDirectory(prefix="mine-", dir=HERE)))
    atexit.register(mark, "atexit")
    weakref.finalize(thing, mark, "finalizer")
    opened("rows.csv").write("id,amount\n")
    compressed = gzip.open(HERE / "rows.gz", "wt")  # noqa: SIM115 - nobody closes it
    compressed.write("id,amount\n")
    KEPT.append(compressed)
    AT_IMPORT.write("a row\n")
    threading.Thread(target=later, args=("thread",)).start()
    multiprocessing.get_context("fork").Process(target=later, args=("child",)).start()
    return JobResult(success=True, result_data={"pid": os.getpid()})


async def stay(job: Job) -> JobResult:
    """A thread that keeps its process from ending."""
    threading.Thread(target=threading.Event().wait, name="the-one-that-stays").start()
    return JobResult(success=True, result_data={"pid": os.getpid()})


async def look(job: Job) -> JobResult:
    """Whether the folder that was made at import is there."""
    return JobResult(
        success=True, result_data={"pid": os.getpid(), "folder": Path(FOLDER.name).is_dir()}
    )


FOLDER = tempfile.TemporaryDirectory(prefix="import-", dir=HERE)
AT_IMPORT = (HERE / "at-import").open("a")
AT_IMPORT.write("a head\n")
atexit.register(mark, "import")
app = [Fault(act.__name__, act) for act in (leave_all, stay, look)]
