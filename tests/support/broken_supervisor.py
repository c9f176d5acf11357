"""`python -m tests.support.broken_supervisor`: a supervisor that dies, or stops, between two lines.

It is the real one, with a function patched. `$BREAK` names the place:

| `$BREAK` | the supervisor |
|---|---|
| `after-lease` | is killed when the store has granted leases, before a job is dispatched |
| `before-ack` | is killed when a job has ended, before the store is told |
| `after-ack` | is killed when the store knows that, before anything else |
| `raise` | has a defect: an error is raised in the midst of its work |
| `block` | runs nothing for `$SECONDS` as soon as the file `$WHEN` appears |
| `launch` | has a defect where it starts workers, once the file `$WHEN` is there |
| `sweep` | has a defect where it collects dead children, once the file `$WHEN` is there |
| `early-signals` | gets every signal but those that end it before it is ready for them |

Some numbers can be set: `$UNRESPONSIVE`, the seconds after which a worker that starts nothing is
given up; `$SWEEP`, the seconds between two sweeps for dead children; and `$OOM_COUNTER`, the file
in which the kernel counts whom it has killed for memory.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from portico.kits.job.journal import Journal
from portico.kits.job.pipeline import Pipeline
from portico.supervisor import cli, oom, orphans, supervisor
from portico.supervisor.cli import main
from portico.supervisor.launch import ZygoteLauncher


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def before(owner: Any, name: str, act: Callable[..., None]) -> None:
    """Have `act` called, with the same arguments, before this method."""
    method = getattr(owner, name)

    def acting(*arguments: Any, **named: Any) -> Any:
        act(*arguments)
        return method(*arguments, **named)

    setattr(owner, name, acting)


def after_lease() -> None:
    before(Pipeline, "_accept", lambda _, leases: leases and die())


def before_ack() -> None:
    before(Pipeline, "_exchange", lambda self, *_: len(self._outbox) and die())


def after_ack() -> None:
    before(Journal, "settled", lambda _, outcomes, *__: outcomes and die())


def raising() -> None:
    def defect(_: Journal, outcomes: Any, *__: Any) -> None:
        if outcomes:
            raise RuntimeError("a defect")

    before(Journal, "settled", defect)


def block() -> None:
    """A look every few milliseconds, on the loop itself; its time is then taken away there."""
    when, seconds = Path(os.environ["WHEN"]), float(os.environ["SECONDS"])

    async def looking() -> None:
        while not when.exists():  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        time.sleep(seconds)

    def begin(self: Pipeline) -> None:
        self.looking = asyncio.get_running_loop().create_task(looking())  # type: ignore[attr-defined]

    before(Pipeline, "run", begin)


def launching() -> None:
    before(ZygoteLauncher, "launch", lambda *_: defect_when_due())


def sweeping() -> None:
    supervisor._SWEEP = 0.01
    before(orphans, "reap", lambda *_: defect_when_due())


def defect_when_due() -> None:
    if Path(os.environ["WHEN"]).exists():
        raise ValueError("a defect")


def early_signals() -> None:
    def signals(*_: Any) -> None:
        for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGTTIN, signal.SIGTTOU):
            os.kill(os.getpid(), number)

    before(cli, "run", signals)


def set_patience(seconds: float) -> None:
    from portico.supervisor import assembly

    assembly.UNRESPONSIVE = seconds


BREAKS: dict[str, Callable[[], None]] = {
    "after-lease": after_lease,
    "before-ack": before_ack,
    "after-ack": after_ack,
    "raise": raising,
    "block": block,
    "launch": launching,
    "sweep": sweeping,
    "early-signals": early_signals,
    "": lambda: None,
}

if __name__ == "__main__":
    BREAKS[os.environ.get("BREAK", "")]()
    if "UNRESPONSIVE" in os.environ:
        set_patience(float(os.environ["UNRESPONSIVE"]))
    if "SWEEP" in os.environ:
        supervisor._SWEEP = float(os.environ["SWEEP"])
    if "OOM_COUNTER" in os.environ:
        oom.counter_file = lambda *_: Path(os.environ["OOM_COUNTER"])
    main(sys.argv[1:], prog_name="python -m portico.supervisor")
