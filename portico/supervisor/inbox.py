"""A worker's control thread: it owns the job pipe, and what has not been started yet.

The loop of a worker may be blocked for minutes by a handler; this thread answers all the same, as
soon as the GIL lets it in: it gives back waiting jobs, cancels, dumps stacks. It ends the process
when the supervisor is gone.

    job pipe ──► control thread ──► waiting (deque) ──► the loop's slots
                     └── recall, dump: answered ──► speaker thread ──► result pipe

It never writes: the supervisor may read no more of what the loop asks until somebody has read its
answers, and those come here. What it has to say a thread says that may wait, once there is any.

What waits while the GIL is held is withdrawn by the page (`running_page`), and turned down when the
loop comes to it.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import NamedTuple, NoReturn

from portico.ports.leasing import Failure, Lease
from portico.supervisor import wire
from portico.supervisor.framing import FrameError, MessageReader
from portico.supervisor.tray import ROOM, Tray

_READ = 256 * 1024
_DISOWNED = -1
EXIT_PROTOCOL = 72
"""The supervisor sent what is no frame of ours: versions are mixed."""


class Errand(NamedTuple):
    """One thing for a slot to do: run a job, or mourn an attempt that ended elsewhere."""

    serial: int
    lease: Lease
    failure: Failure | None = None
    """Set: only `on_failure` is to be run."""


class Outbox:
    """The result pipe. Whole frames, from the loop and from the control thread.

    Results gather in the tray until `flush`, or until anything else is sent: the supervisor hears
    of everything in the order in which it happened.
    """

    def __init__(self, fd: int, tray: Tray) -> None:
        self._fd = fd
        self._tray = tray
        self._lock = threading.Lock()
        os.register_at_fork(after_in_child=self._disown)

    def done(self, serial: int, result: bytes, elapsed: float) -> None:
        """A handler has succeeded: from here on its worker's death does not undo it."""
        if len(result) >= ROOM:
            self.send(wire.Done(serial, result, elapsed))
            return
        item = wire.end_item(serial, result, elapsed)
        with self._lock:
            if self._fd == _DISOWNED:
                _end_stray()
            if self._tray.put(item):
                return
            self._flush()
            if not self._tray.put(item):
                self._write(wire.frame(wire.Done(serial, result, elapsed)))

    def flush(self) -> None:
        """Write what has gathered."""
        if self._tray.count:
            with self._lock:
                self._flush()

    def send(self, message: wire.FromWorker) -> None:
        """Write one frame; returns when the pipe has it. Ends the process when nobody reads."""
        data = wire.frame(message)
        with self._lock:
            self._flush()
            self._write(data)

    def _flush(self) -> None:
        if self._tray.count:
            self._write(wire.batch_frame(self._tray.gathered()))
            self._tray.clear()

    def _write(self, data: bytes | bytearray) -> None:
        try:
            sent = os.write(self._fd, data)
            while sent < len(data):
                sent += os.write(self._fd, data[sent:])
        except BrokenPipeError:
            os._exit(0)
        except OSError:
            if self._fd != _DISOWNED:
                raise
            _end_stray()

    def _disown(self) -> None:
        """A handler has forked: what its child reports is no outcome of ours."""
        self._fd = _DISOWNED
        self._lock = threading.Lock()  # it may have been held


def _end_stray() -> NoReturn:
    os.write(2, b"portico worker: a forked child came back from a handler; it is ended\n")
    os._exit(1)


