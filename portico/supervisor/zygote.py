"""The zygote: a process that has imported the application and does nothing but fork workers.

Started with a fresh interpreter before any worker, it never runs a loop, a thread or a handler,
so a fork of it is safe and takes milliseconds, and its workers share its memory.

    supervisor ──(seqpacket socket: target, then worker descriptors)──► zygote
                                                       zygote ─fork─► intermediate ─fork─► worker
    supervisor ◄────────(pid)─────────────────────────────┘ (the intermediate exits: the worker is
                                                             the supervisor's own child then)
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import NoReturn

import msgspec

from portico.exceptions import ConfigurationError
from portico.kits.job.failures import failure_of
from portico.supervisor import (
    allocation,
    birth,
    buffers,
    parting,
    privileges,
    registry,
    sharing,
    titles,
)
from portico.supervisor.exit import EXIT_APP
from portico.supervisor.imprint import Bare, Imprint
from portico.supervisor.sandbox import enclosure
from portico.supervisor.spawning import Born, Load, Loaded

CONTROL_FD = 3
_PACKET = 64 * 1024


def main() -> NoReturn:
    """Import the application, then fork a worker per packet until the supervisor hangs up."""
    birth.detach_signals()
    titles.show("portico zygote")
    birth.be_no_module()
    birth.close_all_but({0, 1, 2, CONTROL_FD})
    control = socket.socket(fileno=birth.move_out_of_the_way(CONTROL_FD))
    load = msgspec.msgpack.decode(control.recv(_PACKET), type=Load)
    birth.die_with(load.supervisor)
    birth.own_group()
    limits = msgspec.json.decode(sys.argv[1], type=privileges.Limits)
    walls = enclosure.raised(limits, load.supervisor, forks=True)
    allocation.retain()  # what is set here holds in every copy
    birth.open_standard_streams()
    serve(control, _loaded(control, load, walls), walls.prepare)


def _loaded(
    control: socket.socket, load: Load, walls: enclosure.Enclosure
) -> Callable[[birth.Descriptors], NoReturn]:
    """Import the application, say how that went, and return what makes workers of its copies."""
    bare = Bare(control.fileno())
    app, report = _import(load)
    try:
        imprint = bare.take_off(load.target)
    except ConfigurationError as error:  # there may be no way left to tell the supervisor
        sys.stderr.write(f"portico: {error}\n")
        os._exit(EXIT_APP)
    birth.leave_orphans()
    if not report.error:
        report = Loaded(hazards=sharing.hazards(load.target, imprint.opened))
    _write_out(imprint)
    _tell(control, report)
    if report.error:
        sys.exit(EXIT_APP)
    allocation.give_back()
    gc.freeze()  # without a collection first: freed memory inside of shared pages would be written
    from portico.supervisor.worker import become_worker

    return partial(become_worker, app, walls=walls, imprint=imprint)


def _write_out(imprint: Imprint) -> None:
    """Or each worker would write once more what the application has not written by now."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # whatever the application has put there
            stream.flush()
    if imprint.opened:
        buffers.flush()
        buffers.note()
    else:
        buffers.flush_logs()


def _tell(control: socket.socket, report: Loaded) -> None:
    """Answer the supervisor; one that has given up meanwhile has said why, and that is enough."""
    try:
        control.send(msgspec.msgpack.encode(report))
    except (BrokenPipeError, ConnectionResetError):
        os._exit(0)


def _import(load: Load) -> tuple[object, Loaded]:
    try:
        app = registry.load(load.target, load.folder)
        registry.preload(load.target)
        app = registry.checked(app)
        import uvloop  # noqa: F401 - every worker needs it

        from portico.supervisor import worker  # noqa: F401 - likewise
    except ConfigurationError as error:
        stack = failure_of(error.cause).traceback if error.cause else ""
        return None, Loaded(error.message, stack)
    return app, Loaded()


def serve(
    control: socket.socket,
    become: Callable[[birth.Descriptors], NoReturn],
    prepare: Callable[[], None],
) -> NoReturn:
    """Fork a worker for every packet of descriptors; `prepare` is done before, and `become` is what
    it does then."""
    while True:
        packet, fds, _flags, _address = socket.recv_fds(
            control, _PACKET, len(birth.Descriptors._fields)
        )
        if not packet:
            parting.limit(parting.PATIENCE)
            parting.leave()
        prepare()
        try:
            born = Born(_fork(control, partial(become, birth.Descriptors(*fds))))
        except (OSError, TypeError) as error:
            born = Born(error=f"{type(error).__name__}: {error}")
        for fd in fds:
            os.close(fd)
        with suppress(BrokenPipeError):  # it hung up: the next look at the socket says so
            control.send(msgspec.msgpack.encode(born))


def _fork(control: socket.socket, become: Callable[[], NoReturn]) -> int:
    """Fork twice; the intermediate exits before this returns, so the supervisor has the worker."""
    reading, writing = os.pipe()
    try:
        intermediate = birth.fork()
        if intermediate == 0:
            os.close(reading)
            _between(control, writing, become)
        os.close(writing)
        writing = -1
        os.waitpid(intermediate, 0)
        told = os.read(reading, 16)
    finally:
        os.close(reading)
        if writing >= 0:
            os.close(writing)
    if not told:
        raise OSError("the second fork failed")
    return int(told)


def _between(control: socket.socket, writing: int, become: Callable[[], NoReturn]) -> NoReturn:
    try:
        worker = birth.fork()
    except OSError:
        os._exit(1)
    if worker:
        os.write(writing, str(worker).encode())
        os._exit(0)
    os.close(writing)
    control.close()
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    gc.enable()
    parting.begin_anew()
    become()
