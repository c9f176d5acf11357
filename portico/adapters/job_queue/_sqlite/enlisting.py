"""Storing jobs on a connection of the caller's, in its transaction: what to run, in what order.

That connection has settings of its own: how long it waits for a lock, and whether its commits
survive a power cut.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from portico.adapters.job_queue._admission import full
from portico.adapters.job_queue._callers.steps import Statement, Steps, digits
from portico.adapters.job_queue._rows import inserted, new_row
from portico.adapters.job_queue._sqlite import reading
from portico.adapters.job_queue._sqlite.connection import Place
from portico.adapters.job_queue._sqlite.schema import MIGRATIONS
from portico.exceptions import ConfigurationError, ValidationError
from portico.ports.draft import Draft
from portico.ports.leasing import Inserted

_TOGETHER = 200
"""Rows of one statement."""
_FILE = Statement("SELECT hex(file) FROM pragma_database_list WHERE name = 'main'")
_TABLE = Statement("SELECT count(*) FROM sqlite_master WHERE name = 'portico_schema'")
_VERSION = Statement("SELECT version + 0 FROM portico_schema")
"""Expressions, here and below: they have no type that a converter of the caller's is called for."""

_LOCK = Statement("DELETE FROM portico_queues WHERE 0")
"""Waits for its turn to write. A transaction that has read cannot, if another one wrote since."""


def vouch(place: Place) -> Steps[None]:
    """Make sure that the connection is to the queue's file, and that it has the tables."""
    yield from _check_file(place)
    yield from _check_schema(place)


def enlist(
    drafts: Sequence[Draft], now: int, max_pending: int | None
) -> Steps[list[Inserted | None]]:
    """Insert, if there is room; a savepoint makes it one step of the caller's transaction."""
    if max_pending is not None:
        yield _LOCK
        yield from _check_room(drafts, max_pending)
    yield Statement("SAVEPOINT portico")
    try:
        stored = yield from _insert(drafts, now)
    except BaseException:
        with suppress(Exception):  # SQLite may have rolled back all of it by itself
            yield Statement("ROLLBACK TO portico")
            yield Statement("RELEASE portico")
        raise
    yield Statement("RELEASE portico")
    return stored


def _insert(drafts: Sequence[Draft], now: int) -> Steps[list[Inserted | None]]:
    stored: list[Inserted | None] = []
    kept: Counter[str] = Counter()
    for start in range(0, len(drafts), _TOGETHER):
        rows = [new_row(draft, now) for draft in drafts[start : start + _TOGETHER]]
        values = ", ".join([_placeholders(len(rows[0]))] * len(rows))
        text = f"{reading.INSERT.format(values=values)} RETURNING hex(id)"
        answer = yield Statement(text, tuple(value for row in rows for value in row))
        new = {bytes.fromhex(digits(row[0])) for row in answer}
        for row in rows:
            if row[0] in new:
                new.remove(row[0])  # a second one of the same id was kept out
                kept[row[1]] += 1
                stored.append(inserted(row[10], now))
            else:
                stored.append(None)
    for total in kept.items():
        yield Statement(reading.ADD, total)
    return stored


def _placeholders(number: int) -> str:
    return f"({', '.join('?' * number)})"


def _check_file(place: Place) -> Steps[None]:
    rows = yield _FILE
    name = os.fsdecode(bytes.fromhex(digits(rows[0][0]))) if rows else ""
    try:
        same = os.path.samestat(os.stat(name), os.stat(place.path))
    except OSError:  # in memory, or gone
        same = False
    if not same:
        other = str(Path(name)) if name else "no file"
        raise ValidationError(
            f"the connection is to {other}, and the queue is in {place.path}; open that file, or "
            "keep the queue in the one that the connection is to: what is in two files is not "
            "committed together"
        )


def _check_schema(place: Place) -> Steps[None]:
    ((there,),) = yield _TABLE
    version = 0
    if there:
        ((version,),) = yield _VERSION
    if version != len(MIGRATIONS):
        what = f"has schema version {version}" if there else "has no tables for jobs yet"
        raise ConfigurationError(
            f"{place} {what}, and this release of Portico needs version {len(MIGRATIONS)}; "
            "initialize() of the queue, or a supervisor's start, brings it there",
            {"version": version, "known": len(MIGRATIONS)},
        )


def _check_room(drafts: Sequence[Draft], max_pending: int) -> Steps[None]:
    for queue_name, more in Counter(draft.queue_name for draft in drafts).items():
        waiting = 0
        for query in reading.WAITING:
            ((found,),) = yield Statement(query, (queue_name, max_pending - waiting))
            waiting += found
        if waiting + more > max_pending:
            raise full(queue_name, waiting, more, max_pending)
