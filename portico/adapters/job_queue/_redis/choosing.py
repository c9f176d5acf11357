"""Leasing jobs of some types only: which of those that wait, looked through in portions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple

from portico.adapters.job_queue._sweep import (
    HEAD,
    PORTION,
    Candidate,
    Found,
    Looking,
    Mark,
    Sweeps,
)
from portico.exceptions import QueueConnectionError
from portico.ports.wanted import Wanted

FIRST_ONES = "*"
"""What `lease.lua` is told of a queue of which it is to lease the first jobs."""
_UNFINISHED = 1

Ask = Callable[..., Awaitable[Any]]
"""Runs a script, given its name and arguments, and raises what went wrong."""


class Chosen(NamedTuple):
    """What to lease of each queue, as `lease.lua` reads it."""

    places: Mapping[str, bytes]
    size: int
    unseen: bool
    """There is more to look at."""


async def choose(
    ask: Ask, sweeps: Sweeps, queues: Sequence[str], limit: int, wanted: Wanted
) -> Chosen:
    """Which jobs to lease, queue by queue.

    Raises:
        QueueConnectionError: the server cannot be reached.
    """
    places, count, unseen = dict.fromkeys(queues, b""), 0, False
    try:
        for queue in queues:
            if count == limit:
                break
            looking = sweeps.of(queue).look(wanted, limit - count)
            found, types = await _looked(looking, ask, queue)
            wanted = wanted.after(types)
            places[queue] = b" ".join(found.keys)
            count, unseen = count + len(found.keys), unseen or found.unseen
    except QueueConnectionError as error:
        if error.details.get("reason") != "full":  # as leasing will say, and is not done then
            raise
    return Chosen(places, count, unseen)


async def _looked(looking: Looking[Found], ask: Ask, queue: str) -> tuple[Found, list[str]]:
    """What is chosen, and the types of it."""
    types: dict[Any, str] = {}
    mark = next(looking)
    while True:
        jobs = await _behind(ask, queue, mark)
        types |= {job.key: job.job_type for job in jobs}
        try:
            mark = looking.send(jobs)
        except StopIteration as done:
            found: Found = done.value
            return found, [types[key] for key in found.keys]


async def _behind(ask: Ask, queue: str, mark: Mark) -> list[Candidate]:
    behind = [] if mark == HEAD else [str(mark[0]), mark[1]]
    while (answer := await ask("look", queue, PORTION, *behind))[0] == _UNFINISHED:
        pass
    return [_candidate(*answer[n : n + 3]) for n in range(1, len(answer), 3)]


def _candidate(score: bytes, place: bytes, job_type: bytes) -> Candidate:
    """Of a job that was deleted there is no type left: leasing it clears its place away."""
    mark = (int(score), place) if job_type else None
    return Candidate(mark, job_type.decode("utf-8", "replace"), place)
