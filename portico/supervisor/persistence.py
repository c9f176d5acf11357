"""A loop that is picked up where a SystemExit or a KeyboardInterrupt went through it.

Where a task or a callback raises one of these, asyncio lets it end the loop, after it has made it
the task's own end: whoever awaits that task is still to be told. In a worker that is one job of
several, so the loop goes on, and it fails with it like with any other error.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def run(
    runner: asyncio.Runner,
    main: Coroutine[Any, Any, T],
    contains: Callable[[BaseException], object],
) -> T:
    """Run the loop until `main` ends.

    Args:
        runner: whose loop it is.
        main: what it is run for. What this raises itself is raised.
        contains: whether the loop may go on after what has just passed through it.
    """
    loop = runner.get_loop()
    task = loop.create_task(main)
    while True:
        try:
            return loop.run_until_complete(task)
        except (SystemExit, KeyboardInterrupt) as leaving:
            if task.done() or not contains(leaving):
                raise
