"""Live progress: bars on a terminal, a line every few seconds anywhere else."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from portico.ports.job import Job, JobStatus

SECONDS_BETWEEN_LINES = 3.0


class Board:
    """Shows how many jobs of each type are done."""

    def __init__(self, console: Console, expected: Mapping[str, int]) -> None:
        self._console = console
        self._expected = expected
        self._started = time.monotonic()
        self._next_line = self._started
        self._bars = Progress(
            TextColumn("{task.description:<16}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("[cyan]{task.fields[rate]:>6.1f} jobs/s[/]  {task.fields[running]} running"),
            TimeElapsedColumn(),
            console=console,
        )
        self._tasks = {
            job_type: self._bars.add_task(job_type, total=total, rate=0.0, running=0, start=False)
            for job_type, total in expected.items()
        }

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._console.is_terminal:
            self._bars.stop()

    def show(self, jobs: Sequence[Job], *, last: bool = False) -> None:
        """Show the state of the jobs; `last` prints a line even when none is due."""
        done = Counter(job.job_type for job in jobs if job.status.terminal)
        running = Counter(job.job_type for job in jobs if job.status is JobStatus.RUNNING)
        if self._console.is_terminal:
            self._draw(done, running)
        elif last or time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + SECONDS_BETWEEN_LINES
            self._print(done, running)

    def _draw(self, done: Mapping[str, int], running: Mapping[str, int]) -> None:
        for job_type, task in self._tasks.items():
            bar = self._bars.tasks[task]
            if not bar.started and (done.get(job_type) or running.get(job_type)):
                self._bars.start_task(task)
            if bar.finished:
                continue
            finished = done.get(job_type, 0)
            self._bars.update(
                task,
                completed=finished,
                running=running.get(job_type, 0),
                rate=finished / bar.elapsed if bar.elapsed else 0.0,
            )

    def _print(self, done: Mapping[str, int], running: Mapping[str, int]) -> None:
        elapsed = time.monotonic() - self._started
        parts = [
            f"{job_type} {done.get(job_type, 0)}/{total} ({running.get(job_type, 0)} running)"
            for job_type, total in self._expected.items()
        ]
        rate = sum(done.values()) / elapsed if elapsed else 0.0
        line = f"{elapsed:5.1f} s  {'  '.join(parts)}  {rate:.1f} jobs/s"
        self._console.print(line, soft_wrap=True, highlight=False)
