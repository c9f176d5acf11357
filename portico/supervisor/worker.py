"""The worker process: a loop of its own, the application's handlers, and slots that run jobs.

    control thread ── waiting ──► slot ─► page.begin ─► execution.run ─► handler.handle
                                   ▲                                  └► handler.on_failure
                                   └──────────── Done | Ended (Mourned) ──► result pipe

A slot writes a job's outcome before it takes the next one, so that after a death every job whose
handler had returned has been reported. This module never loads a store's driver.
"""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import os
import signal
import sys
import traceback
from contextlib import AsyncExitStack
from time import perf_counter
from typing import Any, NoReturn

from portico.exceptions import ConfigurationError
from portico.kits.job.execution import Execution, listens
from portico.kits.job.handlers import Handlers
from portico.kits.job.job_service import JobService
from portico.ports.job_executor import Completed, Verdict
from portico.ports.leasing import Lease
from portico.ports.worker_context import WorkerContext
from portico.supervisor import birth, registry, wire
from portico.supervisor.inbox import EXIT_PROTOCOL, Errand, Inbox, Outbox
from portico.supervisor.link import Link, PipeQueue
from portico.supervisor.running_page import RunningPage
from portico.utils.logging import bind_context, configure_logging, get_logger

EXIT_ESCAPED = 71
"""Something that a handler left behind ended the loop."""
EXIT_APP = 4

_READ = 64 * 1024


class Worker:
    """Runs the jobs of one worker process."""

    def __init__(
        self, hello: wire.Hello, page: RunningPage, inbox: Inbox, outbox: Outbox, link: Link
    ) -> None:
        self._hello = hello
        self._page = page
        self._inbox = inbox
        self._outbox = outbox
        self._link = link
        self._loop = asyncio.get_running_loop()
        self._running: dict[int, tuple[Lease, asyncio.Task[Verdict], float]] = {}
        self._execution: Execution

    async def run(self, app: Any) -> None:
        """Open the application, run jobs until told to stop, close the application."""
        self._inbox.on_cancel = self._cancel
        self._inbox.on_answer = self._link.answered
        self._inbox.start()
        self._loop.add_signal_handler(signal.SIGTERM, self._inbox.close)
        async with AsyncExitStack() as stack:
            try:
                handlers = await registry.open_app(app, self._context(), stack)
            except Exception as error:  # noqa: BLE001 - the application may raise anything
                self._outbox.send(wire.Unready(_reason(error), traceback.format_exc()))
                raise SystemExit(EXIT_APP) from None
            self._execution = Execution(
                handlers,
                on_failure_timeout=self._hello.on_failure_timeout,
                retry_returned_failures=self._hello.retry_returned_failures,
                on_failing=self._failing,
            )
            self._outbox.send(wire.Ready(wire.VERSION, sorted(handlers), _mourners(handlers)))
            await asyncio.gather(*(self._slot(n) for n in range(self._hello.concurrency)))

    def _context(self) -> WorkerContext:
        queue = PipeQueue(self._link)
        return WorkerContext(
            job_creator=JobService(queue),
            job_queue=queue,
            worker=self._hello.worker,
            logger=get_logger("portico.worker").bind(worker=self._hello.worker),
        )

    async def _slot(self, slot: int) -> None:
        """Run one errand after another."""
        inbox, page = self._inbox, self._page
        while not inbox.closing:
            errand = inbox.take()
            if errand is None:
                await inbox.arrival()
                continue
            page.begin(slot, errand.serial)
            if errand.failure is None:
                await self._attempt(errand)
            else:
                await self._loop.create_task(self._execution.mourn(errand.lease, errand.failure))
                self._outbox.send(wire.Mourned(errand.serial))

    async def _attempt(self, errand: Errand) -> None:
        serial, lease, _ = errand
        started = perf_counter()
        task = self._loop.create_task(self._execution.run(lease, self._hello.job_timeout))
        self._running[serial] = (lease, task, started)
        try:
            await task
        except BaseException:
            if not task.done():  # it is this slot that ends, not its job
                raise
        verdict = self._execution.verdict(task)
        if self._running.pop(serial, None) is None:
            self._outbox.send(wire.Mourned(serial))  # its end was reported before on_failure
        elif type(verdict) is Completed:
            self._outbox.send(wire.Done(serial, verdict.result, perf_counter() - started))
        else:
            elapsed = perf_counter() - started
            self._outbox.send(wire.Ended.of(serial, verdict, elapsed, mourning=False))

    def _failing(self, lease: Lease, verdict: Verdict) -> None:
        """Report an attempt that has failed, before its `on_failure` runs."""
        for serial, (running, _, started) in self._running.items():
            if running is lease:
                elapsed = perf_counter() - started
                self._outbox.send(wire.Ended.of(serial, verdict, elapsed, mourning=True))
                del self._running[serial]
                return

    def _cancel(self, serial: int, requested: bool) -> None:  # noqa: FBT001 - as on the wire
        if running := self._running.get(serial):
            stop = self._execution.cancel if requested else self._execution.interrupt
            stop(running[1])


