"""Worker processes that are none: they read, run, report, hang, lie and die as drawn.

What `supervisor/worker.py`, `inbox.py` and `process.py` do, without a loop, a thread or a pipe.
"""

from __future__ import annotations

import asyncio
import json
import signal
from collections import deque
from dataclasses import dataclass, field
from math import inf
from typing import Any

from portico.ports.job_executor import Completed, Failed, Interrupted, Quarantined, Verdict
from portico.ports.leasing import CANCELLED, Failure, Lease
from portico.ports.time_limits import TimeLimits
from portico.supervisor import wire
from portico.supervisor.exit import Exit
from portico.supervisor.running_page import SETTLED, Reached
from portico.supervisor.scheduling.assignment import Fate
from portico.supervisor.spawning import SpawnError
from tests.simulation.clockwork import World
from tests.simulation.jobs import KINDS, LONE, MOST_RUNNING, Kind
from tests.simulation.ledger import Attempt

BROKEN = object()
"""Bytes that are no frame."""
_JUST_NOW = 0.3
_NOBODYS = 2**22
"""From here on numbers are no process': the kernel gives none so large. What the product does to a
process by its number it must not do to one of this machine."""


@dataclass(eq=False)
class Running:
    """What a slot is at."""

    serial: int
    lease: Lease
    attempt: Attempt
    slot: int
    kind: Kind
    since: float
    limits: TimeLimits
    """Its own, or those of all."""
    verdict: Verdict | None = None
    over: bool = False
    mourns: bool = False
    """It is an `on_failure` alone."""
    in_hook: bool = False
    reported: bool = False
    stop: Verdict | None = None


class Page:
    def __init__(self, world: World) -> None:
        self.slots: dict[int, tuple[int, float]] = {}
        self.withdrawn = self._job = self._hook = 0
        self._world = world
        self._settled_at = world.now

    def begin(self, slot: int, serial: int, *, hook: bool) -> bool:
        self._job, self._hook = (self._job, serial) if hook else (serial, self._hook)
        if serial <= self.withdrawn:
            return False
        self.slots[slot] = (serial, self._world.now)
        return True

    @property
    def came_to(self) -> Reached:
        return Reached(self._job, self._hook)

    def withdraw(self, serial: int) -> None:
        self.withdrawn, self._settled_at = serial, self._world.now + SETTLED

    def reached(self) -> Reached | None:
        return self.came_to if self._world.now >= self._settled_at else None

    def started(self) -> dict[int, float]:
        return dict(self.slots.values())

    def latest(self) -> int:
        return max((serial for serial, _ in self.slots.values()), default=0)


@dataclass(eq=False)
class Tray:
    """Results that have not been written to the pipe, as far as the worker knows."""

    held: list[tuple[wire.End, Running]] = field(default_factory=list)
    written: int = 0
    """How many batches the worker knows to be in the pipe."""
    read: int = 0
    """How many the supervisor has read."""

    def batch(self) -> wire.Batch:
        return wire.Batch(self.written + 1, [end for end, _ in self.held])

    def runs(self) -> list[Running]:
        return [run for _, run in self.held]

    def clear(self) -> None:
        self.held = []
        self.written += 1


class Output:
    def __init__(self, world: World) -> None:
        self._world = world

    def since(self, instant: float) -> str:
        return ""

    def note(self, event: str, **facts: Any) -> None:
        if self._world.history is not None:
            self._world.say(f"log: {event} {facts}")


