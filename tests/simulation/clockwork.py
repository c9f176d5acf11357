"""Virtual time: a world of event loops in which nothing ever waits.

Each supervisor has an event loop of its own, so that one can stand still (SIGSTOP) or vanish
(SIGKILL) while others go on. Between them is the kernel: pipes, processes, the store's network.
Who goes first among what could happen now is drawn from the seed.
"""

from __future__ import annotations

import asyncio
import random
from asyncio import events
from collections import Counter, deque
from collections.abc import Callable
from contextvars import Context, copy_context
from heapq import heappop, heappush
from itertools import count
from math import inf
from random import Random
from typing import Any

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

    def say(self, text: str, *things: object) -> None:
        """Add a line, with the things in its braces; they are put there only if somebody reads."""
        if self.history is not None:
            said = text.format(*things) if things else text
            self.history.append(f"{self.now - 1000.0:10.4f}  {said}")

    def violated(self, text: str) -> None:
        self.say(f"VIOLATION: {text}")
        self.wrong.append(text)

    def after(self, delay: float, action: Callable[[], None]) -> None:
        """Do something outside of all supervisors, that much later."""
        heappush(self._kernel, (self.now + delay, next(self.numbers), action))

    def run(self, done: Callable[[], bool], until: float) -> bool:
        """Let things happen until `done`; `False` when it never came to be."""
        kernel, rng, loops = self._kernel, self.rng, self.loops
        checks = 0
        while not self.wrong:
            now = self.now
            able = [x for x in loops if (x.ready or x.due < now) and not x.frozen]
            if kernel and kernel[0][0] <= now and (not able or rng.random() < 0.5):
                heappop(kernel)[2]()
            elif able:
                (able[0] if len(able) == 1 else rng.choice(able)).step()
            else:
                if done():
                    return True
                soonest = kernel[0][0] if kernel else inf
                for loop in loops:
                    if loop.due < soonest and not loop.frozen:
                        soonest = loop.due
                if soonest > until:
                    return False
                self.now = max(now, soonest) + _LATE  # no timer is ever early
                checks = 0
            checks += 1
            if checks > 20_000:
                self.violated("it runs in circles: no time passes")
        return False


class _Call:
    """A handle as asyncio's, without what serves its debugging."""

    __slots__ = ("_when", "args", "callback", "context", "loop")

    def __init__(
        self,
        loop: VirtualLoop,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        context: Context | None,
        when: float = -inf,
    ) -> None:
        self.loop, self.callback, self.args = loop, callback, args
        self.context = copy_context() if context is None else context
        self._when = when

    def when(self) -> float:
        return self._when

    def cancelled(self) -> bool:
        return self.callback is None

    def cancel(self) -> None:
        self.callback, self.args = None, ()
        if self._when == self.loop.due:
            self.loop.look_ahead()


class VirtualLoop(asyncio.BaseEventLoop):
    """An asyncio loop, one turn at a time, on the world's clock and without descriptors.

    Most of what a history costs is spent in here: turns and handles are written anew, to do what
    asyncio's own do and nothing else.
    """

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world
        self.ready: deque[_Call] = deque()
        self._timers: list[tuple[float, int, _Call]] = []
        self._numbers = count()
        self.due = inf
        """The instant of its next timer."""
        self.frozen = False
        self._stash: list[Callable[[], None]] = []

    def time(self) -> float:
        return self._world.now

    def call_soon(
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> _Call:
        call = _Call(self, callback, args, context)
        self.ready.append(call)
        return call

    def call_later(
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> _Call:
        return self.call_at(self._world.now + delay, callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> _Call:
        call = _Call(self, callback, args, context, when)
        heappush(self._timers, (when, next(self._numbers), call))
        self.due = min(self.due, when)
        return call

    def look_ahead(self) -> None:
        """Find its next timer."""
        timers = self._timers
        while timers and timers[0][2].callback is None:
            heappop(timers)
        self.due = timers[0][0] if timers else inf

    def step(self) -> None:
        """One turn: timers that are due become ready, and what is ready now is called."""
        ready = self.ready
        if self.due < self._world.now:
            self._ring()
        events._set_running_loop(self)
        try:
            for _ in range(len(ready)):
                call = ready.popleft()
                try:
                    if call.callback is not None:
                        call.context.run(call.callback, *call.args)
                except (SystemExit, KeyboardInterrupt):
                    raise
                except BaseException as error:
                    said = f"Exception in callback {call.callback}"
                    self.call_exception_handler({"message": said, "exception": error})
        finally:
            events._set_running_loop(None)

    def _ring(self) -> None:
        now, timers = self._world.now, self._timers
        while timers and timers[0][0] < now:
            call = heappop(timers)[2]
            if call.callback is not None:
                self.ready.append(call)
        self.look_ahead()

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
        if self.ready or self.due < self._world.now:
            self.step()

    def abandon(self) -> None:
        """SIGKILL. Its coroutines are unwound, unheard: who owns this loop sees to that."""
        history, self._world.history = self._world.history, None
        state = random.getstate()
        for _ in range(20):
            self._forget_timers()
            tasks = [task for task in asyncio.all_tasks(self) if not task.done()]
            if not tasks:
                break
            for task in tasks:
                task.cancel()
            while self.ready:
                self.step()
        else:
            raise AssertionError(f"these do not end: {tasks}")
        self._forget_timers()
        self.frozen = True
        self.close()
        random.setstate(state)
        self._world.history = history

    def _forget_timers(self) -> None:
        self._timers.clear()
        self.due = inf

    def _write_to_self(self) -> None:
        pass
