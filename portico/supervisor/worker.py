"""The worker process: born as a copy or afresh, it becomes a loop of its own with slots for jobs.

    birth ─► hello ─► log, page, tray ─► loop: Worker ─► the application closed, exit 0
                                          └ ended by something that a handler left: exit 71

This module never loads a store's driver.
"""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import os
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn

import msgspec

from portico.exceptions import ConfigurationError
from portico.kits.job.failures import failure_of
from portico.supervisor import (
    allocation,
    announcing,
    birth,
    buffers,
    heirs,
    parting,
    persistence,
    printing,
    privileges,
    registry,
    sharing,
    wire,
)
from portico.supervisor.exit import EXIT_APP
from portico.supervisor.framing import MessageReader
from portico.supervisor.imprint import UNTOUCHED, Bare, Imprint
from portico.supervisor.inbox import EXIT_PROTOCOL, Inbox, Outbox
from portico.supervisor.link import Link
from portico.supervisor.running_page import RunningPage
from portico.supervisor.sandbox import enclosure
from portico.supervisor.slots import Worker
from portico.supervisor.spawning import FIRST_FD, Load
from portico.utils.log_output import PipeOutput
from portico.utils.logging import bind_context, get_logger, level_of, log_to

EXIT_ESCAPED = 71
"""Something that a handler left behind ended the loop."""

_UNWIND = 2.0
"""Seconds that tasks have to end which are left when the worker goes."""

logger = get_logger(__name__)


def main() -> NoReturn:
    """Be a worker that was spawned, not forked."""
    allocation.retain()
    birth.be_no_module()
    birth.open_standard_streams()
    load = msgspec.json.decode(sys.argv[1], type=Load)
    limits = msgspec.json.decode(sys.argv[2], type=privileges.Limits)
    walls = enclosure.raised(limits, load.supervisor, forks=False)
    given = birth.Descriptors(*range(FIRST_FD, FIRST_FD + len(birth.Descriptors._fields)))
    birth.close_all_but({0, 1, 2, *given})
    become_worker(load, given, walls)


def become_worker(
    app: Any,
    inherited: birth.Descriptors,
    walls: enclosure.Enclosure,
    imprint: Imprint = UNTOUCHED,
) -> NoReturn:
    """Turn this fresh process into a worker; returns never.

    Args:
        app: what the application's target names, or how it is loaded, here.
        inherited: the ends of the pipes to the supervisor.
        walls: what this process is in already, and parts it from its siblings.
        imprint: what the import has left on the process that was forked.
    """
    code = EXIT_ESCAPED
    try:
        birth.detach_signals()
        birth.own_group()
        fds = birth.settle_descriptors(inherited, imprint.streams)
        sharing.separate(imprint.files)
        faulthandler.enable(file=fds.output)
        _show_stacks(fds.output)
        code = _serve(app, fds, walls, imprint)
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else EXIT_ESCAPED
    except BaseException:  # noqa: BLE001 - the last line of this process
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(BaseException):  # a handler may have put anything there
                stream.flush()
        os._exit(code)  # in disorder: nothing more of the application's is run


def _show_stacks(fd: int) -> None:
    """On a signal, also while a handler is stuck in C with the GIL held."""
    faulthandler.unregister(birth.SIGNAL_FOR_STACKS)
    faulthandler.register(birth.SIGNAL_FOR_STACKS, file=fd, all_threads=False)


def _serve(app: Any, fds: birth.Descriptors, walls: enclosure.Enclosure, imprint: Imprint) -> int:
    reader = wire.reader_of_supervisor()
    hello = _greeting(fds.jobs, reader)
    _begin(hello, fds, walls)
    page, outbox = _shared_with_supervisor(fds)
    if isinstance(app, Load):
        app, imprint = _load(app, outbox, fds)
    imprint.put_on()
    _show_stacks(fds.output)  # again: an application may have had the signal for itself
    low = birth.occupy_low_descriptors()
    worker: Worker | None = None

    async def main() -> bool:
        nonlocal worker
        inbox = Inbox(fds.jobs, reader, asyncio.get_running_loop(), outbox)
        worker = Worker(hello, page, inbox, outbox, Link(outbox))
        worker.attend()
        heirs.disinherit()
        low.close()
        await worker.run(app)
        return await _all_ended()

    if imprint.opened:
        buffers.note()
    gc.freeze()
    runner = asyncio.Runner(loop_factory=_loop_factory(hello.loop))
    try:
        ended = persistence.run(runner, main(), lambda left: worker and worker.contains(left))
        parting.limit(hello.exit_patience)
        if ended:
            runner.close()
    except BaseException as escaped:
        if worker is None or not worker.ready:
            raise
        return _escaped(escaped)
    return parting.leave()


def _begin(hello: wire.Hello, fds: birth.Descriptors, walls: enclosure.Enclosure) -> None:
    """Be the one that was greeted: log what the supervisor passes on, and print so that it knows
    which job does."""
    birth.die_with(hello.supervisor)
    walls.part()
    birth.reseed()
    log_to(PipeOutput(fds.log), level_of(hello.log_level))
    printing.labels.begin(hello.output_key, fds.output)
    bind_context(worker=hello.worker)


def _shared_with_supervisor(fds: birth.Descriptors) -> tuple[RunningPage, Outbox]:
    low = birth.occupy_low_descriptors()
    try:
        page = RunningPage(fds.page)
        return page, Outbox(fds.results, page.tray())
    finally:
        low.close()


def _loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    if name == "asyncio":
        return asyncio.SelectorEventLoop  # whatever policy the application has set
    import uvloop

    return uvloop.new_event_loop


async def _all_ended() -> bool:
    """Cancel what is left on the loop; whether it heeds that. Closing the loop would wait for it
    for ever."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    return not left or not (await asyncio.wait(left, timeout=_UNWIND))[1]


def _escaped(error: BaseException) -> int:
    """Something that a handler left behind has ended the loop. No task is given another turn: it
    could report an end that is none."""
    reason = failure_of(error)
    logger.error(
        "worker_loop_ended",
        error_type=reason.type,
        error=reason.message,
        traceback=reason.traceback,
        note="a handler stopped the loop or closed a descriptor that is not its own, or a task of "
        "the application raised SystemExit; worker_exited names the jobs that were running",
    )
    return EXIT_ESCAPED


def _greeting(fd: int, reader: MessageReader) -> wire.Hello:
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


def _load(load: Load, outbox: Outbox, fds: birth.Descriptors) -> tuple[Any, Imprint]:
    """Spawned, not forked: import the application here."""
    bare = Bare(*fds)
    try:
        return registry.load(load.target, load.folder), bare.take_off(load.target)
    except ConfigurationError as error:
        try:
            outbox.send(announcing.unready(error.message, error.cause))
        except OSError:  # it has closed that, too
            sys.stderr.write(f"portico: {error}\n")
        raise SystemExit(EXIT_APP) from None
