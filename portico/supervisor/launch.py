"""The two ways to start a worker: forked from a zygote, or as a new interpreter.

Both give a process that is the supervisor's own child. Neither forks the process that runs the
loop: a new interpreter is started with `posix_spawn`, and the zygote forks for us.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Collection
from contextlib import suppress

import msgspec

from portico.exceptions import PorticoError
from portico.supervisor.birth import Descriptors
from portico.supervisor.exit import EXIT_APP
from portico.supervisor.output import OutputLog
from portico.supervisor.privileges import DEFAULT_LIMITS, Limits
from portico.supervisor.reaping import end_of, has_ended
from portico.supervisor.spawning import (
    Born,
    Loaded,
    SpawnError,
    Zygote,
    spawn_worker,
    start_zygote,
)
from portico.utils.logging import get_logger

_PACKET = 64 * 1024
_BOOT = 120.0
"""Seconds that importing the application may take."""
_FORK = 30.0
"""Seconds that a fork may take: it takes milliseconds, unless the zygote hangs."""

logger = get_logger(__name__)


class AppError(PorticoError):
    """The application cannot be imported or opened."""


class BootError(PorticoError):
    """The workers, or what they are forked from, keep dying before they are ready."""


class _OverdueError(SpawnError):
    """Something took too long, and was killed."""


class Launcher(ABC):
    """Starts worker processes."""

    pid = 0
    """Of the process that it keeps for that, if any."""

    @abstractmethod
    async def start(self) -> None:
        """Get ready to launch.

        Raises:
            AppError: the application cannot be imported.
            SpawnError, OSError: not now; the process that was to import it was killed, perhaps.
        """

    @abstractmethod
    async def launch(self, fds: Descriptors) -> int:
        """Start a worker with these descriptors and return its pid.

        Raises:
            SpawnError: not now: out of processes, memory or descriptors.
        """

    @abstractmethod
    def close(self) -> None:
        """Launch no more; running workers stay."""

    async def end(self, patience: float) -> None:  # noqa: ARG002 - nothing is kept here
        """The same, and return when the process that it keeps has ended, or the seconds are up."""
        self.close()


class SpawnLauncher(Launcher):
    """A new interpreter per worker: for applications that cannot be forked, and off Linux."""

    def __init__(
        self, target: str, limits: Limits = DEFAULT_LIMITS, pass_env: Collection[str] = ()
    ) -> None:
        """Build it; nothing is started.

        Args:
            target: the application.
            limits: what binds the workers.
            pass_env: names of the supervisor's own variables that they have, too.
        """
        self._target = target
        self._limits = limits
        self._pass_env = pass_env

    async def start(self) -> None:
        """Nothing to prepare: each worker imports the application by itself."""

    async def launch(self, fds: Descriptors) -> int:
        return spawn_worker(self._target, self._limits, fds, self._pass_env)

    def close(self) -> None:
        """Nothing to let go of."""


class ZygoteLauncher(Launcher):
    """Workers forked from a process that has the application loaded."""

    def __init__(
        self,
        target: str,
        limits: Limits = DEFAULT_LIMITS,
        early: Zygote | None = None,
        pass_env: Collection[str] = (),
    ) -> None:
        """Build it; nothing is started.

        Args:
            target: the application.
            limits: what binds the workers.
            early: a zygote for both that was started before; it is used first.
            pass_env: names of the supervisor's own variables that workers have, too.
        """
        self._target = target
        self._limits = limits
        self._pass_env = pass_env
        self._early = early
        self._control: socket.socket | None = None
        self._replies: deque[asyncio.Future[bytes]] = deque()
        self._handle: int | None = None
        """The process itself; its number may be somebody else's once it was collected."""
        self._output: int | None = None
        self._printed = OutputLog()

    async def start(self) -> None:
        zygote, self._early = self._early, None
        zygote = zygote or start_zygote(self._target, self._limits, self._pass_env)
        self.pid, self._handle, self._control, self._output = zygote
        loop = asyncio.get_running_loop()
        loop.add_reader(self._control, self._received)
        loop.add_reader(self._output, self._print)
        loaded = await self._loaded()
        self._print()
        self._printed.flush()  # what it has printed while it imported is whole
        if loaded.error:
            self.close()
            raise AppError(loaded.error, {"traceback": loaded.traceback})
        for hazard in loaded.hazards:
            logger.warning(hazard.event, warning=hazard.text)

    async def _loaded(self) -> Loaded:
        """What the zygote says when it has loaded the application, if it comes to that."""
        assert self._handle is not None
        assert self._output is not None
        handle, output = os.dup(self._handle), os.dup(self._output)
        try:
            reply = await self._reply(_BOOT, "load the application")
        except _OverdueError as error:
            raise AppError(f"{error.message}, which is --app {self._target!r}") from error
        except SpawnError:
            status = await end_of(self.pid, handle, _FORK)
            self._printed.read(output)  # what it has said since it hung up
            self._printed.flush()
            told = f"the process that loads --app {self._target!r} {status}"
            if status.code is None:
                raise SpawnError(told) from None
            hint = "the application's code, or a library that it imports, ended it (os._exit?)"
            hint = "it has printed why" if status.code == EXIT_APP else hint
            raise AppError(f"{told}: {hint}") from None
        finally:
            os.close(handle)
            os.close(output)
        return msgspec.msgpack.decode(reply, type=Loaded)

    async def launch(self, fds: Descriptors) -> int:
        if self._control is None:
            logger.warning("zygote_restarted", pid=self.pid)
            await self.start()
        try:
            if self._control is None:
                raise ConnectionResetError("it died as soon as it was ready")
            socket.send_fds(self._control, [b"fork"], list(fds))
        except OSError as error:
            self.close()
            raise SpawnError(f"the zygote cannot be reached: {error}") from error
        born = msgspec.msgpack.decode(await self._reply(_FORK, "fork"), type=Born)
        if born.error:
            raise SpawnError(f"the zygote cannot fork: {born.error}")
        return born.pid

    def close(self) -> None:
        """Hang up: the zygote exits, its workers stay."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
        if self._control is not None:
            asyncio.get_running_loop().remove_reader(self._control)
            self._control.close()
            self._control = None
        if self._output is not None:
            self._print()
            self._printed.flush()
            asyncio.get_running_loop().remove_reader(self._output)
            os.close(self._output)
            self._output = None
        while self._replies:
            reply = self._replies.popleft()
            if not reply.done():
                reply.set_exception(ConnectionResetError("the zygote is gone"))

    def _print(self) -> None:
        if self._output is not None and not self._printed.read(self._output):
            asyncio.get_running_loop().remove_reader(self._output)

    async def end(self, patience: float) -> None:
        if self._handle is None:
            return
        handle = os.dup(self._handle)
        self.close()
        try:
            if not await has_ended(handle, patience):
                logger.warning("zygote_left", pid=self.pid, seconds=patience, reason="still ending")
        finally:
            os.close(handle)

    async def _reply(self, seconds: float, what: str) -> bytes:
        """The next answer. A zygote that gives none is of no use any more."""
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._replies.append(future)
        try:
            return await asyncio.wait_for(future, seconds)
        except TimeoutError:
            self._kill()
            raise _OverdueError(f"the zygote did not {what} within {seconds:g} s") from None
        except ConnectionResetError as error:
            raise SpawnError(f"the zygote died and did not {what}") from error

    def _kill(self) -> None:
        if self._handle is not None:
            with suppress(ProcessLookupError):  # dead and collected, and its end not yet read
                signal.pidfd_send_signal(self._handle, signal.SIGKILL)
        self.close()

    def _received(self) -> None:
        assert self._control is not None
        try:
            packet = self._control.recv(_PACKET)
        except BlockingIOError:
            return
        except OSError:
            packet = b""
        if not packet:
            self.close()
        elif self._replies:
            future = self._replies.popleft()
            if not future.done():
                future.set_result(packet)
