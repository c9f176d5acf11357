"""Handlers beside which Portico's own worker code dies between two of its lines.

The application is imported before workers are forked, so what it patches is patched in all of
them. Each injury happens once for every file of its name in the ledger's folder. A number in that
file is how many results the worker must have gathered for it; without one, any number will do.

| file | the worker dies |
|---|---|
| `before-handler` | when it has said that it starts a job, before the handler's first line |
| `after-result` | when it has put a result into its tray, which nobody was sent yet |
| `half-batch` | in the middle of the frame that sends what has gathered |
| `half-batch-while-running` | the same, while the loop is in the hands of a handler |
| `after-batch` | when that frame has been written, before the tray was emptied |
| `half-done` | in the middle of the frame of a result that is too large for a tray |
| `after-done` | when that frame has been written |
| `between-fork-and-reset` | by SIGTERM, before it has reset the signals that it inherited |
| `boot` | before it is ready, with exit code 3; every time, for as long as the file is there |

And with a file `ask` the application creates a job while it opens.
"""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

from portico.ports.job_handler import JobHandler
from portico.ports.worker_context import WorkerContext
from portico.supervisor import birth, slots
from portico.supervisor.inbox import Outbox
from portico.supervisor.running_page import RunningPage
from portico.supervisor.tray import Tray
from tests.support import fault_app

FOLDER = Path(os.environ["LEDGER"]).parent
KINDS = {b"\x93\xa5batch": "batch", b"\x94\xa4done": "done"}
"""Of frames, by what their bodies begin with."""

slots._TURN = 3600.0  # a slow machine gathers as much as a fast one


def once(name: str, gathered: int = 0) -> bool:
    """Whether this injury is due now; it is not due again then."""
    try:
        if gathered < int((FOLDER / name).read_text() or 0):
            return False
        (FOLDER / name).unlink()
    except FileNotFoundError:
        return False
    return True


def die(number: int = signal.SIGKILL) -> None:
    os.kill(os.getpid(), number)


begin, put, write = RunningPage.begin, Tray.put, Outbox._write
detach_signals = birth.detach_signals


def dying_begin(self: RunningPage, slot: int, serial: int, *, hook: bool = False) -> bool:
    begun = begin(self, slot, serial, hook=hook)
    if once("before-handler"):
        die()
    return begun


def dying_put(self: Tray, item: bytes) -> bool:
    there_is_room = put(self, item)
    if there_is_room and once("after-result", self.count):
        die()
    return there_is_room


def dying_write(self: Outbox, data: bytes) -> None:
    kind = next((kind for head, kind in KINDS.items() if data.startswith(head, 4)), "other")
    gathered = self._tray.count
    running = threading.current_thread() is not threading.main_thread()
    if once(f"half-{kind}", gathered) or (running and once(f"half-{kind}-while-running", gathered)):
        os.write(self._fd, data[: len(data) // 2])
        die()
    write(self, data)
    if once(f"after-{kind}", gathered):
        die()


def dying_detach() -> None:
    if once("between-fork-and-reset"):
        die(signal.SIGTERM)
    detach_signals()


RunningPage.begin = dying_begin  # type: ignore[method-assign]
Tray.put = dying_put  # type: ignore[method-assign]
Outbox._write = dying_write  # type: ignore[method-assign]
birth.detach_signals = dying_detach


async def app(context: WorkerContext) -> list[JobHandler]:
    if (FOLDER / "boot").exists():
        os._exit(3)
    if once("ask"):
        await context.job_creator.create_job("test.fine", {"asked": "early"})
    return [fault_app.Fault(act.__name__, act) for act in fault_app.ACTS]
