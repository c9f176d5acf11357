"""Listing jobs: through an index of ages, or several, so many jobs at a time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

from portico.adapters.job_queue._paging import (
    PAGE_BYTES,
    SEARCHED,
    StoredPage,
    cut,
    needles,
    size_of,
)
from portico.adapters.job_queue._redis import rows
from portico.adapters.job_queue._rows import DEAD_LETTER, FAILED, StoredJob, micros
from portico.ports.creators import id_of
from portico.ports.document import EMPTY
from portico.ports.listing import JobFilter

LOOKED_AT = 500
"""Jobs that one script looks at: others wait meanwhile."""

Ask = Callable[..., Awaitable[Any]]


class _Part(NamedTuple):
    """What one index had: rows, below which number it goes on, and how many were looked at."""

    rows: list[StoredJob]
    cursor: int | None
    searched: int


def indexes(jobs: JobFilter, queues: Sequence[str]) -> list[str]:
    """What to look through: of failed jobs alone there are lists of their own.

    Args:
        jobs: what is wanted.
        queues: all that there are.
    """
    if not by_status(jobs):
        return ["all"]
    names = [jobs.queue_name] if jobs.queue_name else queues
    statuses = sorted(status.value for status in jobs.each_status)
    return [f"queue:{name}:{status}:by" for name in names for status in statuses]


def by_status(jobs: JobFilter) -> bool:
    """Whether only jobs are wanted that failed."""
    statuses = {status.value for status in jobs.each_status}
    return bool(statuses) and not statuses - {FAILED, DEAD_LETTER}


async def page(
    ask: Ask, jobs: JobFilter, found_in: Sequence[str], limit: int, before: int | None
) -> StoredPage:
    """Rows that match in all but their metadata, newest first.

    Args:
        ask: runs a script.
        jobs: what is wanted.
        found_in: the indexes to look through.
        limit: how many rows at most.
        before: the number below which to begin.
    """
    parts = [await _part(ask, jobs, index, limit, before) for index in found_in]
    # Below this number one of them was not looked through, and the others have nothing to add yet.
    down_to = max((part.cursor for part in parts if part.cursor is not None), default=None)
    found = [row for part in parts for row in part.rows if down_to is None or row.seq >= down_to]
    found.sort(key=lambda row: row.seq, reverse=True)
    shown = cut([(row.seq, size_of(row, jobs)) for row in found], limit)
    cursor = shown[-1] if len(shown) < len(found) else down_to
    searched = sum(part.searched for part in parts) if jobs.narrow else None
    return StoredPage(found[: len(shown)], cursor, searched)


async def _part(ask: Ask, jobs: JobFilter, index: str, limit: int, before: int | None) -> _Part:
    conditions = _conditions(jobs)
    found: list[StoredJob] = []
    room, searched = PAGE_BYTES, 0
    last: str | int = "" if before is None else before
    while True:
        most = limit + 1 - len(found)
        told, end, looked, size, is_full = await ask(
            "page", index, last, LOOKED_AT, most, *conditions[:5], room, *conditions[5:]
        )
        found += [_row(jobs, *one) for one in told]
        room, searched = room - size, searched + looked
        if not end and not is_full:
            return _Part(found, None, searched)
        last = int(end) if end else last
        narrowly = jobs.narrow and searched >= SEARCHED
        if is_full or narrowly or room <= 0 or len(found) > limit:
            return _Part(found, int(last) if last != "" else None, searched)


def _conditions(jobs: JobFilter) -> tuple[Any, ...]:
    age = "" if jobs.older_than is None else int(jobs.older_than * 1_000_000)
    texts = needles(jobs)
    return (
        jobs.queue_name or "", jobs.job_type or "", age, jobs.id_digits, int(jobs.documents),
        "" if jobs.created_by is None else id_of(jobs.created_by).hex,
        "" if jobs.created_after is None else micros(jobs.created_after),
        "" if jobs.created_before is None else micros(jobs.created_before),
        len(texts), *texts, *(status.value for status in jobs.each_status),
    )  # fmt: skip


def _row(
    jobs: JobFilter, job_id: bytes, pairs: Sequence[bytes], body: bytes | None, kind: bytes
) -> StoredJob:
    key = bytes.fromhex(job_id.decode())
    lost = kind not in (b"", b"none")
    row = rows.lost_row(key, kind.decode(), body) if lost else rows.stored_job(key, pairs, body)
    if not jobs.documents:  # it is only the beginning of a body
        row.payload = EMPTY
    return row
