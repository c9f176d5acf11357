"""The workers: started, made ready, replaced when they die, recycled before they grow too old.

A replacement is ready before the worker that it replaces goes, so that capacity never drops. A
worker that never got ready is a configuration error while none ever was, and a reason for
patience afterwards.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable
from itertools import count
from time import monotonic

from portico.exceptions import PorticoError
from portico.supervisor import wire
from portico.supervisor.config import SupervisorConfig
from portico.supervisor.launch import AppError, Launcher, SpawnError
from portico.supervisor.member import Member, State
from portico.supervisor.process import Exit, Listener, WorkerProcess
from portico.utils.logging import get_logger

_STORM_WINDOW = 10.0
_STORM_PAUSE = 2.0
"""A poison job is dead-lettered after three crashes, so this protects the machine from a flood of
them without keeping the healthy jobs waiting for long. All in seconds."""
_LONGEST_PAUSE = 30.0
_RETIRE_GRACE = 30.0
"""Seconds that a worker with nothing left to run has to close its application."""
_BOOT = 120.0
"""Seconds that a worker has to open it."""

logger = get_logger(__name__)


class BootError(PorticoError):
    """The workers keep dying before they are ready."""


class Crew(Listener):
    """Keeps the wanted number of workers ready."""

    def __init__(
        self,
        config: SupervisorConfig,
        launcher: Launcher,
        log_fd: int,
        make_hello: Callable[[int], wire.Hello],
    ) -> None:
        self._config = config
        self._launcher = launcher
        self._log_fd = log_fd
        self._make_hello = make_hello
        self._by_process: dict[WorkerProcess, Member] = {}
        self._deaths: deque[float] = deque()
        self._failed_boots = 0
        self._stopping = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._started = asyncio.get_running_loop().create_future()
        self._empty = asyncio.Event()
        self.wanted = config.workers
        self.mourners: frozenset[str] = frozenset()
        self.job_types: tuple[str, ...] = ()
        self.on_ready: Callable[[Member], None] = lambda _: None
        self.on_message: Callable[[Member, wire.FromWorker], None] = lambda *_: None
        self.on_death: Callable[[Member, Exit], None] = lambda *_: None

    @property
    def members(self) -> list[Member]:
        """Every worker whose process lives."""
        return list(self._by_process.values())

    async def start(self) -> None:
        """Start all workers and return when one is ready.

        Raises:
            AppError: the application cannot be imported or opened.
            BootError: the workers die before they are ready.
        """
        await self._launcher.start()
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
                    logger.warning("worker_killed", worker=member.number, reason="did not stop")
                    member.kill("shutdown")
                await self._empty.wait()
        self._launcher.close()

    def kill_all(self) -> None:
        """SIGKILL every worker; nothing is waited for."""
        self._stopping = True
        for member in self.members:
            member.kill("shutdown")

    def retire(self, member: Member) -> None:
        """Let a worker finish what it runs, and go; what it has not started comes back."""
        if member.state in (State.RETIRING, State.GONE):
            return
        member.state = State.RETIRING
        member.load.open = False
        member.process.send(wire.Stop())
        self._see_off(member, idle=False)

    def recycle(self, member: Member, reason: str) -> None:
        """Replace a worker: it goes when its replacement is ready."""
        if member.state is State.READY and member.successor is None and not self._stopping:
            logger.info(
                "worker_recycled", worker=member.number, pid=member.process.pid, reason=reason
            )
            member.successor = self._spawn(member.number, self._boot_pause(), replaces=member)

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
        """Load the application anew, and replace every worker; the old ones stay if it fails."""
        try:
            await launcher.start()
        except PorticoError as error:
            logger.error("reload_failed", error=str(error), kept="the workers with the old code")
            return False
        self._launcher.close()
        self._launcher = launcher
        for member in self.members:
            self.recycle(member, "reload")
        return True

    def received(self, worker: WorkerProcess, message: wire.FromWorker) -> None:
        member = self._by_process[worker]
        if isinstance(message, wire.Ready):
            self._made_ready(member, message)
        elif isinstance(message, wire.Unready):
            member.boot_error = message
        else:
            self.on_message(member, message)

    def exited(self, worker: WorkerProcess, status: Exit) -> None:
        member = self._by_process.pop(worker)
        state, member.state = member.state, State.GONE
        member.load.open = False
        if state is State.STARTING:
            self._boot_failed(member, status)
        else:
            self._log_exit(member, state, status)
            self.on_death(member, status)
            if state is State.READY and member.successor is None:
                self._spawn(member.number, self._pause_after_death(member))
        if not self._by_process:
            self._empty.set()

    def _made_ready(self, member: Member, ready: wire.Ready) -> None:
        if ready.version != wire.VERSION or member.state is State.READY:
            member.discredit(f"it is ready in version {ready.version}, {member.state.value}")
        elif member.state is State.STARTING:
            self._take_in(member, ready)

    def _take_in(self, member: Member, ready: wire.Ready) -> None:
        member.state = State.READY
        member.load.open = True
        self._failed_boots = 0
        self.mourners, self.job_types = frozenset(ready.mourners), tuple(ready.job_types)
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
        self.on_ready(member)

    def _retire_surplus(self) -> None:
        """Let go of ready workers beyond the wanted number: it may have shrunk at any time."""
        ready = [member for member in self.members if member.state is State.READY]
        for member in sorted(ready, key=lambda m: m.number)[self.wanted :]:
            self.retire(member)

    def _see_off(self, member: Member, *, idle: bool) -> None:
        """Kill a retiring worker that still lives a grace after it was found with nothing to run.

        What it runs is timed by others, and may take longer than this.
        """
        if member.state is not State.GONE and idle and not member.inflight:
            logger.warning("worker_killed", worker=member.number, reason="did not stop")
            member.kill("it did not stop")
        elif member.state is not State.GONE:
            nothing_left = not member.inflight
            asyncio.get_running_loop().call_later(
                _RETIRE_GRACE, lambda: self._see_off(member, idle=nothing_left)
            )

    def _check_boot(self, member: Member) -> None:
        if member.state is State.STARTING:
            logger.error("worker_boot_stuck", worker=member.number, seconds=_BOOT)
            member.kill("it did not get ready")

    def _spawn(self, number: int, pause: float = 0.0, replaces: Member | None = None) -> Member:
        limit = self._config.max_jobs_per_worker
        jitter = None if limit is None else limit + random.randrange(limit // 10 + 1)  # noqa: S311 - no secret
        member = Member(number, self._config.concurrency, jitter)
        member.predecessor = replaces
        if not self._stopping:
            task = asyncio.get_running_loop().create_task(self._launch(member, pause))
            self._tasks.add(task)
            task.add_done_callback(self._launched)
        return member

    def _launched(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) and not self._started.done():
            self._started.set_exception(error)

    async def _launch(self, member: Member, pause: float) -> None:
        await asyncio.sleep(pause)
        while True:
            try:
                await self._start(member)
            except (SpawnError, AppError, OSError) as error:
                if isinstance(error, AppError) and not self._started.done():
                    raise
                pause = min(_LONGEST_PAUSE, max(0.1, 2 * pause))
                logger.error("spawn_failed", worker=member.number, error=str(error), again_in=pause)
                await asyncio.sleep(pause)
            else:
                asyncio.get_running_loop().call_later(_BOOT, self._check_boot, member)
                return

    async def _start(self, member: Member) -> None:
        process = WorkerProcess(member.number, self._config.concurrency, self, self._log_fd)
        member.process, member.launcher = process, self._launcher
        self._by_process[process] = member
        try:
            await process.start(self._launcher, self._make_hello(member.number))
        except BaseException:
            del self._by_process[process]
            raise

    def _boot_failed(self, member: Member, status: Exit) -> None:
        """A worker died before it was ready. `member.predecessor`, if it lives, simply stays."""
        if member.predecessor is not None:
            member.predecessor.successor = None
        if self._stopping:
            return
        self._failed_boots += 1
        unready = member.boot_error
        reason = unready.message if unready else f"worker {member.number} {status}"
        if not self._started.done():
            if unready:
                self._started.set_exception(AppError(reason, {"traceback": unready.traceback}))
                return
            if self._failed_boots >= max(3, 2 * self.wanted):
                self._started.set_exception(
                    BootError(f"workers keep dying before they are ready: {reason}")
                )
                return
        pause = self._boot_pause()
        logger.error("worker_boot_failed", worker=member.number, reason=reason, again_in=pause)
        if member.predecessor is None or member.predecessor.state is State.GONE:
            self._spawn(member.number, pause)

    def _boot_pause(self) -> float:
        """None while workers get ready; growing with every one that does not."""
        failed = self._failed_boots
        return min(_LONGEST_PAUSE, 0.1 * 2.0 ** min(failed, 10)) if failed else 0.0

    def _pause_after_death(self, member: Member) -> float:
        """None for the first deaths; growing when they come in a storm."""
        if member.condemned:
            return 0.0
        now = monotonic()
        self._deaths.append(now)
        while now - self._deaths[0] > _STORM_WINDOW:
            self._deaths.popleft()
        excess = len(self._deaths) - (5 * self.wanted + 10)
        if excess < 0:
            return 0.0
        pause = min(_STORM_PAUSE, 0.05 * 2.0 ** min(excess, 10))
        logger.error(
            "crash_storm",
            deaths=len(self._deaths),
            within_seconds=_STORM_WINDOW,
            next_start_in=pause,
            hint="look at the jobs in worker_exited: one type may kill its worker every time",
        )
        return pause

    def _log_exit(self, member: Member, state: State, status: Exit) -> None:
        if state is State.RETIRING:
            logger.debug("worker_retired", worker=member.number, status=str(status))
            return
        logger.warning(
            "worker_exited",
            worker=member.number,
            pid=member.process.pid,
            status=f"was killed: {member.condemned}" if member.condemned else str(status),
            jobs=[str(a.lease.job_id) for a in member.inflight.values()][:5],
        )
