"""`python -m benchmarks.hostile.measured`: the real supervisor, which measures its loop.

A turn is measured in processor time, so that a machine which does other things beside it changes
nothing. The longest one since `$MEASURED` was removed stands in that file, in seconds; with
`$STACKS` in the environment, what the loop was doing then is appended to the file of that name.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

from portico.kits.job.pipeline import Pipeline
from portico.supervisor.cli import main

PERIOD = 0.005
"""Seconds between two looks at the clock."""
_SUSPICIOUS = 0.05
"""Seconds after which to look what the loop is doing."""


class Meter:
    """Looks at the clock of the loop's thread again and again."""

    def __init__(self, path: Path, stacks: str | None) -> None:
        self._path = path
        self._worst = 0.0
        self._seen = time.thread_time()
        self._at = time.monotonic()
        if stacks:
            watcher = threading.Thread(
                target=self._watch, args=(Path(stacks), threading.get_ident()), daemon=True
            )
            watcher.start()

    async def run(self) -> None:
        """Measure for ever."""
        while True:
            await asyncio.sleep(PERIOD)
            now = time.thread_time()
            turn, self._seen, self._at = now - self._seen - PERIOD, now, time.monotonic()
            if not self._path.exists():
                self._worst = 0.0
                self._write()
            if turn > self._worst:
                self._worst = turn
                self._write()

    def _write(self) -> None:
        new = self._path.with_suffix(".new")
        new.write_text(repr(self._worst))
        new.rename(self._path)

    def _watch(self, stacks: Path, thread: int) -> None:
        while True:
            threading.Event().wait(_SUSPICIOUS / 2)
            if (late := time.monotonic() - self._at) > _SUSPICIOUS:
                stack = "".join(traceback.format_stack(sys._current_frames()[thread]))
                with stacks.open("a") as file:
                    file.write(f"{late:.3f} s\n{stack}\n")


def measure() -> None:
    """Have the loop of the pipeline measured, once it runs."""
    run = Pipeline.run

    async def measured(self: Pipeline) -> Any:
        meter = Meter(Path(os.environ["MEASURED"]), os.environ.get("STACKS"))
        measuring = asyncio.get_running_loop().create_task(meter.run())
        try:
            return await run(self)
        finally:
            measuring.cancel()

    Pipeline.run = measured  # type: ignore[method-assign]


if __name__ == "__main__":
    measure()
    main(sys.argv[1:], prog_name="python -m portico.supervisor")
