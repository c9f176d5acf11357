"""Which jobs come when: few long ones among many short ones, at random intervals."""

from __future__ import annotations

from random import Random
from typing import NamedTuple


class Mix(NamedTuple):
    """A mixed load for so many workers. Times in seconds."""

    jobs: int
    workers: int
    short: float = 0.001
    long: float = 0.5
    long_share: float = 0.1
    utilisation: float = 0.65

    @property
    def interval(self) -> float:
        """The mean time between two jobs that keeps the workers so busy."""
        mean = self.long_share * self.long + (1 - self.long_share) * self.short
        return mean / (self.utilisation * self.workers)


class Planned(NamedTuple):
    """A job that is to come: when, and whether it is a long one."""

    at: float
    long: bool


def plan(mix: Mix, seed: int) -> list[Planned]:
    """Poisson arrivals, and an exact share of long jobs in random places.

    The share is exact, and both come from the seed alone: runs of one seed differ in nothing else.
    """
    random = Random(seed)  # noqa: S311 - no secret
    long = [number < round(mix.long_share * mix.jobs) for number in range(mix.jobs)]
    random.shuffle(long)
    at, planned = 0.0, []
    for is_long in long:
        at += random.expovariate(1 / mix.interval)
        planned.append(Planned(at, is_long))
    return planned