def _mourners(handlers: Handlers) -> list[str]:
    """The types whose handler has an `on_failure` of its own."""
    return sorted(job_type for job_type, handler in handlers.items() if listens(handler))


def _reason(error: BaseException) -> str:
    if isinstance(error, ConfigurationError):
        return error.message
    return f"opening the app failed: {type(error).__name__}: {error}"


def become_worker(app: Any, inherited: birth.Descriptors) -> NoReturn:
    """Turn this fresh process into a worker; returns never."""
    code = EXIT_ESCAPED
    try:
        birth.detach_signals()
        birth.own_group()
        fds = birth.settle_descriptors(inherited)
        faulthandler.enable(file=sys.stderr)
        faulthandler.register(birth.SIGNAL_FOR_STACKS, file=sys.stderr, all_threads=False)
        code = _serve(app, fds)
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else EXIT_ESCAPED
    except BaseException:  # noqa: BLE001 - the last line of this process
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # no exit handlers: they belong to the process that was forked


def _serve(app: Any, fds: birth.Descriptors) -> int:
    reader = wire.reader_of_supervisor()
    hello = _greeting(fds.jobs, reader)
    birth.die_with(hello.supervisor)
    birth.reseed()
    configure_logging(
        log_level=hello.log_level,
        log_format=hello.log_format,
        stream=os.fdopen(fds.log, "wb", buffering=0, closefd=False),
    )
    bind_context(worker=hello.worker)
    page = RunningPage(fds.page)
    if isinstance(app, str):
        app = _load(app, fds)
    import uvloop

    async def main() -> None:
        outbox = Outbox(fds.results)
        inbox = Inbox(fds.jobs, reader, asyncio.get_running_loop(), outbox)
        await Worker(hello, page, inbox, outbox, Link(outbox)).run(app)

    gc.freeze()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
    return 0


def _greeting(fd: int, reader: wire.MessageReader) -> wire.Hello:
    """Read the first frame, byte by byte after its length: what follows is the thread's to read."""
    head = os.read(fd, 4)
    if len(head) < 4:  # noqa: PLR2004 - the length of a length
        os._exit(0)
    body = b""
    while len(body) < (size := int.from_bytes(head, "little")):
        body += os.read(fd, size - len(body)) or os._exit(0)
    (hello,) = reader.feed(head + body)
    if not isinstance(hello, wire.Hello):
        os._exit(EXIT_PROTOCOL)
    return hello


def _load(target: str, fds: birth.Descriptors) -> Any:
    """Spawned, not forked: import the application here."""
    try:
        return registry.load(target)
    except ConfigurationError as error:
        cause = "".join(traceback.format_exception(error.cause)) if error.cause else ""
        Outbox(fds.results).send(wire.Unready(error.message, cause))
        raise SystemExit(EXIT_APP) from None


if __name__ == "__main__":
    become_worker(sys.argv[1], birth.Descriptors(*range(3, 3 + len(birth.Descriptors._fields))))
