"""What a run of a benchmark measured, and what several runs have in common."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One run: `rate` in jobs per second, from the first tenth to the last job."""

    jobs: int
    rate: float
    enqueue_rate: float
    exchanges: int
    """How often the store was asked."""


@dataclass
class Timeline:
    """When how many jobs were done."""

    total: int
    done: int = 0
    marks: list[tuple[float, int]] = field(default_factory=list)

    def add(self, now: float, count: int) -> None:
        """Note that `count` more jobs are done at `now`, in seconds of a monotonic clock."""
        self.done += count
        self.marks.append((now, self.done))

    @property
    def complete(self) -> bool:
        """Whether all jobs are done."""
        return self.done >= self.total

    def rate(self) -> float:
        """Jobs per second after the first tenth, which pays for the start."""
        warm = next(mark for mark in self.marks if mark[1] >= self.total / 10)
        last = self.marks[-1]
        if last[0] <= warm[0]:
            raise ValueError(f"{self.total} jobs are too few: all were done in one step")
        return (last[1] - warm[1]) / (last[0] - warm[0])


@dataclass(frozen=True)
class Summary:
    """The median, and how far the runs lie apart."""

    median: float
    lowest: float
    highest: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Summary:
        """Summarise at least one value."""
        return cls(statistics.median(values), min(values), max(values))

    @property
    def spread(self) -> float:
        """From lowest to highest, as a fraction of the median."""
        return (self.highest - self.lowest) / self.median


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that so many percent of the values do not exceed (nearest rank)."""
    rank = math.ceil(percent / 100 * len(values))
    return sorted(values)[max(0, rank - 1)]
