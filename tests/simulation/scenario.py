"""One seed, one history: what there is, what happens to it, and how it must end."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import Any
from uuid import UUID

from portico.adapters.job_queue import MemoryJobQueueAdapter, memory_queue
from portico.kits.job import journal, lease_keeper, outage, pipeline
from portico.ports.draft import Draft
from portico.ports.job import TERMINAL
from portico.ports.time_limits import TimeLimits
from portico.supervisor import crew, deaths, generations, offspring, pool
from portico.supervisor.config import SupervisorConfig
from portico.supervisor.scheduling.watch import Limits
from tests.simulation.clockwork import World
from tests.simulation.jobs import HARMLESS, KINDS, Kind
from tests.simulation.ledger import Ledger
from tests.simulation.processes import FakeProcess
from tests.simulation.store import value_of
from tests.simulation.supervisors import Supervisor

DEATHS = (
    "death before Ready",
    "death before it reads a Run",
    "death after reading, before the start",
    "death before the handler's first line",
    "death in the handler",
    "death after the handler, before the result",
    "death in the middle of the result",
    "death after the result",
    "death in the middle of a batch",
    "death between a batch and the emptying of the tray",
    "death in on_failure",
    "death while idle",
    "death while retiring",
)
WORKER_FAULTS = (
    *DEATHS,
    "spawn fails",
    "worker hangs before the start",
    "worker hangs in the handler",
    "worker stopped",
    "worker stopped in the handler",
    "worker does not go",
    "on_failure hangs",
    "lie: bytes that are no frame",
    "lie: the end of a job never given",
    "lie: a verdict that is not its own",
    "lie: mourned what had not failed",
    "lie: gave back what it had started",
    "lie: ready again",
    "lie: unready after all",
    "lie: an end before it is ready",
    "worker asks before it is ready",
    "worker cannot open its application",
    "worker leaves",
)
STORE_FAULTS = (
    "store slow",
    "store very slow",
    "store error before",
    "store answer lost",
    "notification lost",
)
NEMESIS = (
    "store outage",
    "store outage for one",
    "supervisor killed",
    "supervisor stopped",
    "supervisor and workers stopped",
    "supervisor drained",
    "supervisor drained at once",
    "pool resized",
    "pool reloaded",
    "job cancelled",
    "job redriven",
)
EVENTS = ("limits of its own",)
FAULTS = (*WORKER_FAULTS, *STORE_FAULTS, *NEMESIS, *EVENTS)

_LONGEST_TAIL = 400.0
"""Seconds after the last fault in which everything must come to rest."""


@dataclass
class Report:
    """What one seed came to."""

    seed: int
    wrong: list[str]
    fired: Counter[str]
    history: list[str]
    jobs: int
    seconds: float


class _Clock:
    """The product's clocks, seen from the module's names for them."""

    world: World

    def __call__(self) -> float:
        return self.world.now


_clock = _Clock()


class _Log:
    """The product's log lines become part of the history."""

    def is_enabled_for(self, level: int) -> bool:
        return False

    def debug(self, event: str, **facts: Any) -> None:
        world = _clock.world
        if world.history is not None:
            world.say(f"log: {event} {_brief(facts)}")

    info = warning = error = exception = debug


def _brief(facts: dict[str, Any]) -> str:
    return " ".join(
        f"{name}={value.int if isinstance(value, UUID) else value}" for name, value in facts.items()
    )


_TALKATIVE = (crew, deaths, generations, pool, pipeline, journal, lease_keeper, outage)


class _Tokens:
    """Random bytes that are the same in every replay."""

    def token_bytes(self, size: int) -> bytes:
        return next(_clock.world.numbers).to_bytes(size, "big")


def _process(number: int, slots: int, listener: Any) -> FakeProcess:
    return FakeProcess(listener.simulated, number, slots, listener)


@contextmanager
def stage() -> Iterator[None]:
    """Put the simulation in the place of clocks, processes, log and randomness."""
    log = _Log()
    replaced = [
        (deaths, "monotonic", _clock),
        (deaths.oom, "counter_file", lambda: None),
        (pool, "monotonic", _clock),
        (offspring, "strays", lambda worker, instant: []),
        (crew, "WorkerProcess", _process),
        (memory_queue, "secrets", _Tokens()),
        *((module, "logger", log) for module in _TALKATIVE),
    ]
    before = [(module, name, getattr(module, name)) for module, name, _ in replaced]
    for module, name, stand_in in replaced:
        setattr(module, name, stand_in)
    state = random.getstate()
    try:
        yield
    finally:
        random.setstate(state)
        for module, name, value in before:
            setattr(module, name, value)


