"""Work on all jobs that match at one instant, in steps that Ctrl-C may come between."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import TYPE_CHECKING, Any

import click

from portico.cli.messages import counted
from portico.cli.moments import moment
from portico.cli.steps import Steps
from portico.exceptions import PorticoError

if TYPE_CHECKING:
    from portico.cli.store import Session
    from portico.ports.job import Job
    from portico.ports.leasing import JobFilter

_AT_ONCE = 500


class Sweep:
    """All jobs that have ended when this is made, and match; who ends later is left alone.

    Args:
        session: the open store.
        wanted: which jobs.
    """

    def __init__(self, session: Session, wanted: JobFilter) -> None:
        self._session = session
        self._wanted = wanted
        self._began = monotonic()
        self._at = datetime.now(UTC)

    def described(self, count: int) -> str:
        """So many of them, in words."""
        wanted = self._wanted
        kind = " and ".join(status.value.replace("_", "-") for status in wanted.each_status)
        words = [counted(count, f"{kind} job")]
        words += [f"of type {wanted.job_type}"] if wanted.job_type else []
        words += [f"in queue {wanted.queue_name}"] if wanted.queue_name else ["in all queues"]
        until = self._at - timedelta(seconds=wanted.older_than or 0.0)
        return f"{' '.join(words)} that ended before {moment(until)}"

    def count(self) -> int:
        """How many there are."""

        async def number() -> int:
            return sum([len(jobs) async for jobs in self._pages()])

        found: int = self._session.run(number())
        return found

    def requeue(self) -> int:
        """Run them again, and tell how many were to be."""
        pages = self._pages()

        async def step() -> int | None:
            jobs = await anext(pages, None)
            if jobs is None:
                return None
            return len(await self._session.jobs.redrive([job.id for job in jobs]))

        return self._in_steps(step, "requeued")

    def purge(self) -> int:
        """Delete them, and tell how many there were."""

        async def step() -> int | None:
            return await self._session.jobs.purge(self._matching, _AT_ONCE) or None

        return self._in_steps(step, "deleted")

    @property
    def _matching(self) -> JobFilter:
        """The filter, now: whoever had ended at the beginning is older by the time since then.

        By their age, because a store goes by its own clock.
        """
        age = self._wanted.older_than or 0.0
        return replace(self._wanted, older_than=age + monotonic() - self._began)

    async def _pages(self) -> AsyncIterator[list[Job]]:
        cursor: str | None = None
        while True:
            wanted = replace(self._matching, documents=False)
            page = await self._session.jobs.list_jobs(wanted, _AT_ONCE, cursor)
            yield page.jobs
            if (cursor := page.cursor) is None:
                return

    def _in_steps(self, step: Callable[[], Coroutine[Any, Any, int | None]], verb: str) -> int:
        """Repeat a step until it finds nothing to do; the number of jobs that all of them did."""
        done = 0
        steps = Steps()
        try:
            with steps:
                while True:
                    with steps.step():
                        count: int | None = self._session.run(step())
                        if count is None:
                            return done
                        done += count
        except (KeyboardInterrupt, PorticoError) as error:
            doubt = f"; of up to {_AT_ONCE} more nobody knows" if steps.cut_short else ""
            told = f"before that, {counted(done, 'job')} {verb}{doubt}"
            if isinstance(error, PorticoError):
                raise type(error)(f"{error}; {told}", error.details) from error
            click.echo(f"\ninterrupted; {told}", err=True)
            raise
