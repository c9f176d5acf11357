"""One supervisor, from its parts to its end: store, crew, pool and pipeline put together.

start      open the store ∥ start the workers        exit 1, 3, 4 or 5 when that fails
work       pipeline.run(): lease, submit, collect, settle
stop       drained, or a signal: let go of jobs, settle, retire the workers, close the store
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine
from dataclasses import asdict
from time import monotonic
from typing import Any

from portico import compose
from portico.exceptions import ConfigurationError, DatabaseError, QueueConnectionError
from portico.kits.job.job_audit import JobAudit
from portico.kits.job.pipeline import Pipeline
from portico.ports.job_queue import JobQueueAdapter
from portico.supervisor import allocation, birth, garbage, notify, wire
from portico.supervisor.assembly import crew_of, launcher_of, pool_of
from portico.supervisor.bystanders import tell_of_bystanders
from portico.supervisor.config import SupervisorConfig
from portico.supervisor.crowds import Board
from portico.supervisor.exit import EXIT_APP
from portico.supervisor.launch import AppError, BootError
from portico.supervisor.orphans import Orphans
from portico.supervisor.requests import StoreDesk
from portico.supervisor.settings import DEFAULT_APP
from portico.supervisor.spawning import Zygote
from portico.supervisor.trouble import Notice
from portico.utils.logging import get_logger
from portico.utils.store_urls import shown

EXIT_DRAINED = 0
EXIT_CONFIGURATION = 1
EXIT_USAGE = 2
EXIT_BOOT = 3
EXIT_STORE = 5
EXIT_INTERNAL = 70
EXIT_UNSETTLED = 75
EXIT_QUIT = 128 + signal.SIGQUIT

_SWEEP, _SWEEP_AGAIN = 2.0, 0.2
STORE_PATIENCE = 30.0
"""Seconds that a store has to come when the supervisor starts."""
_STORE_PAUSE = 0.5

logger = get_logger(__name__)


class Supervisor:
    """Runs jobs until it is drained or told to stop."""

    def __init__(self, config: SupervisorConfig, early: Zygote | None = None) -> None:
        """Build it on the running loop; `early` is a zygote that was started before."""
        self._config = config
        self._queue: JobQueueAdapter = compose.job_queue(
            config.queue_url,
            lease=config.lease,
            alone=not compose.same_file(config.queue_url, config.audit_url),
        )
        self._audit = compose.audit(config.audit_url) if config.audit_url else None
        self._crew = crew_of(config, early)
        self._desk = StoreDesk(self._queue)
        self._pool = pool_of(config, self._crew, self._desk.take)
        self._pipeline = Pipeline(
            self._queue,
            self._pool,
            config.queues,
            lease_seconds=config.lease,
            drain_when_empty=config.drain,
            audit=JobAudit(self._audit) if self._audit else None,
        )
        self._stops = 0
        self._working = False
        self._defect: Exception | None = None
        self._closing = False
        self._work: asyncio.Task[None] | None = None
        self._reloads: set[asyncio.Task[bool]] = set()
        self._since = monotonic()
        self._notice = Notice(config.queue_url)
        self._board = Board(config.queue_url)

    async def run(self) -> int:
        """Work until the end, and return the exit code."""
        self._listen()
        orphans = Orphans(kill=self._config.kill_orphans)
        birth.adopt_orphans()
        sweep = _in_background(self._sweep(orphans))
        signs_of_life = _in_background(notify.give_signs_of_life())
        self._work = asyncio.get_running_loop().create_task(self._start_and_work())
        try:
            await self._work
        except asyncio.CancelledError:
            if self._defect is not None:
                raise self._defect from None
            if not self._stops:
                raise
        finally:
            notify.systemd("STOPPING=1")
            self._closing = True
            await self._crew.stop(self._config.shutdown_grace if self._stops < 2 else 0.0)  # noqa: PLR2004
            await self._desk.close()
            sweep.cancel()
            self._notice.clear()
            self._board.put({})
            await orphans.see_off()
            orphans.sweep(self._workers(), self._crew.zygotes)
            await self._queue.close()
            if self._audit is not None:
                await self._audit.close()
            signs_of_life.cancel()
        return self._summary()

    async def _start_and_work(self) -> None:
        crew = asyncio.get_running_loop().create_task(self._crew.start())
        try:
            await self._open_store()
            await crew
        except BaseException:
            crew.cancel()
            await asyncio.gather(crew, return_exceptions=True)
            raise
        self._announce()
        garbage.calm()
        allocation.retain()
        self._working = True
        if self._config.app == DEFAULT_APP:
            await self._run_the_examples()
        else:
            await self._pipeline.run()

    async def _run_the_examples(self) -> None:
        """Somebody's own jobs may wait in these queues: the examples are not tried on them."""
        served = self._crew.job_types
        self._pipeline.serve_only(served)
        telling = _in_background(tell_of_bystanders(self._queue, self._config.queues, served))
        try:
            await self._pipeline.run()
        finally:
            telling.cancel()

    async def _open_store(self) -> None:
        """Make contact with the store, which may be started at the same time as this process."""
        since, told = monotonic(), ""
        while True:
            try:
                await self._queue.initialize()
                await self._pipeline.open()
                return
            except QueueConnectionError as error:
                if monotonic() - since > STORE_PATIENCE:
                    raise
                if str(error) != told:
                    told = str(error)
                    logger.warning("store_awaited", error=told, patience_seconds=STORE_PATIENCE)
            await asyncio.sleep(_STORE_PAUSE)

    def _announce(self) -> None:
        config = self._config
        logger.info(
            "supervisor_started",
            pid=os.getpid(),
            workers=config.workers,
            concurrency=config.concurrency,
            queue_url=shown(config.queue_url),
            queues=",".join(config.queues),
            app=config.app,
            job_types=",".join(self._crew.job_types),
            start_seconds=round(monotonic() - self._since, 3),
        )
        if config.app == DEFAULT_APP:
            logger.info(
                "bundled_examples",
                note="the handlers of portico.examples are served, which fetch any address and "
                "read any file that a job names; give --app yourmodule:app to serve your own",
            )
        if config.queue_url.startswith("memory:"):
            logger.warning(
                "queue_in_memory",
                note="jobs live in this process only: no other process can enqueue, and all of "
                "them are lost when it ends; use sqlite:///portico.db",
            )
        notify.systemd("READY=1")

    def _summary(self) -> int:
        unsettled = self._pipeline.unsettled
        logger.info(
            "supervisor_stopped",
            seconds=round(monotonic() - self._since, 1),
            **asdict(self._pipeline.progress),
            unsettled=unsettled,
        )
        if unsettled:
            logger.error(
                "jobs_unsettled",
                jobs=unsettled,
                note="the store did not take their outcome; they run again when their lease ends",
            )
            return EXIT_UNSETTLED
        return EXIT_DRAINED

    async def _sweep(self, orphans: Orphans) -> None:
        while True:
            await asyncio.sleep(_SWEEP_AGAIN if orphans.behind else _SWEEP)
            crew = self._crew
            orphans.sweep(self._workers(), crew.zygotes, starting=crew.launching)
            self._tell_of_the_store()
            self._board.put(self._pool.at_limit)

    def _tell_of_the_store(self) -> None:
        outage, trouble = self._pipeline.outage, self._queue.trouble()
        waiting = self._pipeline.unsettled
        if outage.on:
            self._notice.put(seconds=outage.seconds, said=outage.said, waiting=waiting)
        elif trouble is not None:
            self._notice.put(seconds=0.0, said=trouble, waiting=waiting)
        else:
            self._notice.clear()

    def _workers(self) -> set[int]:
        """Children whose end others wait for."""
        return {member.process.pid for member in self._crew.members} | self._crew.loading

    # Signals

    def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        actions: dict[signal.Signals, Callable[[], None]] = {
            signal.SIGTERM: lambda: self._stop("SIGTERM"),
            signal.SIGINT: lambda: self._stop("SIGINT"),
            signal.SIGQUIT: self._quit,
            signal.SIGHUP: self._reload,
            signal.SIGTTIN: lambda: self._crew.resize(+1),
            signal.SIGTTOU: lambda: self._crew.resize(-1),
            signal.SIGUSR1: self._dump,
        }
        for number, action in actions.items():
            loop.add_signal_handler(number, action)
        loop.set_exception_handler(self._callback_raised)

    def _callback_raised(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """A reader, a timer or a signal handler of ours raised: better no supervisor than half."""
        error = context.get("exception")
        ours = "handle" in context and isinstance(error, Exception)
        if not ours or self._defect is not None or self._work is None or self._work.done():
            loop.default_exception_handler(context)  # a line in the log, and no more
        elif isinstance(error, Exception):
            self._defect = error
            self._work.cancel()

    def _stop(self, name: str) -> None:
        """First: drain. Second: at once."""
        self._stops += 1
        grace = self._config.shutdown_grace if self._stops == 1 else 0.0
        logger.info(
            "stopping",
            signal=name,
            grace_seconds=grace,
            running=self._pool.running,
            note="a second signal stops at once" if self._stops == 1 else "stopping at once",
        )
        if self._closing and self._stops > 1:
            self._crew.kill_all()
        elif self._working:
            self._pipeline.stop(grace)
        elif self._work is not None:
            self._work.cancel()

    def _quit(self) -> None:
        logger.warning("quit", note="workers are killed, nothing is released")
        self._crew.kill_all()
        os._exit(EXIT_QUIT)

    def _reload(self) -> None:
        if self._stops:
            logger.warning("reload_ignored", note="the supervisor is stopping")
            return
        logger.info("reloading", app=self._config.app)
        reload = asyncio.get_running_loop().create_task(
            self._crew.reload(launcher_of(self._config))
        )
        self._reloads.add(reload)
        reload.add_done_callback(self._reloads.discard)
        reload.add_done_callback(_raise_its_error)

    def _dump(self) -> None:
        for member in self._crew.members:
            running = [str(a.lease.job_id) for a in member.seat.inflight.values()]
            logger.info(
                "worker_state",
                worker=member.number,
                pid=member.process.pid,
                state=member.state.value,
                jobs=len(running),
                first_jobs=running[:5],
            )
            member.process.send(wire.Dump())
        logger.info(
            "supervisor_state",
            waiting=self._pool.waiting,
            confined_types=self._pool.confined,
            **asdict(self._pipeline.progress),
        )


def _in_background(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    task = asyncio.get_running_loop().create_task(work)
    task.add_done_callback(_raise_its_error)
    return task


def _raise_its_error(task: asyncio.Task[Any]) -> None:
    """In a callback of the loop, where it ends the supervisor: nobody awaits this task."""
    if not task.cancelled() and (error := task.exception()):
        raise error


def exit_code_of(error: BaseException) -> int:
    """The exit code for what ended a supervisor."""
    codes: tuple[tuple[type[BaseException], int], ...] = (
        (AppError, EXIT_APP),
        (BootError, EXIT_BOOT),
        (QueueConnectionError, EXIT_STORE),
        (DatabaseError, EXIT_STORE),
        (ConfigurationError, EXIT_CONFIGURATION),
    )
    return next((code for kind, code in codes if isinstance(error, kind)), EXIT_INTERNAL)
