"""Carrying out what the nemesis has planned."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import psutil

from benchmarks.soak import ledger
from benchmarks.soak.fleet import Fleet
from benchmarks.soak.nemesis import Action, Fault, Planned
from benchmarks.soak.witness import Witness

T = TypeVar("T")

_TRIES, _AGAIN = 20, 0.1
"""A victim is looked for so often, so many seconds apart: right now all may be dead."""


class Nemesis:
    """Does harm by a plan, and writes down what it did."""

    def __init__(self, fleet: Fleet, witness: Witness, folder: Path) -> None:
        self._fleet = fleet
        self._witness = witness
        self._log = folder / "nemesis.log"
        self._calm = threading.Event()
        self.actions: list[Action] = []
        self.skipped: list[Planned] = []

    async def run(self, plan: Sequence[Planned]) -> None:
        """Carry out the plan; returns when the last fault is over."""
        start = ledger.now()
        try:
            async with asyncio.TaskGroup() as group:
                for planned in plan:
                    await asyncio.sleep(start + planned.at - ledger.now())
                    group.create_task(self._carry_out(planned))
        finally:
            self._calm.set()

    async def _carry_out(self, planned: Planned) -> None:
        deeds: dict[Fault, Callable[[Planned], Awaitable[bool]]] = {
            Fault.KILL_WORKER: self._harm_worker,
            Fault.PAUSE_WORKER: self._harm_worker,
            Fault.KILL_SUPERVISOR: self._harm_supervisor,
            Fault.PAUSE_SUPERVISOR: self._harm_supervisor,
            Fault.LOCK: self._lock,
        }
        for _ in range(_TRIES):
            if await deeds[planned.fault](planned):
                return
            await asyncio.sleep(_AGAIN)
        self.skipped.append(planned)

    async def _harm_worker(self, planned: Planned) -> bool:
        victim = _pick(self._fleet.workers(), planned.pick)
        if victim is None:
            return False
        worker, supervisor = victim
        return await self._harm(planned, worker, supervisor)

    async def _harm_supervisor(self, planned: Planned) -> bool:
        victim = _pick(self._fleet.supervisors, planned.pick)
        if victim is None:
            return False
        with suppress(psutil.Error):
            return await self._harm(planned, psutil.Process(victim.pid), victim.pid)
        return False

    async def _harm(self, planned: Planned, victim: psutil.Process, supervisor: int) -> bool:
        """Kill it, or stop it for a while; psutil sees to it that it is still the same process."""
        start = ledger.now()
        try:
            if planned.fault in (Fault.KILL_WORKER, Fault.KILL_SUPERVISOR):
                victim.kill()
            else:
                victim.suspend()
                await asyncio.sleep(planned.seconds)
                with suppress(psutil.Error):  # killed meanwhile
                    victim.resume()
        except psutil.Error:
            return False
        self._note(planned.fault, start, victim.pid, supervisor)
        return True

    async def _lock(self, planned: Planned) -> bool:
        start = await asyncio.to_thread(self._witness.hold, planned.seconds, self._calm)
        if start is None:
            return False
        self._note(Fault.LOCK, start, 0, 0)
        return True

    def _note(self, fault: Fault, start: float, pid: int, supervisor: int) -> None:
        action = Action(fault, start, ledger.now(), pid, supervisor)
        self.actions.append(action)
        with self._log.open("a", encoding="utf-8") as log:
            log.write(f"{start:.6f} {action}\n")


def _pick(found: Sequence[T], pick: float) -> T | None:
    return found[int(pick * len(found))] if found else None
