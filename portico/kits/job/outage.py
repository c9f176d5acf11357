"""The time in which the store cannot be used: how long to wait, and what to say, and when."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from math import inf

from portico.exceptions import ConfigurationError, PorticoError, QueueConnectionError
from portico.kits.job.retry import RetryPolicy
from portico.utils.logging import get_logger

_PAUSES = RetryPolicy(base_delay=0.2, max_delay=1.0)
"""Never long beside a lease: whoever rests while another is back already would lose its own."""
REMIND = 30.0
"""Seconds after which to say again that the store is away, and how many results wait."""
AWAY = (QueueConnectionError, ConfigurationError)
"""What is waited for when a store answers it that has been opened well. It is not to be used as it
is, says the second: a login that is refused, a right that is missing. At the start that is a
mistake in the configuration; later somebody works on the server, and jobs that run need not die."""
_NEXT = "nothing is leased; jobs that run go on, and their results are kept and sent again"
_MEND = f"{_NEXT}; mend it there, or restart with another queue URL"

logger = get_logger(__name__)


class Outage:
    """Whether there is one, and since when there is none."""

    def __init__(
        self,
        began: Callable[[], None],
        clock: Callable[[], float],
        waiting: Callable[[], int] = lambda: 0,
    ) -> None:
        """Build it; `waiting` counts the results that the store has to be told of."""
        self.on = False
        self._began = began
        self._clock = clock
        self._waiting = waiting
        self._since = self._said_at = -inf
        self._attempts = 0
        self._reason: object = None
        self.said = ""
        """Why the store cannot be used, while it cannot."""
        self._ended_at = -inf

    @property
    def seconds_since(self) -> float:
        """Seconds since the last one ended; 0 while it lasts."""
        return 0.0 if self.on else self._clock() - self._ended_at

    @property
    def seconds(self) -> float:
        """Seconds since it began; 0 when there is none."""
        return self._clock() - self._since if self.on else 0.0

    def begin(self, error: PorticoError) -> None:
        """The store is `AWAY`; said once per outage and reason, and now and then."""
        reason, now, self.said = error.details.get("reason"), self._clock(), str(error)
        if self.on and reason == self._reason and now - self._said_at < REMIND:
            return
        new, self.on = not self.on, True
        if new:
            self._since, self._attempts = now, 0
        self._reason, self._said_at = reason, now
        logger.error(
            "store_full" if reason == "full" else "store_unreachable",
            error=str(error),
            seconds=round(now - self._since),
            results_waiting=self._waiting(),
            next=_MEND if isinstance(error, ConfigurationError) else _NEXT,
        )
        if new:
            self._began()

    async def rest(self, stopping: asyncio.Event, longest_when_stopping: float) -> None:
        """Let the store recover: 0.1 to 0.2 seconds at first, 0.5 to 1 in the end.

        Who is stopping has little time left: it does not rest long, nor to the end.
        """
        seconds = _PAUSES.delay(self._attempts)
        self._attempts += 1
        if stopping.is_set():
            await asyncio.sleep(min(seconds, longest_when_stopping))
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await stopping.wait()

    def end(self, waiting: int) -> None:
        """The store answered, and so many settlements that had waited for it are done."""
        if self.on:
            self.on, self._ended_at = False, self._clock()
            logger.warning("store_back", settlements_waited=waiting, attempts=self._attempts)