def simulate(seed: int, *, verbose: bool = False) -> Report:
    """Play one seed; only inside of `stage`."""
    return _Scenario(seed, verbose).play()


class _Scenario:
    def __init__(self, seed: int, verbose: bool) -> None:
        self.world = world = World(seed, verbose=verbose)
        self.rng = rng = world.rng
        _clock.world = world
        random.seed(seed)
        self.calm = rng.random() < 0.08
        self.lease = rng.choice((2.0, 4.0, 8.0))
        store = MemoryJobQueueAdapter(
            self.lease, clock=lambda: world.now, monotonic=lambda: world.now
        )
        self.ledger = Ledger(world, store)
        self.store = store
        self.quiet_after = rng.uniform(0.5, 4.0)
        self.config = SupervisorConfig(
            workers=rng.choice((1, 1, 2, 2, 3)),
            concurrency=rng.choice((1, 1, 1, 2, 3)),
            queues=("high", "low") if rng.random() < 0.3 else ("low",),
            job_timeout=rng.choice((0.4, 0.4, 1.0, 1.0, 5.0)) if not self.calm else 60.0,
            lease=self.lease,
            max_jobs_per_worker=rng.choice((None, None, 1, 2, 5)),
            shutdown_grace=rng.choice((0.0, 0.3, 3.0)),
        )
        self.limits = Limits(
            usual=TimeLimits(self.config.job_timeout, 0.2),
            on_failure_timeout=0.5,
            unresponsive=1.0,
            patience=rng.choice((0.3, 2.0, 10.0)),
        )
        self.supervisors: list[Supervisor] = []
        self.wanted = rng.choice((1, 1, 1, 2, 2, 3))
        self.names = iter(f"S{n}" for n in range(1, 1000))
        self.over = False
        self._draw_faults()
        self._draw_jobs()

    def _draw_faults(self) -> None:
        world, rng = self.world, self.rng
        if self.calm:
            return
        share = rng.choice((0.06, 0.2, 0.45))
        for kind in (*WORKER_FAULTS, *STORE_FAULTS):
            if rng.random() < share:
                world.rates[kind] = rng.choice((0.02, 0.1, 0.3))
        world.quiet_at = world.now + self.quiet_after
        favourite = rng.choice(NEMESIS)
        for kind in NEMESIS:
            if rng.random() < share or kind == favourite:
                for _ in range(rng.choice((1, 1, 2, 8 if kind == favourite else 3))):
                    delay = rng.uniform(0.0, self.quiet_after)
                    world.after(delay, lambda kind=kind: self._strike(kind))

    def _draw_jobs(self) -> None:
        rng = self.rng
        kinds = list(HARMLESS) if self.calm else list(KINDS)
        kinds = rng.sample(kinds, rng.randint(1, min(6, len(kinds))))
        self.count = rng.randint(4, 20)
        self.limited = rng.choice((0.0, 0.2, 0.7))
        """The share of jobs with time limits of their own."""
        spread = rng.choice((0.0, 0.0, 0.5, 2.0))
        for number in range(1, self.count + 1):
            draft = self._draft(number, rng.choice(kinds), rng)
            at = rng.uniform(0.0, spread)
            self.world.after(at, lambda draft=draft: value_of(self.store.insert([draft])))

    def _draft(self, number: int, kind: str, rng: Random) -> Draft:
        later = self.world.now + rng.uniform(0.5, 3.0) if rng.random() < 0.1 else None
        return Draft(
            UUID(int=number),
            rng.choice(self.config.queues),
            kind,
            b"{}",
            rng.choice((0, 0, 0, 5)),
            rng.choice((0, 1, 2, 3)),
            None if later is None else datetime.fromtimestamp(later, UTC),
            None,
            self._limits_of_its_own(KINDS[kind]),
        )

    def _limits_of_its_own(self, kind: Kind) -> bytes:
        """Metadata: some jobs may take less time than others, or more, or any."""
        rng = self.rng
        said: dict[str, float | None] = {}
        if not self.calm and rng.random() < self.limited:
            longer = 2.0 if kind.endless else 8.0
            timeouts = (0.1, 0.2, 0.7, longer) if kind.endless else (0.1, 0.2, 0.7, longer, None)
            said["job_timeout"] = rng.choice(timeouts)
            if rng.random() < 0.5:
                said["kill_grace"] = rng.choice((0.0, 0.05, 1.0))
        return json.dumps(said).encode()

    # People, machines, fate

    def _start(self) -> None:
        if not self.over:
            self.supervisors.append(
                Supervisor(
                    self.world, self.ledger, next(self.names), self.config, self.limits, self._ended
                )
            )

    def _ended(self, supervisor: Supervisor) -> None:
        self.supervisors.remove(supervisor)
        self.world.after(self.rng.uniform(0.1, 2.0), self._start)

    def _strike(self, kind: str) -> None:
        world, rng = self.world, self.rng
        if not self.supervisors or world.now >= world.quiet_at:
            return
        if self._struck(kind, rng.choice(self.supervisors)):
            world.hit(kind)

    def _struck(self, kind: str, victim: Supervisor) -> bool:
        """Whether that made any difference."""
        rng = self.rng
        match kind:
            case "store outage" | "store outage for one":
                until = self.world.now + rng.uniform(0.1, 2.0 * self.lease)
                for supervisor in [victim] if kind.endswith("one") else self.supervisors:
                    supervisor.line.down_until = max(supervisor.line.down_until, until)
                    supervisor.line.ring()
                return True
            case "supervisor killed":
                return victim.kill()
            case "supervisor stopped" | "supervisor and workers stopped":
                seconds = rng.uniform(0.2, 2.5 * self.lease)
                return victim.freeze(seconds, workers_too="and" in kind)
            case "supervisor drained" | "supervisor drained at once":
                if kind.endswith("once"):
                    self.world.after(rng.uniform(0.0, 0.5), lambda: victim.stop(0.0))
                return victim.stop(self.config.shutdown_grace)
            case "pool resized":
                return victim.resize(rng.choice((-1, 1)))
            case "pool reloaded":
                return victim.reload()
            case "job cancelled":
                return self._cancel()
        return self._redrive()

    def _cancel(self) -> bool:
        running = [key for key in self.ledger.current if self.rng.random() < 0.5]
        job_id = UUID(bytes=running[0]) if running else self._any_job()
        self.world.say(f"someone cancels job {job_id.int}")
        store = self.store
        asked = value_of(store.request_cancel(job_id))
        for supervisor in self.supervisors if asked else ():
            supervisor.line.ring()
        return asked or value_of(store.cancel_job(job_id))

    def _redrive(self) -> bool:
        job_id = self._any_job()
        if not value_of(self.store.redrive([job_id])):
            return False
        self.world.say(f"someone redrives job {job_id.int}")
        self.ledger.jobs[job_id.bytes].redriven = True
        return True

    def _any_job(self) -> UUID:
        return UUID(int=self.rng.randint(1, self.count))

    # From beginning to end

    def play(self) -> Report:
        world = self.world
        for _ in range(self.wanted):
            world.after(self.rng.choice((0.0, 0.0, 0.3)), self._start)
        begin = world.now
        settled_by = begin + self.quiet_after + _LONGEST_TAIL
        if world.run(self._at_rest, settled_by):
            self._check_end()
            self._drain()
        elif not world.wrong:
            world.violated(f"no rest within {_LONGEST_TAIL} s of the last fault: {self._unrest()}")
        for supervisor in list(self.supervisors):
            self.over = True
            supervisor.kill()
        return Report(
            world.seed, world.wrong, world.fired, world.history or [], self.count, world.now - begin
        )

    def _rows_open(self) -> list[int]:
        return [r.seq for r in self.store._rows.values() if r.status not in _ENDED]

    def _at_rest(self) -> bool:
        world = self.world
        if not self.calm and world.now < world.quiet_at:
            return False
        if len(self.store._rows) < self.count or len(self.supervisors) < self.wanted:
            return False
        if self.ledger.current:  # as most of the time; the rest need not be looked at
            return False
        return not self._rows_open() and not any(s.unrest() for s in self.supervisors)

    def _unrest(self) -> str:
        return f"jobs {self._rows_open()}, " + ", ".join(
            f"{s}: {s.unrest()}" for s in self.supervisors
        )

    def _check_end(self) -> None:
        world = self.world
        if self.ledger.current:
            world.violated("a lease holds at rest")
        if self.calm:
            for key, story in self.ledger.jobs.items():
                if story.starts != 1 or self.store._rows[key].status != "completed":
                    world.violated(f"job {int.from_bytes(key, 'big')}: {story.starts} starts")

    def _drain(self) -> None:
        """The end of the day: everybody is told to stop, and does."""
        world, self.over = self.world, True
        world.rates = {}
        for supervisor in self.supervisors:
            supervisor.stop(self.config.shutdown_grace)
        if not world.run(lambda: not self.supervisors, world.now + 100) and not world.wrong:
            world.violated(f"{self.supervisors} did not drain")


_ENDED = frozenset(status.value for status in TERMINAL)
