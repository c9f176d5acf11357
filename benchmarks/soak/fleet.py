"""The supervisors of a soak: real processes, started again when they are killed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil

from benchmarks.soak import ledger, work

RESTART = 1.0
"""Seconds after which a supervisor that is gone is started again."""
_STOP = 20.0
_STEP = 0.05


class Setup(NamedTuple):
    """How the supervisors are started. Times in seconds."""

    folder: Path
    url: str
    supervisors: int = 2
    workers: int = 3
    lease: float = 3.0
    job_timeout: float = 3.0
    kill_grace: float = 0.3


class Exit(NamedTuple):
    """A supervisor that ended though nobody had killed it."""

    supervisor: int
    code: int
    at: float


class Running(NamedTuple):
    """One supervisor's process."""

    slot: int
    process: subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid


class Fleet:
    """Keeps the supervisors running."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._running: dict[int, Running] = {}
        self._starts = 0
        self.exits: list[Exit] = []

    @property
    def supervisors(self) -> list[Running]:
        """Those whose processes live, by slot."""
        return [r for _, r in sorted(self._running.items()) if r.process.poll() is None]

    def workers(self) -> list[tuple[psutil.Process, int]]:
        """The workers, each with its supervisor; a zygote has one thread, a worker more."""
        found = []
        for supervisor in self.supervisors:
            for child in _children(supervisor.pid):
                with suppress(psutil.Error):
                    if child.num_threads() > 1:
                        found.append((child, supervisor.pid))
        return sorted(found, key=lambda pair: pair[0].pid)

    def start(self, slot: int) -> None:
        """Start the supervisor of this slot."""
        setup, self._starts = self._setup, self._starts + 1
        log = setup.folder / f"supervisor-{slot}-{self._starts:02}.log"
        options = {
            "--queue-url": setup.url,
            "--app": work.APP,
            "--workers": setup.workers,
            "--lease": f"{setup.lease:g}s",
            "--job-timeout": f"{setup.job_timeout:g}s",
            "--kill-grace": f"{setup.kill_grace:g}s",
            "--log-format": "json",
        }
        words = [str(word) for option in options.items() for word in option]
        with log.open("wb") as output:
            process = subprocess.Popen(  # noqa: S603 - ourselves
                [sys.executable, "-m", "portico.supervisor", *words],
                cwd=setup.folder,
                env=environment(setup.folder),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self._running[slot] = Running(slot, process)

    async def tend(self) -> None:
        """Start again, for ever, what has ended; who was killed was killed on purpose."""
        while True:
            await asyncio.sleep(_STEP)
            for slot, running in list(self._running.items()):
                code = running.process.poll()
                if code is not None:
                    del self._running[slot]
                    if code != -signal.SIGKILL:
                        self.exits.append(Exit(running.pid, code, ledger.now()))
                    asyncio.get_running_loop().call_later(RESTART, self.start, slot)

    async def stop(self) -> list[int]:
        """Ask all to drain, and return their exit codes; SIGKILL after a while."""
        running = self.supervisors
        for supervisor in running:
            supervisor.process.terminate()
        self._running.clear()
        return [await asyncio.to_thread(_ended, supervisor.process) for supervisor in running]

    def destroy(self) -> None:
        """Kill everything that is left."""
        for running in self._running.values():
            if running.process.poll() is None:
                running.process.kill()
            running.process.wait()
        for process in survivors(self._setup.folder):
            with suppress(psutil.Error):
                process.kill()


def environment(folder: Path) -> dict[str, str]:
    """The variables of every process of a soak; the ledger's name also marks them as ours."""
    path = os.pathsep.join(filter(None, [str(Path.cwd()), os.environ.get("PYTHONPATH")]))
    ours = {"PYTHONPATH": path, "HOME": str(folder), ledger.VARIABLE: str(folder / "ledger")}
    return {**os.environ, **ours}


def survivors(folder: Path) -> list[psutil.Process]:
    """Processes of this soak that live."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get(ledger.VARIABLE) == str(folder / "ledger"):
                found.append(process)
    return found


def zombies(supervisors: list[Running]) -> set[int]:
    """Children of these supervisors that have ended and were not collected."""
    found = set()
    for supervisor in supervisors:
        for child in _children(supervisor.pid):
            with suppress(psutil.Error):
                if child.status() == psutil.STATUS_ZOMBIE:
                    found.add(child.pid)
    return found


def reap() -> None:
    """Collect what the supervisors left to us, their subreaper."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def log_events(folder: Path) -> Counter[str]:
    """How often each event stands in the supervisors' logs."""
    return Counter(str(event["event"]) for _, event in log_lines(folder))


def log_lines(folder: Path) -> Iterator[tuple[str, dict[str, object]]]:
    """The lines of the logs that are events, each with its file's name."""
    for path in sorted(folder.glob("supervisor-*.log")):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            with suppress(ValueError):
                event = json.loads(line)
                if isinstance(event, dict) and isinstance(event.get("event"), str):
                    yield path.name, event


def _ended(process: subprocess.Popen[bytes]) -> int:
    """The exit code of one that was told to stop; killed when it does not."""
    try:
        return process.wait(_STOP)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _children(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children()
    except psutil.Error:
        return []
