"""Handlers that misuse their pipes: forged frames, default signals, flags that are shared.

The application itself is odd when `$WIRE` holds a file `dribble`, upon which its workers write and
read single bytes, or `version`, upon which they speak another version.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import struct
from pathlib import Path
from typing import Any

from portico.ports.job import Job, JobResult
from portico.ports.job_handler import JobHandler
from portico.ports.worker_context import WorkerContext
from portico.supervisor import framing, inbox, wire
from tests.support import fault_app
from tests.support.fault_app import Fault
from tests.support.waiting import wait_until

RESULTS_FD, PAGE_FD, LOG_FD = 201, 202, 204
"""Where a worker's result pipe, page and log are, as `birth` moves them."""


def there(name: str) -> bool:
    return (Path(os.environ["WIRE"]) / name).exists()


if there("version"):
    wire.VERSION = 99

if there("dribble"):
    write = os.write
    os.write = lambda fd, data: write(fd, bytes(data[:1]) if fd == RESULTS_FD else data)
    inbox._READ = 1


def own_serial() -> int:
    (serial,) = struct.unpack("Q", os.pread(PAGE_FD, 8, 0))
    return int(serial)


def forged(kind: str, payload: dict[str, Any]) -> bytes:
    serial = payload.get("serial", own_serial())
    done = wire.Done(serial, b'{"forged":true}', 0.001)
    frames = {
        "length of 4 GiB": b"\xff\xff\xff\xff" + b"x" * 1000,
        "length over the limit": (framing.MAX_FRAME + 1).to_bytes(4, "little") + b"x" * 1000,
        "unknown type": b"\x05\0\0\0\x91\xa3new",
        "no frame at all": b"\x08\0\0\0" + b"\xc1" * 8,
        "frame of the other direction": wire.frame(wire.Recall()),
        "another version": wire.frame(wire.Ready(wire.VERSION + 1, [], [])),
        "result": wire.frame(done),
        "result of the next": wire.frame(wire.Done(serial + 1, b'{"forged":true}', 0.001)),
        "batch of a number to come": wire.frame(wire.Batch(1000, [])),
        "nothing": b"",
    }
    return frames[kind]


async def forge(job: Job) -> JobResult:
    """Writes a forged frame; goes on for ever, or returns with `payload["then"]`."""
    os.write(RESULTS_FD, forged(job.payload["frame"], job.payload))
    if not job.payload.get("then"):
        await asyncio.sleep(3600)
    return JobResult(success=True, result_data={"honest": True})


async def tell_serial(job: Job) -> JobResult:
    """Writes its serial to a file, and goes on when the file `go` is there."""
    own = Path(os.environ["WIRE"]) / f"serial-{job.id}"
    own.with_suffix(".new").write_text(str(own_serial()))
    own.with_suffix(".new").rename(own)
    await wait_until(lambda: there("go"), timeout=60)
    return JobResult(success=True, result_data={"honest": True})


async def echo(job: Job) -> JobResult:
    """Returns its text twice."""
    return JobResult(success=True, result_data={"twice": job.payload["text"] * 2})


async def broken_pipe(job: Job) -> None:
    """As after a library has set the default: a write that nobody reads kills the process."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    reading, writing = os.pipe()
    os.close(reading)
    os.write(writing, b"x")


async def never_block(job: Job) -> None:
    """Sets a flag that belongs to the open file, and so to everybody who has it open."""
    for fd in (1, 2, LOG_FD):
        flags = fcntl.fcntl(fd, fcntl.F_GETFL)
        fcntl.fcntl(fd, fcntl.F_SETFL, flags | os.O_NONBLOCK)


ACTS: tuple[Any, ...] = (forge, tell_serial, echo, broken_pipe, never_block)


def app(context: WorkerContext) -> list[JobHandler]:
    return [*fault_app.app(context), *(Fault(act.__name__, act) for act in ACTS)]
