"""Many seeds, in several processes."""

from __future__ import annotations

import gc
import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import IO

from tests.simulation.scenario import FAULTS, simulate, stage

_CHUNK = 250
_COLLECTED = 25
"""Seeds after which the garbage is collected."""
_NICE = 10
"""It takes what is left of the machine: whatever runs beside it may measure real time."""
_RARELY = 200
"""One fault of each kind in so many seeds, or the simulation does not do what it says."""


@dataclass
class Total:
    """What many seeds came to."""

    seeds: int = 0
    jobs: int = 0
    virtual_seconds: float = 0.0
    fired: Counter[str] = field(default_factory=Counter)
    wrong: list[tuple[int, str]] = field(default_factory=list)

    def add(self, other: Total) -> None:
        self.seeds += other.seeds
        self.jobs += other.jobs
        self.virtual_seconds += other.virtual_seconds
        self.fired.update(other.fired)
        self.wrong = sorted(self.wrong + other.wrong)


def run_some(first: int, count: int) -> Total:
    """Play these seeds, one after the other; stops at the fifth that fails."""
    total = Total()
    with stage(), _collecting_rarely():
        for seed in range(first, first + count):
            report = simulate(seed)
            if seed % _COLLECTED == 0:
                gc.collect()
            total.seeds += 1
            total.jobs += report.jobs
            total.virtual_seconds += report.seconds
            total.fired.update(report.fired)
            if report.wrong:
                total.wrong.append((seed, report.wrong[0]))
                if len(total.wrong) >= 5:
                    break
    return total


@contextmanager
def _collecting_rarely() -> Iterator[None]:
    """Keep the collector from looking through what is alive thousands of times in each history."""
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


def run_many(first: int, count: int, processes: int, progress: IO[str] | None = None) -> Total:
    """Play these seeds in so many processes."""
    total = Total()
    chunks = [(at, min(_CHUNK, first + count - at)) for at in range(first, first + count, _CHUNK)]
    with ProcessPoolExecutor(
        processes, get_context("spawn"), initializer=os.nice, initargs=(_NICE,)
    ) as pool:
        for done in as_completed([pool.submit(run_some, *chunk) for chunk in chunks]):
            total.add(done.result())
            if progress is not None:
                print(f"\r{total.seeds} seeds, {len(total.wrong)} wrong", end="", file=progress)
    if progress is not None:
        print(file=progress)
    return total


def coverage(total: Total) -> str:
    """How often each kind of fault has happened."""
    lines = [
        f"{total.seeds} seeds, {total.jobs} jobs, {total.virtual_seconds:,.0f} virtual seconds, "
        f"{len(total.wrong)} wrong"
    ]
    kinds = sorted({*FAULTS, *total.fired})
    return "\n".join([*lines, *(f"{total.fired[kind]:9d}  {kind}" for kind in kinds)])


def missing(total: Total) -> list[str]:
    """The kinds of faults that have not happened often enough to say anything."""
    return [kind for kind in FAULTS if total.fired[kind] < total.seeds // _RARELY]
