"""One soak, from an empty folder to what was observed."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from benchmarks.soak import archive, fleet, ledger, nemesis
from benchmarks.soak.causes import Limits
from benchmarks.soak.faults import Nemesis
from benchmarks.soak.fleet import Fleet, Setup
from benchmarks.soak.verdict import Observed
from benchmarks.soak.witness import witness_of
from portico import compose
from portico.ports.job_queue import JobQueueAdapter
from portico.supervisor import birth
from portico.supervisor.supervisor import EXIT_STORE

_STALLED = 90.0
"""Seconds without any job ending after which the drain is given up: longer than any back-off."""
_LONGEST = 180.0
"""Seconds after which it is given up in any case."""
_LOOK = 0.5
_TELL_EVERY = 10
_ZOMBIE = 3.0
"""Seconds in which a supervisor must collect its children."""

Tell = Callable[[str], None]


class Plan(NamedTuple):
    """What to do. Times in seconds; `rate` in jobs per second."""

    seconds: float
    seed: int
    rate: float
    setup: Setup

    def at(self, url: str) -> Plan:
        """The same with this queue."""
        return self._replace(setup=self.setup._replace(url=url))


async def run(plan: Plan, tell: Tell) -> Observed:
    """Run a soak in an empty folder."""
    witness = witness_of(plan.setup.url)
    birth.adopt_orphans()  # what a killed supervisor leaves is ours to see, and to collect
    queue = compose.job_queue(plan.setup.url, lease=plan.setup.lease)
    await queue.initialize()
    await asyncio.to_thread(witness.watch)
    found = Fleet(plan.setup)
    tending = asyncio.create_task(found.tend())
    try:
        harm, residue = Nemesis(found, witness, plan.setup.folder), list[str]()
        residue += await _work(plan, found, harm, queue, tell)
        residue += await _rest(found, tending, plan.setup)
        residue += witness.flaws()
        return Observed(
            marks=ledger.read(plan.setup.folder / "ledger"),
            records=await archive.records(queue),
            changes=await asyncio.to_thread(witness.changes),
            actions=sorted(harm.actions, key=lambda action: action.start),
            limits=Limits(
                plan.setup.lease, plan.setup.job_timeout, expires_alone=witness.expires_alone
            ),
            seconds=plan.seconds,
            events=fleet.log_events(plan.setup.folder),
            residue=residue,
        )
    finally:
        tending.cancel()
        found.destroy()
        await queue.close()


async def _work(
    plan: Plan, found: Fleet, harm: Nemesis, queue: JobQueueAdapter, tell: Tell
) -> list[str]:
    """Produce under faults, then drain without; returns what went wrong with that."""
    ledger.Pen(plan.setup.folder / "ledger")
    for slot in range(plan.setup.supervisors):
        found.start(slot)
    telling = asyncio.create_task(_tell(queue, harm, tell))
    producer = await asyncio.to_thread(_producer, plan)
    try:
        await harm.run(nemesis.schedule(plan.seed, plan.seconds, plan.setup.lease))
        code = await asyncio.to_thread(producer.wait)
        tell("faults are over, draining")
        left = await _drained(queue)
    finally:
        telling.cancel()
        producer.kill()
        producer.wait()
    flaws = [f"the producer exited with {code}"] if code else []
    return flaws + ([f"the drain stopped with {left} jobs left"] if left else [])


async def _drained(queue: JobQueueAdapter) -> int:
    """Wait until every job has ended, or none does any more; returns how many are left."""
    start = since = ledger.now()
    before = -1
    while True:
        ended, left = await archive.standing(queue)
        if ended != before:
            before, since = ended, ledger.now()
        if not left or ledger.now() > min(since + _STALLED, start + _LONGEST):
            return left
        await asyncio.sleep(_LOOK)


async def _rest(found: Fleet, tending: asyncio.Task[None], setup: Setup) -> list[str]:
    """Stop the supervisors; returns what they left, or did wrong."""
    await asyncio.sleep(fleet.RESTART + _ZOMBIE)
    uncollected = fleet.zombies(found.supervisors)
    await asyncio.sleep(_ZOMBIE)
    uncollected &= fleet.zombies(found.supervisors)
    residue = [f"zombie {pid}" for pid in sorted(uncollected)]
    tending.cancel()
    with suppress(asyncio.CancelledError):
        await tending
    codes = await found.stop()
    if codes != [0] * setup.supervisors:
        residue.append(f"the supervisors exited with {codes} after SIGTERM")
    residue += [
        f"supervisor {exit_.supervisor} exited with {exit_.code} at {exit_.at:.3f}"
        for exit_ in found.exits
        if exit_.code != EXIT_STORE  # it was started while the database was locked
    ]
    fleet.reap()
    residue += [f"process {process.pid} lives" for process in fleet.survivors(setup.folder)]
    return residue


def _producer(plan: Plan) -> subprocess.Popen[bytes]:
    options = {
        "--queue-url": plan.setup.url,
        "--rate": plan.rate,
        "--seconds": plan.seconds,
        "--seed": plan.seed,
    }
    words = [str(word) for option in options.items() for word in option]
    with (plan.setup.folder / "producer.log").open("wb") as log:
        return subprocess.Popen(  # noqa: S603 - ourselves
            [sys.executable, "-m", "benchmarks.soak.producer", *words],
            env=fleet.environment(plan.setup.folder),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )


async def _tell(queue: JobQueueAdapter, harm: Nemesis, tell: Tell) -> None:
    start = ledger.now()
    while True:
        await asyncio.sleep(_TELL_EVERY)
        ended, left = await archive.standing(queue)
        tell(
            f"{ledger.now() - start:4.0f} s: {ended} jobs have ended, {left} have not, "
            f"{len(harm.actions)} faults"
        )
