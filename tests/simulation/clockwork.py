"""Virtual time: a world of event loops in which nothing ever waits.

Each supervisor has an event loop of its own, so that one can stand still (SIGSTOP) or vanish
(SIGKILL) while others go on. Between them is the kernel: pipes, processes, the store's network.
Who goes first among what could happen now is drawn from the seed.
"""

from __future__ import annotations

import asyncio
import random
from asyncio import events
from collections import Counter
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from math import inf
from random import Random

_LATE = 1e-9


class World:
    """Time, chance, and what happened."""

    def __init__(self, seed: int, *, verbose: bool = False) -> None:
        self.seed = seed
        self.rng = Random(seed)
        self.now = 1000.0
        self.rates: dict[str, float] = {}
        self.quiet_at = inf
        """From when on no more faults are drawn."""
        self.fired: Counter[str] = Counter()
        self.history: list[str] | None = [] if verbose else None
        self.loops: list[VirtualLoop] = []
        self.numbers = count(1)
        self._kernel: list[tuple[float, int, Callable[[], None]]] = []
        self.wrong: list[str] = []

    def chance(self, kind: str) -> bool:
        """Whether this fault happens now."""
        rate = self.rates.get(kind)
        if rate is None or self.rng.random() >= rate or self.now >= self.quiet_at:
            return False
        self.hit(kind)
        return True

    def hit(self, kind: str) -> None:
        self.fired[kind] += 1
        if self.history is not None:
            self.say(f"FAULT {kind}")

    def say(self, text: str) -> None:
        if self.history is not None:
            self.history.append(f"{self.now - 1000.0:10.4f}  {text}")

    def violated(self, text: str) -> None:
        self.say(f"VIOLATION: {text}")
        self.wrong.append(text)

    def after(self, delay: float, action: Callable[[], None]) -> None:
        """Do something outside of all supervisors, that much later."""
        heappush(self._kernel, (self.now + delay, next(self.numbers), action))

    def run(self, done: Callable[[], bool], until: float) -> bool:
        """Let things happen until `done`; `False` when it never came to be."""
        kernel, rng = self._kernel, self.rng
        checks = 0
        while not self.wrong:
            able = [loop for loop in self.loops if loop.next < self.now]
            if kernel and kernel[0][0] <= self.now and (not able or rng.random() < 0.5):
                heappop(kernel)[2]()
            elif able:
                (able[0] if len(able) == 1 else rng.choice(able)).step()
            else:
                if done():
                    return True
                soonest = min((loop.next for loop in self.loops), default=inf)
                if kernel:
                    soonest = min(soonest, kernel[0][0])
                if soonest > until:
                    return False
                self.now = max(self.now, soonest) + _LATE  # no timer is ever early
                checks = 0
            checks += 1
            if checks > 20_000:
                self.violated("it runs in circles: no time passes")
        return False


class _NoSelector:
    def select(self, timeout: float | None) -> list[object]:
        return []


class VirtualLoop(asyncio.BaseEventLoop):
    """A real asyncio loop, one turn at a time, on the world's clock and without descriptors."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world
        self._selector = _NoSelector()
        self._clock_resolution = 0.0
        self.frozen = False
        self._stash: list[Callable[[], None]] = []

    def time(self) -> float:
        return self._world.now

    @property
    def next(self) -> float:
        """When it has something to do."""
        if self.frozen:
            return inf
        if self._ready:
            return -inf
        timers = self._scheduled
        while timers and timers[0]._cancelled:
            self._timer_cancelled_count -= 1
            heappop(timers)._scheduled = False
        return timers[0]._when if timers else inf

    def step(self) -> None:
        events._set_running_loop(self)
        try:
            self._run_once()
        finally:
            events._set_running_loop(None)

    def tell(self, callback: Callable[[], None]) -> None:
        """Something arrived from outside: a pipe is readable, a process has ended."""
        if self.frozen:
            self._stash.append(callback)
        else:
            self.call_soon(callback)

    def freeze(self) -> None:
        self.frozen = True

    def thaw(self) -> None:
        """Go on; whether timers or descriptors come first depends on the loop's implementation."""
        self.frozen = False
        stash, self._stash = self._stash, []
        if self._world.rng.random() < 0.5:
            for callback in stash:
                self.call_soon(callback)
        else:
            self.step_timers()
            for callback in stash:
                self.call_soon(callback)

    def step_timers(self) -> None:
        if self.next < self._world.now:
            self.step()

    def abandon(self) -> None:
        """SIGKILL. Its coroutines are unwound, unheard: who owns this loop sees to that."""
        history, self._world.history = self._world.history, None
        state = random.getstate()
        for _ in range(20):
            self._scheduled.clear()
            tasks = [task for task in asyncio.all_tasks(self) if not task.done()]
            if not tasks:
                break
            for task in tasks:
                task.cancel()
            while self._ready:
                self.step()
        else:
            raise AssertionError(f"these do not end: {tasks}")
        self._scheduled.clear()
        self.frozen = True
        self.close()
        random.setstate(state)
        self._world.history = history

    def _process_events(self, event_list: list[object]) -> None:
        pass

    def _write_to_self(self) -> None:
        pass
