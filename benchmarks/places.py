"""A queue of its own for every run, wherever the URL points.

A file next to the one that was named; a schema or a namespace of its own on a server. What a run
leaves behind is removed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

SQLITE = "sqlite:///"

Place = Callable[[str, Path], AbstractAsyncContextManager[str]]


@asynccontextmanager
async def _in_memory(url: str, _: Path) -> AsyncIterator[str]:
    yield url


@asynccontextmanager
async def _in_a_file(url: str, directory: Path) -> AsyncIterator[str]:
    _, mark, options = url.partition("?")
    with TemporaryDirectory(prefix="run-", dir=directory) as place:
        yield f"{SQLITE}{place}/jobs.db{mark}{options}"


PLACES: dict[str, Place] = {"memory": _in_memory, "sqlite": _in_a_file}
"""By scheme: given the URL and a directory, the URL of an empty queue for one run."""


def place_of(url: str) -> Place:
    """How runs on this URL are kept apart.

    Raises:
        ValueError: nobody has said how, for this scheme.
    """
    scheme = url.partition("://")[0]
    if scheme not in PLACES:
        raise ValueError(f"queue URL is {url!r}; the benchmarks know {', '.join(sorted(PLACES))}")
    return PLACES[scheme]
