"""The application as it is loaded now, and as it was before until the new one has proved itself.

A reload has worked when a worker with the new code is ready, and not before: code that can be
imported may still fail to open. Until then the old code is kept loaded, and workers are started
from it again as soon as one with the new code fails.
"""

from __future__ import annotations

import asyncio

from portico.exceptions import PorticoError
from portico.supervisor.launch import BootError, Launcher
from portico.supervisor.spawning import SpawnError
from portico.utils.logging import get_logger

_PAUSES = (0.5, 1.0, 2.0)
"""Seconds until the application is loaded once more, when that was no fault of its own."""

logger = get_logger(__name__)


class Generations:
    """What new workers are started from."""

    def __init__(self, first: Launcher) -> None:
        self.current = first
        self._former: Launcher | None = None
        self._ever = [first]
        self._loading = asyncio.Lock()

    @property
    def pids(self) -> set[int]:
        """The processes that hold the code, or held it: one that is replaced takes time to go."""
        return {launcher.pid for launcher in self._ever}

    @property
    def loading(self) -> set[int]:
        """The process that loads the code just now, if there is one."""
        return {self._ever[-1].pid} if self._loading.locked() else set()

    async def start(self) -> None:
        """Load the application for the first time.

        Raises:
            AppError: it cannot be imported.
            BootError: what imports it is killed every time.
        """
        async with self._loading:
            for pause in _PAUSES:
                try:
                    return await self.current.start()
                except (SpawnError, OSError) as error:
                    logger.error("app_load_failed", error=str(error), again_in=pause)
                await asyncio.sleep(pause)
            try:
                await self.current.start()
            except (SpawnError, OSError) as error:
                raise BootError(f"the application cannot be loaded: {error}") from error

    async def replace(self, launcher: Launcher) -> bool:
        """Load the application anew; whether workers are started from that now.

        One after the other, so that of two reloads the later one, with the newer code, counts.
        """
        async with self._loading:
            self._ever.append(launcher)
            try:
                await launcher.start()
            except PorticoError as error:
                _tell_of_failure(error.message, error.details.get("traceback", ""))
                return False
            except OSError as error:  # out of descriptors, or of processes
                _tell_of_failure(str(error))
                return False
            if self._former is None:
                self._former = self.current
            else:
                self.current.close()  # it has not proved itself, and need not any more
            self.current = launcher
            return True

    def proved(self, launcher: Launcher | None) -> None:
        """A worker that was started from this is ready."""
        if launcher is self.current and self._former is not None:
            self._former.close()
            self._former = None

    def failed(self, launcher: Launcher | None, reason: str, traceback: str = "") -> bool:
        """A worker that was started from this did not get ready; whether that ends a reload."""
        if launcher is not self.current or self._former is None:
            return False
        self.current.close()
        self.current, self._former = self._former, None
        _tell_of_failure(reason, traceback)
        return True

    async def end(self, patience: float) -> None:
        """Start no more workers, and wait so many seconds for what the code runs at its end."""
        if self._former is not None:
            self._former.close()
        await self.current.end(patience)


def _tell_of_failure(error: str, traceback: str = "") -> None:
    logger.error(
        "reload_failed",
        error=error,
        kept="the workers with the old code",
        hint="mend the application and send SIGHUP again",
        **({"traceback": traceback} if traceback else {}),
    )