class Inbox:
    """Jobs that wait for a slot. `take`, `arrival` and `close` are the loop's, the rest is the
    thread's."""

    def __init__(
        self,
        fd: int,
        reader: MessageReader,
        loop: asyncio.AbstractEventLoop,
        outbox: Outbox,
    ) -> None:
        self._fd = fd
        self._reader = reader
        self._loop = loop
        self._outbox = outbox
        self._waiting: deque[Errand] = deque()
        self._hooks: deque[Errand] = deque()
        """Each `on_failure` for another attempt: they go first."""
        self._arrived = asyncio.Event()
        self._idle = False
        self._said: SimpleQueue[wire.FromWorker] | None = None
        """By the control thread, and not written yet."""
        self.closing = False
        self.on_cancel: Callable[[int, bool], None] = lambda *_: None
        self.on_answer: Callable[[wire.Answer], None] = lambda _: None

    def start(self) -> None:
        """Start the control thread."""
        threading.Thread(target=self._control, name="portico-control", daemon=True).start()

    def take(self) -> Errand | None:
        """The next errand, or `None` when none waits."""
        try:
            return (self._hooks or self._waiting).popleft()
        except IndexError:  # none waits, or the thread has just taken the last
            return None

    def turn_down(self, errand: Errand, withdrawn: int) -> None:
        """Give back what the supervisor has withdrawn: this one, and all that wait and were given
        before that."""
        serials = [errand.serial]
        for part in (self._hooks, self._waiting):
            with suppress(IndexError):
                while (first := part.popleft()).serial <= withdrawn:
                    serials.append(first.serial)
                part.appendleft(first)
        self._outbox.send(wire.Recalled(serials))

    @property
    def empty(self) -> bool:
        """Whether nothing waits."""
        return not self._waiting and not self._hooks

    async def arrival(self) -> None:
        """Return when an errand may wait, or the inbox is closing."""
        self._idle = True
        if self.empty and not self.closing:  # looked at again, after the flag was up
            await self._arrived.wait()
        self._arrived.clear()

    def close(self) -> None:
        """Give back what waits and take no more; called on the loop."""
        self.closing = True
        self._outbox.send(self._recalled())
        self._arrived.set()

    def _control(self) -> None:
        try:
            while data := os.read(self._fd, _READ):
                for message in self._reader.feed(data):
                    self._obey(message)
        except FrameError as error:
            os.write(2, f"portico worker: {error}\n".encode())
            os._exit(EXIT_PROTOCOL)
        except OSError:
            pass
        os._exit(0)  # the supervisor is gone: nobody can be told how a job ends

    def _obey(self, message: wire.ToWorker) -> None:
        match message:
            case wire.Run(first, leases):
                self._waiting.extend(
                    Errand(serial, lease) for serial, lease in enumerate(leases, first)
                )
                self._wake()
            case wire.Mourn(serial, lease, failure):
                self._hooks.append(Errand(serial, lease, failure))
                self._wake()
            case wire.Recall():
                self._say(self._recalled())
            case wire.Cancel(serial, requested):
                self._cancel(serial, requested)
            case wire.Answer():
                self._soon(self.on_answer, message)
            case wire.Dump():
                self._say(wire.Dumped(stacks(self._loop)[: wire.MAX_STACKS]))
            case wire.Stop():
                self._soon(self.close)
            case wire.Hello():
                raise FrameError("a second hello")
        if self.closing:
            self._say(self._recalled())

    def _say(self, message: wire.FromWorker) -> None:
        if self._said is None:
            self._said = SimpleQueue()
            threading.Thread(target=self._speak, name="portico-speaker", daemon=True).start()
        self._said.put(message)

    def _speak(self) -> None:
        assert self._said is not None
        with suppress(OSError):
            while True:
                self._outbox.send(self._said.get())
        os._exit(0)  # as in `_control`

    def _soon(self, act: Callable[..., None], *arguments: object) -> None:
        with suppress(RuntimeError):  # the loop is closed: this worker is on its way out
            self._loop.call_soon_threadsafe(act, *arguments)

    def _wake(self) -> None:
        if self._idle:
            self._idle = False
            self._soon(self._arrived.set)

    def _recalled(self) -> wire.Recalled:
        """Take back what waits, from the far end, so that the loop may go on with the near one."""
        serials: list[int] = []
        for part in (self._waiting, self._hooks):
            with suppress(IndexError):
                while True:
                    serials.append(part.pop().serial)
        return wire.Recalled(serials[::-1], self.closing)

    def _cancel(self, serial: int, requested: bool) -> None:  # noqa: FBT001 - as on the wire
        for part in (self._waiting, self._hooks):
            for errand in list(part):
                if errand.serial == serial:
                    try:
                        part.remove(errand)
                    except ValueError:
                        break  # the loop has just taken it
                    self._say(wire.Recalled([serial]))
                    return
        self._soon(self.on_cancel, serial, requested)


def stacks(loop: asyncio.AbstractEventLoop) -> str:
    """The stacks of all threads, and of all tasks of the loop, as text."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    lines = []
    for ident, frame in sys._current_frames().items():
        lines.append(f"thread {names.get(ident, ident)}:")
        lines.extend(line.rstrip() for line in traceback.format_stack(frame))
    for task in asyncio.all_tasks(loop):
        lines.append(f"task {task.get_name()}:")
        for frame in task.get_stack():
            lines.extend(line.rstrip() for line in traceback.format_stack(frame, limit=1))
    return "\n".join(lines)
