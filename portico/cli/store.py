"""How a verb gets at the jobs: which store, opened and closed around one piece of work."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, ParamSpec, TypeVar

import click

from portico.exceptions import ConfigurationError
from portico.utils.store_urls import shown

if TYPE_CHECKING:
    from portico.kits.job.job_service import JobService

T = TypeVar("T")
P = ParamSpec("P")


def store_option(command: Callable[P, T]) -> Callable[P, T]:
    """Give a verb `--queue-url`, which wins over the one before the verb."""
    return click.option(
        "-u", "--queue-url", metavar="URL", default=_of_the_root, help="The job store."
    )(command)


def _of_the_root() -> Any:
    return click.get_current_context().find_root().obj


class Session(NamedTuple):
    """An open store: the service, and how to run one of its coroutines from ordinary code."""

    jobs: JobService
    run: Callable[[Coroutine[Any, Any, Any]], Any]


@contextmanager
def opened(queue_url: str | None, *, create: bool = False) -> Iterator[Session]:
    """Open the store for a block, and close it afterwards.

    Args:
        queue_url: what the flag says; else environment, file and default decide.
        create: whether what is not there may be made, a file or tables.

    Raises:
        ConfigurationError: the store cannot be used, or is not there.
    """
    import asyncio

    from portico import compose
    from portico.supervisor.config import resolve_queue_url

    url = usable(resolve_queue_url(queue_url))
    with asyncio.Runner() as runner:
        jobs = compose.job_service(compose.job_queue(url, create=create))
        runner.run(jobs.__aenter__())
        try:
            yield Session(jobs, runner.run)
        finally:
            runner.run(jobs.__aexit__())


def unopened(queue_url: str | None) -> JobService:
    """The service of the store, which is not looked at: for what can be known without it.

    Raises:
        ConfigurationError: the URL is not usable.
    """
    from portico import compose
    from portico.supervisor.config import resolve_queue_url

    return compose.job_service(usable(resolve_queue_url(queue_url)))


def with_jobs(
    queue_url: str | None,
    work: Callable[[JobService], Coroutine[Any, Any, T]],
    *,
    create: bool = False,
) -> T:
    """Open the store, do one piece of work on it, and close it; see `opened`."""
    with opened(queue_url, create=create) as session:
        done: T = session.run(work(session.jobs))
        return done


def usable(url: str) -> str:
    """The URL, of a store that outlives this process.

    Raises:
        ConfigurationError: it does not.
    """
    if url.startswith("memory:"):
        raise ConfigurationError(
            f"the queue is {shown(url)}, which lives inside of one process; "
            "give a store that others can reach: --queue-url sqlite:///jobs.db"
        )
    return url
