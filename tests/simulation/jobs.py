"""Kinds of jobs: how long they take, whether they fail, what they do to their worker."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, kw_only=True)
class Kind:
    name: str
    shortest: float = 0.0005
    longest: float = 0.003
    failures: int = 0
    """Executions that fail before one succeeds."""
    retryable: bool = True
    listens: bool = False
    """Its handler has an `on_failure` of its own."""
    crashes: int = 0
    """Executions that kill their worker."""
    blocking: bool = False
    """It holds the loop while it runs."""
    stubborn: bool = False
    """It goes on when it is cancelled."""
    undecodable: bool = False
    most: int | None = None
    """So many of it may run at a time under one supervisor."""

    alone: bool = False
    """Each has a worker to itself."""

    @property
    def short(self) -> bool:
        return self.longest < 0.1

    @property
    def endless(self) -> bool:
        return self.shortest > 1e9

    def duration(self, rng: Random) -> float:
        return rng.uniform(self.shortest, self.longest)

    def fails(self, starts: int) -> bool:
        return starts <= self.failures

    def kills(self, starts: int) -> bool:
        return starts <= self.crashes


KINDS = {
    kind.name: kind
    for kind in (
        Kind(name="tiny"),
        Kind(name="tiny.listening", listens=True),
        Kind(name="varying", shortest=0.001, longest=0.6, blocking=True),
        Kind(name="long", shortest=0.1, longest=0.8, most=2),
        Kind(name="long.blocking", shortest=0.1, longest=0.8, blocking=True, stubborn=True),
        Kind(name="longer.than.a.lease", shortest=2.5, longest=4.5, blocking=True, stubborn=True),
        Kind(name="endless", shortest=1e10, longest=1e10),
        Kind(name="endless.stubborn", shortest=1e10, longest=1e10, stubborn=True, listens=True),
        Kind(name="flaky", failures=2),
        Kind(name="flaky.listening", failures=2, listens=True, longest=0.1),
        Kind(name="failing", failures=99, listens=True),
        Kind(name="hopeless", failures=99, retryable=False, listens=True),
        Kind(name="killer.once", crashes=1, listens=True, longest=0.2),
        Kind(name="killer", crashes=99, longest=0.02),
        Kind(name="undecodable", undecodable=True),
        Kind(name="lone", alone=True, longest=0.05),
        Kind(name="lone.flaky", alone=True, failures=1, listens=True, most=1),
        Kind(name="lone.killer", alone=True, crashes=2, longest=0.02),
    )
}
LONE = frozenset(kind.name for kind in KINDS.values() if kind.alone)
MOST_RUNNING = {kind.name: kind.most for kind in KINDS.values() if kind.most}
HARMLESS = ("tiny", "tiny.listening", "varying", "long", "long.blocking")
