"""What a store has confirmed as completed, seen from in front of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from typing import Self

from portico.kits.job.pipeline import Pipeline
from portico.ports.job_queue import JobQueueAdapter
from portico.ports.leasing import Answer, Exchange, Settlement, Transition
from portico.ports.wanted import EVERYTHING, Wanted

OnDone = Callable[[int], None]


def nobody(_: int) -> None:
    """Told the progress, and does nothing."""


class Watch:
    """Within its context every exchange of a queue passes here; keeps results by job id.

    Args:
        queue: whose `exchange` is replaced.
        total: how many completions there will be; `complete` is set by the last one.
        on_done: told how many there are.
        keep: what the store is given in place of a result; by default the result.
        tolerated: ends of attempts that are part of what is measured; others are its failure.
    """

    def __init__(
        self,
        queue: JobQueueAdapter,
        total: int,
        on_done: OnDone = nobody,
        keep: Callable[[Settlement], Settlement] = lambda settlement: settlement,
        *,
        tolerated: Collection[Transition] = (),
    ) -> None:
        self.results: dict[bytes, bytes | None] = {}
        self.complete = asyncio.Event()
        self.completed_at = 0.0
        """When the last one was confirmed, by `time.monotonic()`."""
        self._queue = queue
        self._total = total
        self._on_done = on_done
        self._keep = keep
        self._fatal = {Transition.FAIL, Transition.RETRY, Transition.CRASH} - {*tolerated}
        self._exchange = queue.exchange

    def __enter__(self) -> Self:
        self._queue.exchange = self._watched  # type: ignore[method-assign]  # no wrapper to write
        return self

    def __exit__(self, *_: object) -> None:
        self._queue.exchange = self._exchange  # type: ignore[method-assign]

    async def _watched(
        self,
        settlements: Sequence[Settlement],
        queues: Sequence[str],
        limit: int,
        wanted: Wanted = EVERYTHING,
    ) -> Exchange:
        kept = [self._keep(settlement) for settlement in settlements]
        answer = await self._exchange(kept, queues, limit, wanted)
        for settlement, receipt in zip(kept, answer.receipts, strict=True):
            if settlement.transition in self._fatal:
                raise RuntimeError(f"a job of the benchmark failed: {settlement.failure}")
            if settlement.transition is Transition.COMPLETE and receipt.answer is Answer.OK:
                self.results[settlement.id] = settlement.result
        if settlements:
            self._on_done(len(self.results))
        if len(self.results) >= self._total and not self.complete.is_set():
            self.completed_at = time.monotonic()
            self.complete.set()
        return answer


async def run_until(pipeline: Pipeline, complete: asyncio.Event) -> None:
    """Run the pipeline until all jobs are done, or until it breaks."""
    work = asyncio.create_task(pipeline.run())
    done = asyncio.create_task(complete.wait())
    await asyncio.wait([work, done], return_when=asyncio.FIRST_COMPLETED)
    done.cancel()
    pipeline.stop(0)
    await work
