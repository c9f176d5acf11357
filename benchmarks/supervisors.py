"""A real supervisor in a process of its own, as users start it, with its log read as it comes."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, Self

import psutil

ROOT = Path(__file__).parent.parent
_STOP = 30.0
_CPUCLOCK_SCHED = 2
"""With the complement of a process id before it, the clock that `clock_getcpuclockid` gives."""


class Line(NamedTuple):
    """An event of the log, and when it was read here, in seconds of `time.monotonic()`."""

    at: float
    event: Mapping[str, Any]


class SupervisorProcess:
    """Runs within its context; what it says is kept.

    Args:
        queue_url: its queue.
        app: what it serves, as `module:attribute`; found from the folder of the benchmarks.
        workers: how many.
        options: further words of its command line.
    """

    def __init__(self, queue_url: str, app: str, workers: int, *options: str) -> None:
        self._arguments = [
            "--queue-url", queue_url, "--app", app, "--workers", str(workers),
            "--log-format", "json", "--log-level", "DEBUG", *options,
        ]  # fmt: skip
        self.workers = workers
        self.lines: list[Line] = []
        self._more = threading.Condition(threading.RLock())
        self.started_at = 0.0
        """Just before its process was asked for."""

    def __enter__(self) -> Self:
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        self.started_at = time.monotonic()
        self._process = subprocess.Popen(  # noqa: S603 - ourselves
            [sys.executable, "-m", "portico.supervisor", *self._arguments],
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(_STOP)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(_STOP)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def events(self, name: str) -> list[Line]:
        """What it has said of this kind."""
        with self._more:
            return [line for line in self.lines if line.event.get("event") == name]

    def ready(self, workers: int | None = None, timeout: float = 60.0) -> list[Line]:
        """The lines that say that so many workers are ready (by default all), once they are there.

        Raises:
            RuntimeError: they did not come.
        """
        wanted = self.workers if workers is None else workers
        deadline = time.monotonic() + timeout
        with self._more:
            while len(found := self.events("worker_ready")) < wanted:
                left = deadline - time.monotonic()
                if left <= 0 or self._process.poll() is not None:
                    said = [line.event for line in self.lines[-5:]]
                    raise RuntimeError(f"{len(found)} of {wanted} workers got ready: {said}")
                self._more.wait(min(left, 1.0))
        return found

    def worker_pids(self) -> list[int]:
        """The workers that have got ready and live."""
        return [
            line.event["pid"]
            for line in self.events("worker_ready")
            if psutil.pid_exists(line.event["pid"])
        ]

    def zygote_pids(self) -> list[int]:
        """Its children that never were a worker."""
        workers = {line.event["pid"] for line in self.events("worker_ready")}
        return [c.pid for c in psutil.Process(self.pid).children() if c.pid not in workers]

    def _read(self) -> None:
        assert self._process.stdout is not None
        for text in self._process.stdout:
            at = time.monotonic()
            with suppress(ValueError):
                event = json.loads(text)
                with self._more:
                    self.lines.append(Line(at, event))
                    self._more.notify_all()


def cpu_seconds(pid: int) -> float:
    """What a process has used of the processors, ended threads included.

    By its own clock, to the nanosecond where Linux has it: `/proc` counts in hundredths of a
    second, which is more than ten idle processes use in one.
    """
    if platform.system() == "Linux":
        return time.clock_gettime(~pid << 3 | _CPUCLOCK_SCHED)
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)
