"""Waiting for something to become true, instead of for a while."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

STEP = 0.005
PATIENCE = 60.0
"""Seconds until something that is to happen at once, or nearly, is taken for missing: the machine
may be busy with other tests."""


async def wait_until(predicate: Callable[[], T | Awaitable[T]], timeout: float = PATIENCE) -> T:
    """Return the first true answer of `predicate`, a function or a coroutine function.

    Raises:
        TimeoutError: it did not come; the message holds the last answer.
    """
    deadline = time.monotonic() + timeout
    while True:
        answer = predicate()
        if inspect.isawaitable(answer):
            answer = await answer
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout:g} s; the last answer was {answer!r}")
        await asyncio.sleep(STEP)
