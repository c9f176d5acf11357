"""Real supervisors in processes of their own, for tests that kill and signal them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from tests.support.waiting import PATIENCE, wait_until

_LAST_WORDS = 20_000
"""Characters of a supervisor's log that a failed test shows."""
ROOT = Path(__file__).parents[2]
COMMAND = (sys.executable, "-m", "portico.supervisor")
TUNED = (sys.executable, "-m", "tests.support.tuned_supervisor")
"""One with constants set otherwise, as its `TUNING` says."""
BROKEN = (sys.executable, "-m", "tests.support.broken_supervisor")
"""One with a defect, as its `BREAK` says."""
LOOKED_INTO = () if os.geteuid() == 0 else ("--limits", "sandbox=off")
"""Arguments with which a test may look into a supervisor's processes: root may anyway."""


def is_dead(process: psutil.Process) -> bool:
    """Whether all of it has ended, and nobody has collected it; its first thread may end early."""
    return process.status() == psutil.STATUS_ZOMBIE and process.num_threads() == 1


class Ledger:
    """A file to which handlers append a line per event; a line survives the death of its writer."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()

    def lines(self) -> list[list[str]]:
        """Whole ones: somebody may be about to write the last."""
        whole, _, _ = self.path.read_text().rpartition("\n")
        return [line.split() for line in whole.splitlines()]

    def count(self, event: str, job_id: object = None) -> int:
        return len(self.of(event, job_id))

    def of(self, event: str, job_id: object = None) -> list[list[str]]:
        return [
            line
            for line in self.lines()
            if line[0] == event and (job_id is None or line[1] == str(job_id))
        ]


class SupervisorProcess:
    """One `python -m portico.supervisor`, with its log as parsed JSON lines.

    `command` is what to run in place of `python -m portico.supervisor`, and `log` where its output
    goes, for tests that break that. `TUNING` in the environment patches its constants.
    """

    def __init__(
        self,
        folder: Path,
        arguments: list[str],
        environment: dict[str, str],
        command: Sequence[str] | None = None,
        *,
        log: Path | None = None,
    ) -> None:
        self._log = log or folder / f"supervisor-{len(list(folder.glob('supervisor-*')))}.log"
        if command is None:  # of the interpreter that there is now: a test may have put another
            module = TUNED[-1] if "TUNING" in environment else COMMAND[-1]
            command = (sys.executable, "-m", module)
        with self._log.open("ab", buffering=0) as log_file:
            self.process = subprocess.Popen(
                [*command, "--log-format", "json", *arguments],
                cwd=folder,
                env={**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(folder), **environment},
                stdin=subprocess.DEVNULL,
                stdout=log_file,
                stderr=subprocess.STDOUT,
            )
        self.pid = self.process.pid
        self.ruined: str | None = None
        """Why it may not stop as it should at the end of its test, where a test does that to it."""

    def text(self) -> str:
        return self._log.read_text(errors="replace")

    def events(self, name: str | None = None, **values: Any) -> list[dict[str, Any]]:
        found = []
        for line in self.text().splitlines():
            try:
                event = json.loads(line)
            except ValueError:
                continue
            wanted = values if name is None else {**values, "event": name}
            if isinstance(event, dict) and wanted.items() <= {**event}.items():
                found.append(event)
        return found

    async def event(self, name: str, timeout: float = PATIENCE, **values: Any) -> dict[str, Any]:
        """The first event of this name, when it comes."""
        await self.until(lambda: bool(self.events(name, **values)), timeout, f"event {name}")
        return self.events(name, **values)[0]

    async def started(self) -> dict[str, Any]:
        return await self.event("supervisor_started")

    async def ready(self, workers: int = 2) -> list[psutil.Process]:
        """The workers, once so many have got ready; needs `--log-level DEBUG`."""
        await self.until(lambda: len(self.events("worker_ready")) == workers, what="the pool")
        return [psutil.Process(event["pid"]) for event in self.events("worker_ready")]

    async def until(
        self, predicate: Callable[[], object], timeout: float = PATIENCE, what: str = "it"
    ) -> None:
        try:
            await wait_until(predicate, timeout)
        except TimeoutError:
            raise AssertionError(f"{what} did not come; the log:\n{self.text()}") from None

    async def ended(self, timeout: float = PATIENCE) -> int:
        """The exit code, when it comes."""
        await self.until(lambda: self.process.poll() is not None, timeout, "the exit")
        code = self.process.returncode
        assert code is not None
        return code

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def descendants(self) -> list[psutil.Process]:
        try:
            return psutil.Process(self.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def workers(self) -> list[psutil.Process]:
        """The workers; the zygote is the one that is no leader of jobs: it has no thread."""
        found = []
        for process in self.descendants():
            try:
                if process.num_threads() > 1:
                    found.append(process)
            except psutil.NoSuchProcess:
                continue
        return found

    def destroy(self) -> None:
        for process in [*self.descendants()]:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


class Place:
    """A folder with a SQLite queue and a ledger, in which supervisors are started."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"sqlite:///{folder / 'jobs.db'}"
        self.ledger = Ledger(folder / "ledger")
        self.running: list[SupervisorProcess] = []

    def supervisor(
        self,
        *arguments: str,
        app: str | None = None,
        command: Sequence[str] | None = None,
        log: Path | None = None,
        **environment: str,
    ) -> SupervisorProcess:
        """Start one with two workers, unless the arguments say otherwise."""
        defaults = ["--queue-url", self.url, "--app", app or "tests.support.fault_app:app"]
        if "--workers" not in arguments:
            defaults += ["--workers", "2"]
        running = SupervisorProcess(
            self.folder,
            [*defaults, *arguments],
            {"LEDGER": str(self.ledger.path), **environment},
            command,
            log=log,
        )
        if command is not None:
            running.ruined = "it is no supervisor as it should be"
        self.running.append(running)
        return running

    def told(self) -> list[tuple[str, str]]:
        """What a failed test is to show: the ledger, and each supervisor's log."""
        ended = [(one, one.process.poll()) for one in self.running]
        return [("ledger", self.ledger.path.read_text()[-_LAST_WORDS:])] + [
            (f"supervisor {one.pid}, exit code {code}", one.text()[-_LAST_WORDS:])
            for one, code in ended
        ]

    def destroy(self) -> None:
        for running in self.running:
            running.destroy()


@contextmanager
def place(folder: Path) -> Iterator[Place]:
    """A place whose processes are gone afterwards, and have gone as they should: see `leaving`."""
    from tests.support.leaving import Departure

    here = Place(folder)
    try:
        yield here
        if not verdict.failed:
            Departure(here.running, here.url).check()
    finally:
        here.destroy()


class _Verdict:
    """What became of the test that runs, as far as it is known."""

    failed = False


verdict = _Verdict()
