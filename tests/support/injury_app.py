"""Handlers beside which Portico's own worker code dies between two of its lines.

The application is imported before workers are forked, so what it patches is patched in all of
them. Each injury happens once for every file of its name in the ledger's folder:

| file | the worker dies |
|---|---|
| `before-handler` | when it has said that it starts a job, before the handler's first line |
| `half-frame` | in the middle of the frame that tells how a job ended |
| `after-result` | when that frame has been written |
| `between-fork-and-reset` | by SIGTERM, before it has reset the signals that it inherited |
| `boot` | before it is ready, with exit code 3; every time, for as long as the file is there |

And with a file `ask` the application creates a job while it opens.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

from portico.ports.job_handler import JobHandler
from portico.ports.worker_context import WorkerContext
from portico.supervisor import birth, wire
from portico.supervisor.inbox import Outbox
from portico.supervisor.running_page import RunningPage
from tests.support import fault_app

FOLDER = Path(os.environ["LEDGER"]).parent


def once(name: str) -> bool:
    """Whether this injury is due now; it is not due again then."""
    try:
        (FOLDER / name).unlink()
    except FileNotFoundError:
        return False
    return True


def die(number: int = signal.SIGKILL) -> None:
    os.kill(os.getpid(), number)


begin, send, detach_signals = RunningPage.begin, Outbox.send, birth.detach_signals


def dying_begin(self: RunningPage, slot: int, serial: int) -> None:
    begin(self, slot, serial)
    if once("before-handler"):
        die()


def dying_send(self: Outbox, message: wire.FromWorker) -> None:
    if isinstance(message, wire.Done) and once("half-frame"):
        data = wire.frame(message)
        os.write(self._fd, data[: len(data) // 2])
        die()
    send(self, message)
    if isinstance(message, wire.Done) and once("after-result"):
        die()


def dying_detach() -> None:
    if once("between-fork-and-reset"):
        die(signal.SIGTERM)
    detach_signals()


RunningPage.begin = dying_begin  # type: ignore[method-assign]
Outbox.send = dying_send  # type: ignore[method-assign]
birth.detach_signals = dying_detach


async def app(context: WorkerContext) -> list[JobHandler]:
    if (FOLDER / "boot").exists():
        os._exit(3)
    if once("ask"):
        await context.job_creator.create_job("test.fine", {"asked": "early"})
    return [fault_app.Fault(act.__name__, act) for act in fault_app.ACTS]
