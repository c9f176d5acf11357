"""An attempt run step by step inside of a task that it shares with others."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from contextvars import Context
from functools import partial
from types import coroutine
from typing import Any, TypeVar

from portico.ports.job_executor import Verdict

T = TypeVar("T")


async def into(over: asyncio.Future[T], coroutine: Coroutine[Any, Any, T]) -> None:
    """Hand on how a coroutine ends. To await its task would leave a callback on that, and any other
    on it would be hard to tell from ours."""
    try:
        over.set_result(await coroutine)
    except BaseException as raised:  # noqa: BLE001 - it is for whoever waits
        if not over.done():
            over.set_exception(raised)


@coroutine
def rest_of(
    attempt: Coroutine[Any, Any, Verdict], context: Context, waits_for: Any
) -> Generator[Any, Any, Verdict]:
    """Go on with an attempt that waits for something, each step in its own context."""
    while True:
        try:
            step = partial(attempt.send, (yield waits_for))
        except BaseException as thrown:  # noqa: BLE001 - it is the attempt's to deal with
            step = partial(attempt.throw, thrown)
        try:
            waits_for = context.run(step)
        except StopIteration as end:
            verdict: Verdict = end.value
            return verdict
