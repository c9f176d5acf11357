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
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from time import monotonic

from portico.supervisor import evidence, wire
from portico.supervisor.birth import Descriptors
from portico.supervisor.exit import Exit
from portico.supervisor.launch import Launcher
from portico.supervisor.output import OutputLog
from portico.supervisor.printing import NOBODY, Job
from portico.supervisor.reaping import reap
from portico.supervisor.running_page import RunningPage
from portico.supervisor.trackers import kill_group

_READ = 256 * 1024
_PIPE_SIZE = 1024 * 1024
_LAST_READS = 64
"""Reads of the result pipe after a death: more than a pipe can hold. A process that outlives the
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

    def exited(self, worker: WorkerProcess, status: Exit) -> None:
        """The process is gone; every frame that it wrote has been received."""


class WorkerProcess:
    """One worker, from its pipes' creation to its death."""

    def __init__(self, number: int, slots: int, listener: Listener, log_fd: int) -> None:
        self.number = number
        self.pid = 0
        self.born = monotonic()
        """Before its start was asked for (`time.monotonic()`)."""
        self.alive = False
        self._listener = listener
        self._log_fd = log_fd
        self._loop = asyncio.get_running_loop()
        self._reader = wire.reader_of_worker()
        self._unsent: deque[bytearray | memoryview] = deque()
        self.output = OutputLog(number)
        self.output.running = partial(listener.runs, self)
        self.page = RunningPage.create(slots)
        self._tray = self.page.tray()
        self._batches = 0
        """How many frames of results have arrived."""
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
                self._output, output_in = _pipe(ours, theirs, None)
                fds = Descriptors(jobs_out, results_in, self.page.fd, output_in, self._log_fd)
                self.pid = await launcher.launch(fds)
            self._watch = watch(self.pid, self._loop, self._died)
            ours.pop_all()
        for fd in (self._jobs, self._results, self._output):
            os.set_blocking(fd, False)
        self.output.reader.key = hello.output_key
        self.alive = True
        self._loop.add_reader(self._results, self._readable)
        self._loop.add_reader(self._output, self._print)
        self.send(hello)

    def send(self, message: wire.ToWorker) -> None:
        """Write a frame, now or as soon as the pipe has room; lost when the process is gone."""
        if not self.alive:
            return
        self._unsent.append(wire.frame(message))
        if len(self._unsent) == 1:
            self._write()

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal; for SIGKILL, to everything in the worker's group (see `trackers`)."""
        if not self.alive:
            return
        with suppress(ProcessLookupError, PermissionError):
            os.kill(self.pid, number)
        if number == signal.SIGKILL:
            with suppress(ProcessLookupError, PermissionError):
                kill_group(self.pid)

    def _write(self) -> None:
        try:
            while self._unsent:
                data = self._unsent[0]
                sent = os.write(self._jobs, data)
                if sent < len(data):
                    self._unsent[0] = memoryview(data)[sent:]  # no copy of what is left
                else:
                    self._unsent.popleft()
        except BlockingIOError:
            self._loop.add_writer(self._jobs, self._write)
            return
        except OSError:  # it is dying; the handle will say so
            self._unsent.clear()
        self._loop.remove_writer(self._jobs)

    def _readable(self) -> bool:
        """Take what the pipe holds, a bounded amount; whether there may be more."""
        try:
            data = os.read(self._results, _READ)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self._loop.remove_reader(self._results)
            return False
        return self._receive(self._reader, data)

    def _receive(self, reader: wire.MessageReader, data: bytes) -> bool:
        messages: list[wire.FromWorker] = []
        intact = True
        try:
            for message in reader.feed(data):  # what stands before a bad frame counts
                self._look_at(message)
                messages.append(message)
        except wire.FrameError as error:
            self._loop.remove_reader(self._results)
            self.output.note("frame_invalid", error=str(error), pid=self.pid)
            self.kill()
            intact = False
        if messages:
            self._listener.received(self, messages)
        return intact

    def _look_at(self, message: wire.FromWorker) -> None:
        if type(message) is wire.Batch:
            if message.number != self._batches + 1:
                raise wire.FrameError(f"results number {message.number}, not {self._batches + 1}")
            self._batches += 1
        elif type(message) is wire.Ended:
            self._witness(message)

    def _witness(self, ended: wire.Ended) -> None:
        """Add what this side knows of an attempt to what the worker says of it."""
        self._print()  # what it has printed so far is in the other pipe
        since = self.page.started().get(ended.serial, float("inf"))
        output = self.output.since(since)
        seen = evidence.claimed(ended.failure.evidence, self.pid, output)
        ended.failure = ended.failure._replace(evidence=seen)

    def _print(self) -> None:
        if not self.output.read(self._output):
            self._loop.remove_reader(self._output)

    def _died(self) -> None:
        with suppress(ProcessLookupError, PermissionError):
            kill_group(self.pid)  # what it started; its own pid is not reaped yet
        status = reap(self.pid)
        self.alive = False  # from here on its number may be somebody else's
        with ExitStack() as stack:  # whatever is raised, a dead worker is gone for everybody
            stack.callback(self._close)
            stack.callback(self._listener.exited, self, status)
            self._read_last_words()

    def _read_last_words(self) -> None:
        for _ in range(_LAST_READS):
            if not self._readable():
                break
        if self._reader.truncated:
            self.output.note("frame_truncated", pid=self.pid)
        if left := self._tray.left(self._batches):
            self._receive(wire.reader_of_worker(), wire.batch_frame(left))
        self._print()
        self.output.flush()

    def _close(self) -> None:
        self._watch()
        for fd in (self._results, self._output):
            self._loop.remove_reader(fd)
        self._loop.remove_writer(self._jobs)
        for fd in (self._jobs, self._results, self._output):
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
