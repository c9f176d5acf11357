"""Waiting for one's own turn, which is not the silence of a server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from math import inf
from time import monotonic


class Turns:
    """So many pieces of work with a server at a time; more wait, in the order in which they came.

    Args:
        at_once: how many.
        patience: seconds of waiting after which the server is silent, if nobody who had a turn
            was answered meanwhile either.
    """

    def __init__(self, at_once: int, patience: float) -> None:
        self._turns = asyncio.Semaphore(at_once)
        self._patience = patience
        self._answered_at = -inf

    @asynccontextmanager
    async def turn(self, silent: Callable[[TimeoutError], Exception]) -> AsyncIterator[None]:
        """Within this block there is a turn; a block that ends well was answered.

        Raises:
            Exception: what `silent` makes of the time-out.
        """
        await self._begin(silent)
        try:
            yield
            self._answered_at = monotonic()
        finally:
            self._turns.release()

    async def _begin(self, silent: Callable[[TimeoutError], Exception]) -> None:
        waiting = True
        while waiting:
            began = monotonic()
            try:
                async with asyncio.timeout(self._patience):
                    await self._turns.acquire()
                waiting = False
            except TimeoutError as error:
                if self._answered_at < began:  # nobody before us had an answer either
                    raise silent(error) from error