class FakeProcess:
    """Both ends at once: what the supervisor has of a worker, and the worker."""

    def __init__(self, supervisor: Any, number: int, slots: int, listener: Any) -> None:
        self.number = number
        self.pid = 0
        self.alive = False
        self.page = Page(supervisor.world)
        self._supervisor = supervisor
        self._world: World = supervisor.world
        self.born = self._world.now
        self._ledger = supervisor.ledger
        self.output = Output(self._world)
        self._listener = listener
        self._slots: list[Running | None] = [None] * slots
        self._hello: wire.Hello
        self.dead = False
        self._killed = False
        self._deaf = False
        self._liar = False
        self._closing = False
        self._closed = False
        self._busy_until = 0.0
        self._frozen_until = 0.0
        self._inbox: deque[tuple[float, wire.ToWorker]] = deque()
        self._waiting: deque[tuple[int, Lease, Failure | None]] = deque()
        self._out: deque[tuple[Any, list[Running]]] = deque()
        """What is in the pipe, and which ends it tells."""
        self._tray = Tray()
        self._heard = False
        self._readable = True
        self._loop_due = False
        self._ended_at = 0.0
        self._begun = self._given = self._served = self._lone = 0

    def __repr__(self) -> str:
        return f"{self._supervisor} worker {self.number} (pid {self.pid})"

    # The supervisor's end

    async def start(self, launcher: Any, hello: wire.Hello) -> None:
        world = self._world
        if not self._supervisor.up:
            raise asyncio.CancelledError
        if world.chance("spawn fails"):
            raise SpawnError("no more processes")
        if world.rng.random() < 0.3:
            await asyncio.sleep(world.rng.uniform(0.001, 0.05))
        self.pid, self.alive, self._hello = _NOBODYS + next(world.numbers), True, hello
        self._supervisor.processes.append(self)
        world.say("{}: started", self)
        self._later(world.rng.uniform(0.001, 0.03), self._boot)

    def send(self, message: wire.ToWorker) -> None:
        if not self.alive or self.dead or not self._supervisor.up:
            return
        world = self._world
        if world.history is not None:
            world.say(f"{self} <- {_brief(message)}")
        delay = 0.00005 if world.rng.random() < 0.8 else world.rng.uniform(0.0, 0.01)
        at = world.now + delay
        if self._inbox and self._inbox[-1][0] > at:
            at = self._inbox[-1][0]
        self._inbox.append((at, message))
        world.after(at - world.now, self._control)

    def collected(self) -> None:
        """It has room for any number of results."""

    def kill(self, number: int = signal.SIGKILL) -> None:
        if not self.alive or number != signal.SIGKILL or not self._supervisor.up:
            return
        self._killed = True
        self._world.after(
            0.0001 if self._world.rng.random() < 0.8 else self._world.rng.uniform(0, 0.005),
            lambda: self.die("SIGKILL", code=None),
        )

    def _notice(self) -> None:
        if not self._heard:
            self._heard = True
            self._world.after(
                self._world.rng.choice((0.0, 0.00002, 0.002)),
                lambda: self._supervisor.tell(self._read),
            )

    def _read(self) -> None:
        if self.alive:
            self._heard = False
            self._take()

    def _take(self) -> None:
        if not self._readable or not self._out:
            return
        taken = list(self._out)
        self._out.clear()
        messages = []
        for message, ended in taken:
            if message is BROKEN:
                self._readable = False
                self.kill()
                break
            messages.append(message)
            self._tray.read += type(message) is wire.Batch
            self._end_read(ended)
        self._hand_on(messages)

    def _end_read(self, ended: list[Running]) -> None:
        if not self._liar:
            for run in ended:
                self._ledger.end_read(run.attempt, self._supervisor)

    def _hand_on(self, messages: list[Any]) -> None:
        if messages:
            if self._world.history is not None:
                self._world.say(f"{self} -> {', '.join(map(_brief, messages))}")
            self._listener.received(self, messages)

    def _reaped(self, code: int | None) -> None:
        if not self.alive:
            return
        self.alive = False
        self._take()
        if left := self._left():
            self._hand_on([left])
        self._supervisor.processes.remove(self)
        self._bury()
        self._listener.exited(self, Exit(code, None if code is not None else 9))

    def _bury(self) -> None:
        """Note who was there when it died without having started anything."""
        member = self._listener._by_process.get(self)
        held = {} if member is None else member.seat.inflight
        if not self.page.started().keys() & held.keys():
            for one in held.values():
                self._ledger.attempts[one.lease.key].unstarted += one.failure is None

    def _left(self) -> wire.Batch | None:
        """What the worker had gathered, and what has not come through the pipe."""
        tray = self._tray
        if not tray.held or tray.written != tray.read:
            return None
        self._end_read(tray.runs())
        return tray.batch()

    # The worker: beginning and end

    def _later(self, delay: float, action: Any) -> None:
        """Do it then, unless it stands still: once it goes on; and never when it is dead."""

        def act() -> None:
            if self.dead:
                return
            if self._frozen_until > self._world.now:
                self._world.after(self._frozen_until - self._world.now, act)
            else:
                action()

        self._world.after(delay, act)

    def freeze(self, until: float) -> None:
        self._frozen_until = max(self._frozen_until, until)

    @property
    def _would_be_missed(self) -> bool:
        """Whether something ends a hang: seen from outside it is a handler without a deadline."""
        return all(run is None or run.limits.hard is not None for run in self._slots)

    def _hang(self) -> None:
        """Hold the GIL for ever: neither the loop nor the control thread comes to anything."""
        self._deaf, self._busy_until = True, 1e12

    def die(self, why: str, code: int | None = None) -> None:
        if self.dead:
            return
        self.dead = True
        world = self._world
        world.say("{}: dies, {}", self, why)
        running = [r for r in self._slots if r is not None]
        for run in running:
            run.attempt.running = 0 if not run.in_hook else run.attempt.running
            run.attempt.hooking = 0
            run.attempt.doubtful = run.attempt.doubtful or self._liar
            if run.attempt.written is None and not run.in_hook:
                alone = "alone" if len(running) == 1 else "with others"
                by_us = self._killed and not self._liar and self._condemned()
                run.attempt.death = "killed" if by_us else alone
        if why == "SIGKILL":
            self._check_reason(running)
        delay = 0.0001 if world.rng.random() < 0.8 else world.rng.uniform(0, 0.02)
        world.after(delay, lambda: self._supervisor.tell(lambda: self._reaped(code)))

    def _condemned(self) -> str | None:
        member = self._listener._by_process.get(self)
        return None if member is None else member.condemned

    def _check_reason(self, running: list[Running]) -> None:
        """Whether what it is killed for is so, or was until about a look ago: kills take time."""
        if self._world.now - self._ended_at < _JUST_NOW:
            return
        reason = self._condemned()
        if reason == Fate.OVERDUE.value and not any(map(self._overdue, running)):
            self._world.violated(f"{self} is killed for a deadline that nothing has passed")
        if reason == Fate.OVERDUE.value and (hostages := self._hostages()):
            self._world.violated(f"{self} has kept {hostages} from others until it was killed")
        if reason == "on_failure ran past its deadline" and not any(r.in_hook for r in running):
            self._world.violated(f"{self} is killed for an on_failure that has ended")
        if reason == Fate.CANCELLED.value and not running and not self._frozen_until:
            self._world.violated(f"{self} is killed for a cancelled job that has ended")
        if reason == "it did not start its job" and not (self._deaf or self._frozen_until):
            self._world.violated(f"{self} is killed for not starting its job, and is well")

    def _hostages(self) -> list[int]:
        """What has waited behind a job that turned out long, and was not taken back."""
        member = self._listener._by_process.get(self)
        if member is None or self._supervisor.undisturbed_for() < 1.0:
            return []
        reached, long_ago = max(self.page.came_to), self._world.now - 2 * _JUST_NOW
        held = member.seat.inflight.items()
        return [serial for serial, one in held if serial > reached and one.since < long_ago]

    def _overdue(self, run: Running) -> bool:
        hard = run.limits.hard
        return hard is not None and self._world.now - run.since > hard

    def _perhaps_die(self, phase: str) -> bool:
        if not self._world.chance(f"death {phase}"):
            return False
        self.die(phase, self._world.rng.choice((None, 0, 1)))
        return True

    def _boot(self) -> None:
        if self._perhaps_die("before Ready"):
            return
        if self._world.chance("worker cannot open its application"):
            self._write(wire.Unready("no database", ""))
            self._later(0.001, lambda: self.die("it cannot open its application", code=4))
            return
        if self._world.chance("worker asks before it is ready"):
            self._write(wire.Request(1, "get_job", b""))
            self._write(wire.Dumped("its stacks"))
        if self._world.chance("lie: an end before it is ready"):
            self._liar = True
            self._write(wire.Done(1, b"", 0.1))
        mourners = [kind.name for kind in KINDS.values() if kind.listens]
        self._write(wire.Ready(wire.VERSION, list(KINDS), mourners, MOST_RUNNING, LONE))
        self._idle_later()

    def _idle_later(self) -> None:
        world = self._world
        if "death while idle" in world.rates and world.now < world.quiet_at:
            self._later(world.rng.uniform(0.1, 3.0), self._idle)

    def _idle(self) -> None:
        if not any(self._slots) and not self._waiting and self._perhaps_die("while idle"):
            return
        self._idle_later()

    def _write(self, message: Any, *ended: Running) -> None:
        self._flush()
        if not self.dead:
            self._out.append((message, list(ended)))
            self._notice()

    def _gather(self, end: wire.End, run: Running) -> None:
        self._tray.held.append((end, run))
        if self._world.rng.random() < 0.2:  # there is no room for more, or it is the loop's turn
            self._flush()

    def _flush(self) -> None:
        """Write what has gathered."""
        tray = self._tray
        if not tray.held or self.dead or self._perhaps_die("in the middle of a batch"):
            return
        self._out.append((tray.batch(), tray.runs()))
        self._notice()
        if not self._perhaps_die("between a batch and the emptying of the tray"):
            tray.clear()

    # The control thread

    def _control(self) -> None:
        world = self._world
        while self._inbox and self._inbox[0][0] <= world.now + 1e-9:
            if self.dead or self._deaf:
                return
            if self._frozen_until > world.now:
                world.after(self._frozen_until - world.now, self._control)
                return
            message = self._inbox[0][1]
            if isinstance(message, wire.Run) and self._perhaps_die("before it reads a Run"):
                return
            self._inbox.popleft()
            self._obey(message)
            if self._closing and not self.dead:
                self._recall()

    def _check_service(self) -> None:
        """One that is to be replaced after some jobs is given and begins no more than it may."""
        most = self._supervisor.config.max_jobs_per_worker
        if most is not None and (self._served > int(most * 1.1) or most == 1 < self._given):
            self._world.violated(f"{self} was given {self._given} jobs, and begins {self._served}")
        if self._lone and self._given > 1:
            self._world.violated(f"{self} was given a job that is to be alone, and others")

    def _obey(self, message: wire.ToWorker) -> None:
        world = self._world
        self._given += len(message.leases) if isinstance(message, wire.Run) else 0
        self._given += isinstance(message, wire.Mourn)
        if isinstance(message, wire.Run | wire.Mourn):
            jobs = message.leases if isinstance(message, wire.Run) else [message.lease]
            self._lone += sum(lease.job_type in LONE for lease in jobs)
        self._check_service()
        match message:
            case wire.Run(first, leases):
                self._waiting.extend((s, lease, None) for s, lease in enumerate(leases, first))
                if self._perhaps_die("after reading, before the start"):
                    return
                if self._would_be_missed and world.chance("worker hangs before the start"):
                    self._hang()
                    return
                if world.chance("worker stopped"):
                    self.freeze(world.now + world.rng.uniform(0.05, 6.0))
                self._loop_soon()
            case wire.Mourn(serial, lease, failure):
                hooks = sum(waits is not None for *_, waits in self._waiting)
                self._waiting.insert(hooks, (serial, lease, failure))
                self._loop_soon()
            case wire.Recall():
                self._recall()
            case wire.Cancel(serial, requested):
                self._cancel(serial, requested)
            case wire.Stop():
                self._later(max(0.0, self._busy_until - world.now), self._close)

    def _recall(self) -> None:
        serials = [serial for serial, _, _ in self._waiting]
        self._waiting.clear()
        self._write(wire.Recalled(serials, self._closing))

    def _turn_down(self, serial: int) -> None:
        """Give back what was withdrawn before it came to it."""
        withdrawn = self.page.withdrawn
        serials = [serial, *(one for one, *_ in self._waiting if one <= withdrawn)]
        self._waiting = deque(one for one in self._waiting if one[0] > withdrawn)
        self._world.say("{}: turns {} down", self, serials)
        self._write(wire.Recalled(serials))

    def _cancel(self, serial: int, requested: bool) -> None:
        for errand in self._waiting:
            if errand[0] == serial:
                self._waiting.remove(errand)
                self._write(wire.Recalled([serial]))
                return
        wait = max(0.0, self._busy_until - self._world.now)
        self._later(wait, lambda: self._stop(serial, requested))

    def _stop(self, serial: int, requested: bool) -> None:
        for run in self._slots:
            if run is not None and run.serial == serial and not run.over:
                verdict = Failed(CANCELLED, False) if requested else Interrupted(_INTERRUPTED)
                run.stop = run.stop or verdict
                if not run.kind.stubborn:
                    self._later(0.0001, lambda run=run: self._handler_over(run))

    def _close(self) -> None:
        if self._closing:
            return
        self._closing = True
        if self._perhaps_die("while retiring"):
            return
        self._recall()
        self._perhaps_exit()

    def _perhaps_exit(self) -> None:
        if self._closing and not self._closed and not any(self._slots):
            self._closed = True
            self._flush()
            if not self._world.chance("worker does not go"):
                self._later(0.001, lambda: self.die("retired", code=0))

    # The loop and its slots

    def _loop_soon(self) -> None:
        if not self._loop_due:
            self._loop_due = True
            self._later(max(0.00001, self._busy_until - self._world.now), self._loop)

    def _loop(self) -> None:
        self._loop_due = False
        if self._busy_until > self._world.now:
            self._loop_soon()
            return
        for slot, run in enumerate(self._slots):
            if run is None and self._waiting and not self._closing:
                if len(self._waiting) == 1:
                    self._flush()
                    if self.dead:
                        return
                self._begin(slot, *self._waiting.popleft())
                if self.dead or self._deaf:
                    return
                if self._busy_until > self._world.now:
                    self._loop_soon()
                    return
        if not self._waiting:
            self._flush()
        self._perhaps_exit()

    def runs_of(self, kind: Kind) -> int:
        """How many handlers of this kind run in it."""
        return sum(run is not None and run.kind is kind and not run.over for run in self._slots)

    def _check_turn(self, begun: Running) -> None:
        kind, honest = begun.kind, not any(one._liar for one in begun.attempt.holder.processes)
        running = sum(one.runs_of(kind) for one in begun.attempt.holder.processes)
        if kind.most is not None and honest and running > kind.most:
            self._world.violated(f"{begun.attempt}: {running} of {kind.name} run at a time")

    def _begin(self, slot: int, serial: int, lease: Lease, failure: Failure | None) -> None:
        world, kind = self._world, KINDS[lease.job_type]
        if not self.page.begin(slot, serial, hook=failure is not None):
            self._turn_down(serial)
            self._loop_soon()
            return
        attempt = self._ledger.attempts[lease.id, lease.token]
        run = self._slots[slot] = Running(
            serial, lease, attempt, slot, kind, world.now, self._usual
        )
        world.say("{}: page says {}, {}", self, serial, attempt)
        self._served += 1
        self._check_service()
        run.mourns = failure is not None
        others = [r for r in self._slots if r is not None and r is not run]
        suspected = any(r.attempt.lease.suspect and not r.mourns for r in (run, *others))
        if others and suspected and not self._liar:
            world.violated(f"{attempt}: {self} runs {others[0].attempt} as well, one is a suspect")
        if failure is not None:
            run.over = True
            self._hook(run)
            return
        attempt.begun = True
        self._begun += 1
        if self._perhaps_die("before the handler's first line"):
            return
        self._limit(run)
        if kind.undecodable:
            run.verdict = Quarantined(Failure("PayloadInvalid", "no JSON"))
            self._later(0.0001, lambda: self._handler_over(run))
            return
        self._check_turn(run)
        self._ledger.handler_starts(lease)
        self._handler(run)

    @property
    def _usual(self) -> TimeLimits:
        return TimeLimits(self._hello.job_timeout, self._hello.kill_grace)

    def _limit(self, run: Running) -> None:
        run.limits = self._usual.narrowed(json.loads(run.lease.metadata))
        if run.limits != self._usual:
            self._world.hit("limits of its own")

    def _handler(self, run: Running) -> None:
        world, kind = self._world, run.kind
        seconds = kind.duration(world.rng)
        fails = kind.fails(self._ledger.jobs[run.lease.id].starts)
        run.verdict = Failed(Failure("Boom", "as drawn"), kind.retryable) if fails else _DONE
        if kind.kills(self._ledger.jobs[run.lease.id].starts):
            self._later(seconds / 2, lambda: run.over or self.die("its handler kills it"))
        if "death in the handler" in world.rates:
            at = world.rng.random() * seconds
            self._later(at, lambda: run.over or self._perhaps_die("in the handler"))
        limit = run.limits.job_timeout
        if limit is not None and world.chance("worker hangs in the handler"):
            self._hang()
            return
        if world.chance("worker stopped in the handler"):
            self.freeze(world.now + world.rng.uniform(0.05, 6.0))
        if kind.blocking:
            self._busy_until = world.now + seconds
        if limit is not None and seconds > limit and not kind.stubborn:
            self._later(limit, lambda: self._timed_out(run))
        if seconds < 1e9:
            self._later(seconds, lambda: self._handler_over(run))

    def _timed_out(self, run: Running) -> None:
        if not run.over:
            run.stop = run.stop or Failed(Failure("JobTimeoutError", "too long"), True)
            self._handler_over(run)

    def _handler_over(self, run: Running) -> None:
        world = self._world
        if run.over:
            return
        if self._busy_until > world.now:
            self._later(self._busy_until - world.now, lambda: self._handler_over(run))
            return
        run.over = True
        run.attempt.running -= run.attempt.running > 0
        verdict = run.stop or run.verdict
        assert verdict is not None
        if self._perhaps_die("after the handler, before the result"):
            return
        if world.chance("death in the middle of the result"):
            self.die("in the middle of the result")
            return
        gathers = isinstance(verdict, Completed) and world.rng.random() < 0.9
        if not gathers:
            self._flush()  # the supervisor hears of everything in order
            if self.dead:
                return
        if isinstance(verdict, Failed) and run.kind.listens:
            self._report(run, wire.Ended.of(run.serial, verdict, 0.1, mourning=True), verdict)
            run.reported = True
            if not self.dead:
                self._hook(run)
            return
        elapsed, message = 0.001 if run.kind.short else 0.5, None
        if not isinstance(verdict, Completed):
            message = wire.Ended.of(run.serial, verdict, 0.1, mourning=False)
        elif not gathers:
            message = wire.Done(run.serial, verdict.result, elapsed)
        self._slots[run.slot] = None
        self._report(run, message or (run.serial, b"{}", elapsed), verdict)
        self._free()

    def _report(self, run: Running, message: Any, verdict: Verdict) -> None:
        self._lie(run)
        self._ended_at = self._world.now
        if self._liar:
            run.attempt.doubtful = True
        else:
            self._ledger.frame_written(run.attempt, verdict)
        if isinstance(message, tuple):
            self._gather(message, run)
        elif self._slots[run.slot] is None:
            self._write(message, run)
        else:
            self._write(message)
        self._perhaps_die("after the result")

    def _leave(self) -> None:
        """It is not fit for more, says so, and goes by itself."""
        if not self._closing:
            self._write(wire.Leaving("leaked_tasks"))
            self._close()

    def _free(self) -> None:
        if self.dead:
            return
        if self._begun >= (self._hello.max_jobs or inf) or self._world.chance("worker leaves"):
            self._leave()
        if not self.dead:
            self._loop_soon()
            self._perhaps_exit()

    def _hook(self, run: Running) -> None:
        world, run.in_hook = self._world, True
        self._ledger.hook_starts(run.lease)
        if world.chance("on_failure hangs"):
            self._hang()
            return
        if self._perhaps_die("in on_failure"):
            return
        self._later(world.rng.choice((0.0001, 0.01, 0.3)), lambda: self._hook_over(run))

    def _hook_over(self, run: Running) -> None:
        if self._busy_until > self._world.now:
            self._later(self._busy_until - self._world.now, lambda: self._hook_over(run))
            return
        run.attempt.hooking -= 1
        self._ended_at = self._world.now
        self._slots[run.slot] = None
        self._write(wire.Mourned(run.serial), run)
        self._free()

    # Lies

    def _lie(self, run: Running) -> None:
        world = self._world
        for kind, message in (
            ("lie: bytes that are no frame", BROKEN),
            ("lie: the end of a job never given", wire.Done(10**9, b"", 0.1)),
            ("lie: a verdict that is not its own", _crashed(run.serial)),
            ("lie: mourned what had not failed", wire.Mourned(10**9)),
            ("lie: gave back what it had started", wire.Recalled([run.serial])),
            ("lie: ready again", wire.Ready(wire.VERSION, [], [])),
            ("lie: unready after all", wire.Unready("no database", "")),
        ):
            if world.chance(kind):
                self._liar = True
                for gathered in self._tray.runs():  # if it is sent, it is behind the lie
                    gathered.attempt.doubtful = True
                self._out.append((message, []))
                self._notice()


_DONE = Completed(b"{}")
_F = Failure("Lie", "a lie")
_INTERRUPTED = Failure("Interrupted", "a shutdown")


def _crashed(serial: int) -> wire.Ended:
    return wire.Ended(serial, "Crashed", _F, True, 0.0, False)


def _brief(message: Any) -> str:
    match message:
        case wire.Run(first, leases):
            return f"Run({first}: {[lease.job_id.int for lease in leases]})"
        case wire.Mourn(serial, lease):
            return f"Mourn({serial}, job {lease.job_id.int})"
        case wire.Hello() | wire.Ready():
            return type(message).__name__
        case wire.Ended():
            return f"Ended({message.serial}, {message.kind}, mourning={message.mourning})"
        case wire.Done():
            return f"Done({message.serial})"
        case wire.Batch():
            return f"Batch({message.number}: {[serial for serial, *_ in message.ends]})"
    return str(message)
