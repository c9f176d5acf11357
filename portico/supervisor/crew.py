"""The workers: started, made ready, replaced when they die, recycled before they grow too old.

A replacement is ready before the worker that it replaces goes, so that capacity never drops. A
worker that never got ready is a configuration error while none ever was, and a reason for
patience afterwards.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import count

from portico.supervisor import lifespan, printing, wire
from portico.supervisor.config import SupervisorConfig
from portico.supervisor.deaths import LONGEST_PAUSE, Deaths, boot_pause, fatal_boot
from portico.supervisor.exit import Exit
from portico.supervisor.generations import Generations
from portico.supervisor.launch import AppError, Launcher
from portico.supervisor.member import Member, State
from portico.supervisor.process import Listener, WorkerProcess
from portico.supervisor.scheduling.seat import Told
from portico.supervisor.spawning import SpawnError
from portico.utils.logging import get_logger

_RETIRE_GRACE = 30.0
"""Seconds that a worker with nothing left to run has to close its application."""
_BOOT = 120.0
"""Seconds that a worker has to open it."""

logger = get_logger(__name__)


class Crew(Listener):
    """Keeps the wanted number of workers ready."""

    def __init__(
        self,
        config: SupervisorConfig,
        launcher: Launcher,
        make_hello: Callable[[int], wire.Hello],
    ) -> None:
        self._config = config
        self._generations = Generations(launcher)
        self._make_hello = make_hello
        self._by_process: dict[WorkerProcess, Member] = {}
        self._timers: dict[Member, asyncio.TimerHandle] = {}
        self._deaths = Deaths()
        self._failed_boots = 0
        self._keys = count(1)
        self._stopping = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._started = asyncio.get_running_loop().create_future()
        self._empty = asyncio.Event()
        self.wanted = config.workers
        self.mourners: frozenset[str] = frozenset()
        self.job_types: tuple[str, ...] = ()
        self.most_running: Mapping[str, int] = {}
        self.on_ready: Callable[[Member], None] = lambda _: None
        self.on_early: Callable[[Member, wire.Request | wire.Dumped], None] = lambda *_: None
        self.on_closing: Callable[[Member], None] = lambda _: None
        self.on_messages: Callable[[Member, Sequence[wire.FromWorker]], None] = lambda *_: None
        self.on_death: Callable[[Member, Exit], None] = lambda *_: None

    @property
    def _launcher(self) -> Launcher:
        return self._generations.current

    @property
    def members(self) -> list[Member]:
        """Every worker whose process lives."""
        return list(self._by_process.values())

    @property
    def zygotes(self) -> set[int]:
        """The processes that hold the application's code, or held it."""
        return self._generations.pids

    @property
    def loading(self) -> set[int]:
        """Those of them that load it just now; how they end is for us to see."""
        return self._generations.loading

    @property
    def launching(self) -> bool:
        """Whether a worker may have been born whose number is not known yet."""
        return not all(process.pid for process in self._by_process)

    async def start(self) -> None:
        """Start all workers and return when one is ready.

        Raises:
            AppError: the application cannot be imported or opened.
            BootError: the workers, or what they are forked from, die before they are ready.
        """
        await self._generations.start()
        for number in range(1, self.wanted + 1):
            self._spawn(number)
        await self._started

    async def stop(self, grace: float = _RETIRE_GRACE) -> None:
        """Retire every worker, kill what is left after `grace` seconds, and hang up."""
        self._stopping = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for member in self.members:
            self.retire(member)
        if self._by_process:
            self._empty.clear()
            try:
                await asyncio.wait_for(self._empty.wait(), grace)
            except TimeoutError:
                for member in self.members:
                    self._kill_overdue(member, grace, "shutdown")
                await self._empty.wait()
        await self._generations.end(min(grace, _RETIRE_GRACE))

    def kill_all(self) -> None:
        """SIGKILL every worker; nothing is waited for."""
        self._stopping = True
        for member in self.members:
            member.kill("shutdown")

    def retire(self, member: Member) -> None:
        """Let a worker finish what it runs, and go; what it has not started comes back."""
        if member.state is not State.READY:  # one that is starting is retired when it is ready
            return
        member.state = State.RETIRING
        self.on_closing(member)
        member.process.send(wire.Stop())
        self._see_off(member, idle=False)

    def recycle(self, member: Member, reason: str) -> None:
        """Replace a worker: it goes when its replacement is ready."""
        if member.state is State.READY and member.successor is None and not self._stopping:
            pid, pause = member.process.pid, boot_pause(self._failed_boots)
            logger.info("worker_recycled", worker=member.number, pid=pid, reason=reason)
            self._spawn(member.number, pause, replaces=member)

    def let_go(self, member: Member, reason: str) -> None:
        """Replace a worker that takes no more jobs and goes by itself."""
        if member.state is State.READY and not member.leaving:
            member.leaving = True
            self.recycle(member, reason)
            self._see_off(member, idle=False)

    def resize(self, by: int) -> None:
        """One worker more or less, never less than one."""
        wanted = max(1, self.wanted + by)
        if wanted > self.wanted:
            self.wanted = wanted
            numbers = {member.number for member in self.members}
            self._spawn(next(n for n in count(1) if n not in numbers))
        elif wanted < self.wanted:
            self.wanted = wanted
            self._retire_surplus()
        logger.info("pool_resized", workers=self.wanted)

    async def reload(self, launcher: Launcher) -> bool:
        """Load the application anew, and replace every worker; the old ones stay if it fails.

        Returns whether it could be loaded: that it cannot be opened may turn out later.
        """
        if loaded := await self._generations.replace(launcher):
            for member in self.members:
                self.recycle(member, "reload")
        return loaded

    def received(self, worker: WorkerProcess, messages: Sequence[wire.FromWorker]) -> None:
        member = self._by_process[worker]
        if member.state is State.STARTING:
            worker.collected()  # it reports nothing yet
            messages = self._received_early(member, messages)
        if messages:
            self.on_messages(member, messages)

    def _received_early(
        self, member: Member, messages: Sequence[wire.FromWorker]
    ) -> Sequence[wire.FromWorker]:
        """What a worker says while it opens its application; returns what came after that."""
        for number, message in enumerate(messages, 1):
            if isinstance(message, wire.Ready):
                self._made_ready(member, message)
                return messages[number:]
            if isinstance(message, wire.Unready):
                member.boot_error = message
            elif isinstance(message, wire.Request | wire.Dumped):
                self.on_early(member, message)
            else:
                member.discredit("it reports a job before it is ready")
                break
        return ()

    def runs(self, worker: WorkerProcess) -> printing.Job:
        return known.runs() if (known := self._by_process.get(worker)) else printing.NOBODY

    def vouch(self, worker: WorkerProcess, job_id: str, attempt: object) -> printing.Job:
        known = self._by_process.get(worker)
        return known.vouch(job_id, attempt) if known else printing.NOBODY

    def exited(self, worker: WorkerProcess, status: Exit) -> None:
        member = self._by_process.pop(worker)
        state, member.state = member.state, State.GONE
        self._stop_timer(member)
        status = self._deaths.examined(member, status)
        if state is State.STARTING:
            self._boot_failed(member, status)
        else:
            self._deaths.tell(member, state, status)
            self.on_death(member, status)
            if state is State.READY and member.successor is None:
                self._spawn(member.number, self._deaths.pause(member, self.wanted))
        if not self._by_process:
            self._empty.set()

    def _made_ready(self, member: Member, ready: wire.Ready) -> None:
        if ready.version != wire.VERSION:
            member.discredit(f"it speaks version {ready.version} of the frames")
            return
        member.state = State.READY
        self._stop_timer(member)
        self._failed_boots = 0
        self._generations.proved(member.launcher)
        self.mourners, self.job_types = frozenset(ready.mourners), tuple(ready.job_types)
        self.most_running, member.seat.told = ready.most_running, Told(ready.limits, ready.alone)
        self.on_ready(member)
        self._watch_age(member)
        logger.debug("worker_ready", worker=member.number, pid=member.process.pid)
        if member.predecessor is not None:
            self.retire(member.predecessor)
            member.predecessor = None
        self._retire_surplus()
        if not self._started.done():
            self._started.set_result(None)
        if self._stopping:
            self.retire(member)
        if member.launcher is not self._launcher:  # it was starting when that was replaced
            self.recycle(member, "reload")

    def _retire_surplus(self) -> None:
        """Let go of ready workers beyond the wanted number: it may have shrunk at any time."""
        ready = [member for member in self.members if member.state is State.READY]
        for member in sorted(ready, key=lambda m: m.number)[self.wanted :]:
            self.retire(member)

    def _see_off(self, member: Member, *, idle: bool) -> None:
        """Kill a retiring worker that still lives a grace after it was found with nothing to run;
        what it runs is timed by others."""
        empty = not member.seat.inflight
        if member.state is not State.GONE and idle and empty:
            self._kill_overdue(member, _RETIRE_GRACE, "it did not stop")
        elif member.state is not State.GONE:
            see_off = partial(self._see_off, member, idle=empty)
            asyncio.get_running_loop().call_later(_RETIRE_GRACE, see_off)

    def _kill_overdue(self, member: Member, seconds: float, why: str) -> None:
        todo = "open" if member.state is State.STARTING else "close"
        reason = f"its application did not {todo} within {seconds:g} s"
        logger.warning("worker_killed", worker=member.number, reason=reason)
        member.kill(why)

    def _check_boot(self, member: Member) -> None:
        logger.error("worker_boot_stuck", worker=member.number, seconds=_BOOT)
        member.kill(f"it did not get ready within {_BOOT:g} s")

    def _watch_age(self, member: Member) -> None:
        self._stop_timer(member)
        if (age := lifespan.age_of(self._config)) is not None:
            self._set_timer(member, age, lambda: self.recycle(member, f"age of {age:.0f} s"))

    def _set_timer(self, member: Member, seconds: float, act: Callable[[], None]) -> None:
        """One for each worker, of its boot and then of its age."""
        self._timers[member] = asyncio.get_running_loop().call_later(seconds, act)

    def _stop_timer(self, member: Member) -> None:
        """The boot is over, or the worker dead: its timer would keep it in memory."""
        if timer := self._timers.pop(member, None):
            timer.cancel()

    def _spawn(self, number: int, pause: float = 0.0, replaces: Member | None = None) -> None:
        member = Member(number, lifespan.seat_of(self._config, next(self._keys)))
        member.follow(replaces)
        if not self._stopping:
            task = asyncio.get_running_loop().create_task(self._launch(member, pause))
            self._tasks.add(task)
            task.add_done_callback(self._launched)

    def _launched(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or not (error := task.exception()):
            return
        if self._started.done():
            raise error  # a defect: kept quiet, it would cost the pool a worker for ever
        self._started.set_exception(error)

    async def _launch(self, member: Member, pause: float) -> None:
        await asyncio.sleep(pause)
        while True:
            try:
                await self._start(member)
            except (SpawnError, AppError, OSError) as error:
                if isinstance(error, AppError) and not self._started.done():
                    raise
                pause = min(LONGEST_PAUSE, max(0.1, 2 * pause))
                logger.error("spawn_failed", worker=member.number, error=str(error), again_in=pause)
                await asyncio.sleep(pause)
            else:
                if member.state is State.STARTING:
                    self._set_timer(member, _BOOT, lambda: self._check_boot(member))
                return

    async def _start(self, member: Member) -> None:
        process = WorkerProcess(member.number, self._config.concurrency, self)
        member.process, member.launcher = process, self._launcher
        self._by_process[process] = member
        try:
            await process.start(self._launcher, self._make_hello(member.number))
        except BaseException:
            del self._by_process[process]
            raise

    def _boot_failed(self, member: Member, status: Exit) -> None:
        """A worker died before it was ready. `member.predecessor`, if it lives, simply stays."""
        if self._stopping or (self._started.done() and self._started.exception()):
            return  # the start has failed already: what others die of says nothing new
        unready = member.boot_error
        end = f"was killed: {member.condemned}" if member.condemned else str(status)
        reason = unready.message if unready else f"worker {member.number} {end}"
        former = member.launcher is not self._launcher
        if self._generations.failed(member.launcher, reason, unready.traceback if unready else ""):
            self._failed_boots = 0
        elif not former:
            self._failed_boots += 1
        fatal = fatal_boot(reason, unready, status, self._failed_boots, self.wanted)
        if fatal and not self._started.done():
            self._started.set_exception(fatal)
            return
        old = member.predecessor if member.predecessor in self._by_process.values() else None
        if old is not None and old.seat.load.left > 0:
            old.successor = None
            self._watch_age(old)
            note = f"worker {old.number} with pid {old.process.pid} goes on in its place"
            logger.error("worker_boot_failed", worker=member.number, reason=reason, note=note)
        else:
            pause = boot_pause(self._failed_boots)
            logger.error("worker_boot_failed", worker=member.number, reason=reason, again_in=pause)
            self._spawn(member.number, pause, replaces=old)  # which takes no more jobs
