"""A quick look whether Portico has become several times slower: ratios of one run, and floors."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import uvloop

from benchmarks import limits
from benchmarks.throughput import measure

FLOORS = Path(__file__).with_name("floors.toml")
WORKERS = 2
RUNS = 3


class Watched(NamedTuple):
    """One pair of rates: a queue, and what bounds it."""

    jobs: int
    limit: limits.Limit
    limit_jobs: int
    url: Callable[[Path], str]
    """Of an empty queue in this folder."""


WATCHED = {
    "memory": Watched(6_000, limits.PIPE, 60_000, lambda _: "memory://"),
    "sqlite": Watched(4_000, limits.SQLITE, 8_000, lambda folder: f"sqlite:///{folder}/jobs.db"),
}


class Seen(NamedTuple):
    """The best rates of a few short runs: whoever disturbs makes a rate smaller, never larger."""

    rate: float
    limit: float

    @property
    def ratio(self) -> float:
        """What part of the limit was reached."""
        return self.rate / self.limit


def look(name: str, directory: Path, runs: int = RUNS) -> Seen:
    """Run no-op jobs and the raw limit in turn, in files of this directory that are removed."""
    watched = WATCHED[name]
    rates, bounds = [], []
    for _ in range(runs):
        bounds.append(watched.limit.measure(watched.limit_jobs, WORKERS, directory))
        with TemporaryDirectory(prefix="bench-", dir=directory) as folder:
            url = watched.url(Path(folder).absolute())
            rates.append(uvloop.run(measure(url, WORKERS, watched.jobs)).rate)
    return Seen(max(rates), max(bounds))


def floor(name: str, where: str = "crowded") -> float:
    """The least ratio that passes: `crowded`, where other tests run meanwhile, or `alone`."""
    return float(tomllib.loads(FLOORS.read_text(encoding="utf-8"))[where][name])
