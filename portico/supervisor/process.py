"""One worker process, seen from its supervisor: pipes, shared page, output, death.

A death is seen on the process handle alone (pidfd), never by end-of-file, which any process that
inherited the pipe can hide, and never by asking. After it the result pipe is read to its end, and
then the tray, before anything is concluded: an outcome that was written to either counts.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from time import monotonic

from portico.supervisor import evidence, outflow, wire
from portico.supervisor.allowance import Allowance
from portico.supervisor.birth import Descriptors
from portico.supervisor.exit import Exit
from portico.supervisor.framing import FrameError
from portico.supervisor.hearing import Hearing
from portico.supervisor.intake import Intake
from portico.supervisor.launch import Launcher
from portico.supervisor.outflow import Outflow
from portico.supervisor.printing import NOBODY, Job
from portico.supervisor.reaping import reap
from portico.supervisor.running_page import RunningPage
from portico.supervisor.trackers import kill_group

_PIPE_SIZE = 1024 * 1024
_LAST_READS = 16
"""Of the result pipe after a death: more than a pipe can hold. A process that outlives the
worker may go on writing for ever."""
_POLL = 0.02
"""Seconds between two looks at a child where the system has no process handles (macOS)."""


class Listener:
    """What a worker's owner is told. The default does nothing."""

    def received(self, worker: WorkerProcess, messages: Sequence[wire.FromWorker]) -> None:
        """Frames arrived, in this order."""

    def runs(self, worker: WorkerProcess) -> Job:  # noqa: ARG002 - nobody knows
        """Asked for the job that it runs, if that is one."""
        return NOBODY

    def vouch(self, worker: WorkerProcess, job_id: str, attempt: object) -> Job:  # noqa: ARG002
        """Asked for the job of which it says something: it has that, or else it runs this one."""
        return NOBODY

    def exited(self, worker: WorkerProcess, status: Exit) -> None:
        """The process is gone; every frame that it wrote has been received."""


