"""One supervisor: the real crew, pool and pipeline on a loop of its own."""

from __future__ import annotations

import asyncio
import traceback
from asyncio import events
from collections.abc import Callable
from typing import Any

from portico.exceptions import QueueConnectionError
from portico.kits.job.pipeline import Pipeline
from portico.kits.job.retry import RetryPolicies, RetryPolicy
from portico.ports.leasing import Lease
from portico.supervisor import wire
from portico.supervisor.config import SupervisorConfig
from portico.supervisor.crew import Crew
from portico.supervisor.launch import AppError, BootError
from portico.supervisor.member import State
from portico.supervisor.pool import ProcessPool
from portico.supervisor.scheduling.watch import Limits
from portico.supervisor.spawning import SpawnError
from tests.simulation.clockwork import VirtualLoop, World
from tests.simulation.ledger import Ledger
from tests.simulation.processes import FakeProcess
from tests.simulation.store import Line

POLICIES = RetryPolicies(RetryPolicy(base_delay=0.2, max_delay=2.0))


class _Launcher:
    async def start(self) -> None:
        pass

    def close(self) -> None:
        pass

    async def end(self, patience: float) -> None:
        pass


class Supervisor:
    """A process that can be stopped, continued, killed, and told to drain."""

    def __init__(
        self,
        world: World,
        ledger: Ledger,
        name: str,
        config: SupervisorConfig,
        limits: Limits,
        ended: Callable[[Supervisor], None],
    ) -> None:
        self.world = world
        self.ledger = ledger
        self.name = name
        self.config = config
        self.lease = config.lease
        self.up = True
        self.stops = 0
        self.processes: list[FakeProcess] = []
        self._reloads: list[asyncio.Task[bool]] = []
        self._limits = limits
        self._ended = ended
        self._disturbed_at = world.now
        self._thawed_at = 0.0
        self.working = False
        self.loop = VirtualLoop(world)
        self.loop.set_exception_handler(self._raised)
        world.loops.append(self.loop)
        events._set_running_loop(self.loop)
        try:
            self._build()
        finally:
            events._set_running_loop(None)
        self._main = self.loop.create_task(self._run())
        self._main.add_done_callback(lambda _: world.after(0.0, self._exit))
        world.say(f"{self}: starts")

    def _build(self) -> None:
        config = self.config
        self.line = Line(self.world, self.ledger, self.ledger.store, self)
        self.crew = Crew(config, _Launcher(), self._hello)
        self.crew.simulated = self
        self.pool = ProcessPool(self.crew, self._limits)
        self.pipeline = Pipeline(
            self.line,
            self.pool,
            config.queues,
            policies=POLICIES,
            lease_seconds=config.lease,
            clock=self.loop.time,
        )

    def __repr__(self) -> str:
        return self.name

    def _hello(self, number: int) -> wire.Hello:
        config = self.config
        return wire.Hello(
            worker=number,
            supervisor=1,
            concurrency=config.concurrency,
            job_timeout=config.job_timeout,
            kill_grace=self._limits.usual.kill_grace,
            on_failure_timeout=self._limits.on_failure_timeout,
            retry_returned_failures=False,
            log_level="INFO",
            max_jobs=1 if config.max_jobs_per_worker == 1 else None,
        )

    async def _run(self) -> None:
        crew = asyncio.ensure_future(self.crew.start())
        try:
            try:
                await self.pipeline.open()
                await crew
            except BaseException:
                crew.cancel()
                await asyncio.gather(crew, return_exceptions=True)
                raise
            self.working = True
            if self.stops:
                self.pipeline.stop(0)
            await self.pipeline.run()
        finally:
            self.working = False
            await self.crew.stop(self.config.shutdown_grace)

    def _raised(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if self.up:
            error = context.get("exception")
            where = traceback.extract_tb(error.__traceback__)[-1] if error else "nowhere"
            self.world.violated(f"{self}: {context['message']}: {error!r} at {where}")

    # What others do to it

    def tell(self, callback: Callable[[], None]) -> None:
        if self.up:
            self.loop.tell(callback)

    def stop(self, grace: float) -> bool:
        """SIGTERM; the second one with a grace of 0."""
        if not self.up:
            return False
        self.world.say(f"{self}: is told to stop within {grace} s")
        self.stops += 1
        self.tell(lambda: self._stop(grace))
        return True

    def _stop(self, grace: float) -> None:
        if self.working:
            self.pipeline.stop(grace)

    def resize(self, by: int) -> bool:
        """SIGTTIN, SIGTTOU."""
        if not self.up or not self.working or self.stops:
            return False
        self.world.say(f"{self}: is to have {by:+} workers")
        self.tell(lambda: self.crew.resize(by))
        return True

    def reload(self) -> bool:
        """SIGHUP."""
        if not self.up or not self.working or self.stops:
            return False
        self.world.say(f"{self}: is to reload")
        self.tell(self._reload)
        return True

    def _reload(self) -> None:
        self._reloads.append(self.loop.create_task(self.crew.reload(_Launcher())))

    def kill(self) -> bool:
        """SIGKILL, and with it go its workers."""
        if not self.up:
            return False
        self.world.say(f"{self}: is killed")
        self._vanish()
        return True

    def freeze(self, seconds: float, *, workers_too: bool) -> bool:
        """SIGSTOP, of it or of its whole group."""
        if not self.up or self.loop.frozen:
            return False
        self.world.say(f"{self}: is stopped for {seconds:.1f} s, with its workers: {workers_too}")
        self.disturbed()
        self.loop.freeze()
        if workers_too:
            for process in self.processes:
                process.freeze(self.world.now + seconds)
        self.world.after(seconds, self._thaw)
        return True

    def _thaw(self) -> None:
        if self.up:
            self.world.say(f"{self}: goes on")
            self.disturbed()
            self._thawed_at = self.world.now
            self.loop.thaw()

    def disturbed(self) -> None:
        self._disturbed_at = self.world.now

    def unsettled(self) -> list[Lease]:
        """What has ended and is about to be settled."""
        return [outcome.lease for outcome in self.pipeline._outbox._outcomes]

    def undecided(self) -> list[Lease]:
        """What it holds and has no outcome of yet."""
        reported = self.pool._scheduler._reports.leases()
        return [lease for lease in self.pool.held() if lease not in reported]

    def undisturbed_for(self) -> float:
        if self.loop.frozen or self.stops or not self.working:
            return 0.0
        return self.world.now - max(self._disturbed_at, self.line.down_until)

    # Its end

    def _exit(self) -> None:
        if not self.up:
            return
        error = self._main.exception()
        self.world.say(f"{self}: ends, {error!r}, {self.pipeline.unsettled} unsettled")
        expected = isinstance(error, QueueConnectionError | AppError | BootError | SpawnError)
        if error is not None and not expected:
            self.world.violated(f"{self}: ended with {error!r}")
        if error is None and self.undisturbed_for() > 30 and self.pipeline.unsettled:
            self.world.violated(f"{self}: left something unsettled without need")
        if error is None and not self.pool._scheduler.empty:
            self.world.violated(f"{self}: ended, and holds jobs")
        left = self.ledger.left_out(self, set())
        if error is None and left and not self.pipeline.unsettled:
            self.world.violated(f"{self}: ended without settling {left[0]}")
        if self.crew.members:
            self.world.violated(f"{self}: ended, and has workers")
        self._vanish()

    def _vanish(self) -> None:
        self.up = False
        world = self.world
        self.loop.abandon()
        world.loops.remove(self.loop)
        for process in list(self.processes):
            delay = world.rng.choice((0.0, 0.001))
            world.after(delay, lambda p=process: p.die("its supervisor is gone"))
        self._ended(self)

    # At rest

    def unrest(self) -> str | None:
        """What is not as it should be when nothing is left to do."""
        scheduler = self.pool._scheduler
        if not self.working or self.stops or self.loop.frozen:
            return "it is not working"
        if self.pool.held() or self.pipeline.unsettled or not scheduler.empty:
            return f"it holds {len(self.pool.held())} jobs"
        members = self.crew.members
        if len(members) != self.crew.wanted or any(m.state is not State.READY for m in members):
            return f"its workers: {members}"
        for member in members:
            load = member.seat.load
            if not load.open or load.jobs or load.bytes or load.unknown or abs(load.seconds) > 1e-6:
                return f"{member}: {load}"
            if load.late or load.stuck or load.alone or load.blocked or member.seat.recalling:
                return f"{member}: {load}, recalling {member.seat.recalling}"
        if len(scheduler._seats) != len(members):
            return "a seat without a worker"
        return None
