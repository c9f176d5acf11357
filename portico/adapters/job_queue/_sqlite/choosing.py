"""Leasing jobs of some types only: which of those that wait, looked through in portions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from portico.adapters.job_queue._sqlite.driver import Connection
from portico.adapters.job_queue._sqlite.schema import LATER
from portico.adapters.job_queue._sweep import (
    HEAD,
    PORTION,
    Candidate,
    Found,
    Looking,
    Mark,
    Sweep,
    Sweeps,
)
from portico.ports.wanted import Wanted

LATER_HERE = f"{LATER} AND queue_name = :queue"
LEVELS = f"""
WITH RECURSIVE levels (level) AS (
    SELECT (SELECT priority FROM portico_jobs WHERE {LATER_HERE} ORDER BY priority DESC LIMIT 1)
    UNION ALL
    SELECT (SELECT priority FROM portico_jobs WHERE {LATER_HERE} AND priority < level
            ORDER BY priority DESC LIMIT 1)
    FROM levels WHERE level IS NOT NULL
)"""
"""The priorities that wait for their time: each takes one step into the index."""

_PENDING_HERE = "status = 'pending' AND queue_name = :queue"
_BEHIND = (
    "priority = :priority AND run_at = :run_at AND seq > :seq",
    "priority = :priority AND run_at > :run_at",
    "priority < :priority",
)
"""What is behind a mark, in steps that each go straight to their place in an index: SQLite would
look for one of a row's values only, and thousands of jobs may be due since the same instant."""
_IN_ORDER = f"ORDER BY priority DESC, run_at, seq LIMIT {PORTION}"


def _first(condition: str) -> str:
    return (
        "SELECT * FROM (SELECT priority, run_at, seq, job_type FROM portico_jobs "
        f"WHERE {condition} {_IN_ORDER})"
    )


def _of_levels(levels: str) -> str:
    """Those that wait for their time, and whose time has come, of each of these priorities."""
    return f"""
SELECT priority, run_at, seq, job_type FROM levels CROSS JOIN portico_jobs
WHERE level IS NOT NULL AND {levels} AND seq IN (
    SELECT seq FROM portico_jobs WHERE {LATER_HERE} AND priority = level AND run_at <= :now
    ORDER BY run_at, seq LIMIT {PORTION}
)"""


def _portion(*parts: str) -> str:
    return f"SELECT * FROM ({' UNION ALL '.join(parts)}) {_IN_ORDER}"


_HEAD_PENDING = (_first(_PENDING_HERE),)
_REST_PENDING = tuple(_first(f"{_PENDING_HERE} AND {behind}") for behind in _BEHIND)
_HEAD_DUE = (*_HEAD_PENDING, _of_levels("true"))
_REST_DUE = (
    *_REST_PENDING,
    *(_first(f"{LATER_HERE} AND {behind} AND run_at <= :now") for behind in _BEHIND[:2]),
    _of_levels("level < :priority"),
)
_STATEMENTS = {
    (True, False): _portion(*_HEAD_PENDING),
    (False, False): _portion(*_REST_PENDING),
    (True, True): LEVELS + _portion(*_HEAD_DUE),
    (False, True): LEVELS + _portion(*_REST_DUE),
}
"""By whether they begin at the head, and whether the time of some has come that waited for it."""


class Choosing:
    """One exchange's choice of jobs."""

    def __init__(self, sweeps: Sweeps, wanted: Wanted) -> None:
        self._sweeps = sweeps
        self._wanted = wanted

    def choose(
        self, connection: Connection, queue: str, now: int, limit: int, *, due: bool
    ) -> Found:
        """Which jobs of a queue to lease; `due`: the time of some has come that waited for it."""
        looking = self._sweeps.of(queue).look(self._wanted, limit)
        return _looked(looking, connection, {"queue": queue, "now": now}, due=due)

    def peek(
        self, connection: Connection, queue: str, now: int, *, due: bool
    ) -> tuple[Found, Sweep]:
        """Whether there would be one, and what is known then of what waits."""
        sweep = self._sweeps.of(queue).copy()
        looking = sweep.look(self._wanted, 1)
        return _looked(looking, connection, {"queue": queue, "now": now}, due=due), sweep

    def keep(self, seen: Mapping[str, Sweep]) -> None:
        """What was seen in passing is not looked at again."""
        for queue, sweep in seen.items():
            self._sweeps.keep(queue, sweep)

    def nothing_leased(self) -> None:
        """What was chosen still waits, because of a damaged row beside it."""
        self._sweeps.forget()

    def leased(self, types: Iterable[str]) -> None:
        """Jobs of these types have been leased, one for each."""
        self._wanted = self._wanted.after(types)


def _looked(
    looking: Looking[Found], connection: Connection, values: dict[str, Any], *, due: bool
) -> Found:
    mark = next(looking)
    while True:
        if mark != HEAD:
            values["priority"], values["run_at"], values["seq"] = -mark[0], mark[1], mark[2]
        rows = connection.execute(_STATEMENTS[mark == HEAD, due], values).fetchall()
        try:
            mark = looking.send([_candidate(row) for row in rows])
        except StopIteration as done:
            found: Found = done.value
            return found


def _candidate(row: Sequence[Any]) -> Candidate:
    priority, run_at, seq, job_type = row
    sound = type(priority) is int and type(run_at) is int and type(job_type) is str
    mark: Mark | None = (-priority, run_at, seq) if sound else None
    return Candidate(mark, job_type, seq)