class WorkerProcess:
    """One worker, from its pipes' creation to its death."""

    def __init__(self, number: int, slots: int, listener: Listener) -> None:
        self.number = number
        self.pid = 0
        self.born = monotonic()
        """Before its start was asked for (`time.monotonic()`)."""
        self.alive = False
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._intake = Intake(wire.reader_of_worker(), self._take, self._refuse)
        self._outflow = Outflow(self._answers_unread)
        self._hearing = Hearing(number, partial(listener.vouch, self), partial(listener.runs, self))
        self.output = self._hearing.output
        self.page = RunningPage.create(slots)
        self._tray = self.page.tray()
        self._allowance = Allowance()
        self._watch: Callable[[], None] = lambda: None

    async def start(self, launcher: Launcher, hello: wire.Hello) -> None:
        """Launch the process and greet it.

        Raises:
            SpawnError, OSError: it could not be started; nothing is left open.
        """
        with ExitStack() as ours:
            ours.callback(self._close_memory)
            with ExitStack() as theirs:
                jobs_out, self._jobs = _pipe(theirs, ours)
                self._results, results_in = _pipe(ours, theirs)
                output, output_in = _pipe(ours, theirs, None)
                log, log_in = _pipe(ours, theirs, None)
                os.set_blocking(log_in, False)
                fds = Descriptors(jobs_out, results_in, self.page.fd, output_in, log_in)
                self.pid = await launcher.launch(fds)
            self._watch = watch(self.pid, self._loop, self._died)
            ours.pop_all()
        for fd in (self._jobs, self._results):
            os.set_blocking(fd, False)
        self.alive = True
        self._outflow.open(self._jobs)
        self._intake.open(self._results)
        self._hearing.begin(output, log, hello.output_key)
        self.send(hello)

    def send(self, message: wire.ToWorker) -> None:
        """Write a frame, now or as soon as the pipe has room; lost when the process is gone."""
        if not self.alive:
            return
        self._allowance.sent(message)
        self._outflow.send(wire.frame(message), answer=type(message) is wire.Answer)

    @property
    def full(self) -> bool:
        """Whether it has left too many answers unread to be given more."""
        return self._outflow.full

    def call_on_room(self, act: Callable[[], None]) -> None:
        """Have something done each time that it is full no more, and when it is gone."""
        self._outflow.on_room = act

    def hold(self, *, held: bool) -> None:
        """Read nothing more of what it says for now, or go on."""
        self._intake.hold("requests", held=held)

    def collected(self) -> None:
        """What it has reported so far is in other hands: it may report more."""
        self._intake.collected()

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal; for SIGKILL, to everything in the worker's group (see `trackers`)."""
        if not self.alive:
            return
        with suppress(ProcessLookupError, PermissionError):
            os.kill(self.pid, number)
        if number == signal.SIGKILL:
            with suppress(ProcessLookupError, PermissionError):
                kill_group(self.pid)

    def _take(self, messages: Sequence[wire.FromWorker]) -> None:
        """Hand on the frames of a turn, up to the first that cannot be."""
        self._hearing.catch_up()  # what it has printed and logged before that
        for count, message in enumerate(messages):
            try:
                self._look_at(message)
            except FrameError:
                if count:
                    self._listener.received(self, messages[:count])
                raise
        self._listener.received(self, messages)

    def _look_at(self, message: wire.FromWorker) -> None:
        self._allowance.check(message)
        if type(message) is wire.Ended:
            self._witness(message)

    def _witness(self, ended: wire.Ended) -> None:
        """Add what this side knows of an attempt to what the worker says of it."""
        since = self.page.started().get(ended.serial, float("inf"))
        output = self.output.since(since)
        seen = evidence.claimed(ended.failure.evidence, self.pid, output)
        ended.failure = ended.failure._replace(evidence=seen)

    def _answers_unread(self, size: int) -> None:
        self.output.note(
            "answers_unread",
            **self._listener.runs(self).facts(),
            pid=self.pid,
            bytes=size,
            seconds=outflow.PATIENCE,
            action="the worker is killed, which counts against what it runs: it asked for them, "
            "and reads nothing; have the handler ask for less at a time",
        )
        self.kill()

    def _refuse(self, error: FrameError) -> None:
        self.output.note("frame_invalid", error=str(error), pid=self.pid)
        self.kill()

    def _died(self) -> None:
        with suppress(ProcessLookupError, PermissionError):
            kill_group(self.pid)  # what it started; its own pid is not reaped yet
        status = reap(self.pid)
        self.alive = False  # from here on its number may be somebody else's
        self._watch()
        self._outflow.drop()
        self._intake.close()
        with ExitStack() as stack:
            stack.callback(self._take_rest, status, self._intake.reads + _LAST_READS)
            self._hearing.hear_out()

    def _take_rest(self, status: Exit, most: int) -> None:
        """Take what it has left in its pipe, turn by turn, and conclude."""
        with ExitStack() as stack:  # whatever is raised, a dead worker is gone for everybody
            stack.callback(self._conclude, status)
            if self._intake.reads < most and self._intake.turn():
                self._loop.call_soon(self._take_rest, status, most)
                stack.pop_all()

    def _conclude(self, status: Exit) -> None:
        with ExitStack() as stack:
            stack.callback(self._close)
            stack.callback(self._listener.exited, self, status)
            self._read_last_words()

    def _read_last_words(self) -> None:
        if self._intake.truncated:
            self.output.note("frame_truncated", pid=self.pid)
        if left := self._tray.left(self._allowance.batches):
            try:
                self._take(list(wire.reader_of_worker().feed(wire.batch_frame(left))))
            except FrameError as error:
                self._refuse(error)

    def _close(self) -> None:
        self._hearing.close()
        for fd in (self._jobs, self._results):
            os.close(fd)
        self._close_memory()

    def _close_memory(self) -> None:
        self._tray.close()
        self.page.close()


def _pipe(reader: ExitStack, writer: ExitStack, size: int | None = _PIPE_SIZE) -> tuple[int, int]:
    """A pipe whose ends are closed with these stacks."""
    reading, writing = os.pipe()
    reader.callback(os.close, reading)
    writer.callback(os.close, writing)
    if size is not None:
        with suppress(OSError, AttributeError):  # a larger pipe is a kindness, not a need
            fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, size)
    return reading, writing


def watch(
    pid: int, loop: asyncio.AbstractEventLoop, died: Callable[[], None]
) -> Callable[[], None]:
    """Call `died` once, when this child is a zombie; returns what ends the watch."""
    if not hasattr(os, "pidfd_open"):
        return _poll(pid, loop, died)
    fd = os.pidfd_open(pid)

    def readable() -> None:
        loop.remove_reader(fd)
        died()

    def end() -> None:
        loop.remove_reader(fd)
        os.close(fd)

    loop.add_reader(fd, readable)
    return end


def _poll(
    pid: int, loop: asyncio.AbstractEventLoop, died: Callable[[], None]
) -> Callable[[], None]:
    handle: asyncio.TimerHandle | None = None

    def look() -> None:
        nonlocal handle
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            handle = loop.call_later(_POLL, look)
        else:
            died()

    handle = loop.call_later(_POLL, look)

    def end() -> None:
        if handle is not None:
            handle.cancel()

    return end
