"""Pages of a list: which rows match, and where they end."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

from portico.adapters.job_queue._rows import StoredJob, micros
from portico.exceptions import ValidationError
from portico.ports import document
from portico.ports.creators import id_of
from portico.ports.listing import JobFilter

PAGE_BYTES = 8 * 2**20
"""Of documents, after which a page takes no more jobs."""
SEARCHED = 100_000
"""Jobs that a narrow filter is held against for one page, the newest first."""
SLACK = 3_600_000_000
"""Microseconds by which the numbers of jobs may disagree with the instants of their creation: a
clock was set, or a transaction took long."""


class StoredPage(NamedTuple):
    """Rows, newest first; below which number to go on, `None` when there are no more; and how many
    were looked at, where the filter is narrow."""

    rows: list[StoredJob]
    cursor: int | None = None
    searched: int | None = None


def cut(found: Sequence[tuple[int, int]], limit: int) -> list[int]:
    """The numbers of the jobs that a page shows, of those that were found.

    Args:
        found: the number of each and the bytes of its documents, newest first.
        limit: how many at most.
    """
    shown: list[int] = []
    room = PAGE_BYTES
    for seq, size in found[:limit]:
        if shown and size > room:
            break
        shown.append(seq)
        room -= size
    return shown


def size_of(row: StoredJob, jobs: JobFilter) -> int:
    """The bytes of the documents that a list brings of a job."""
    return len(row.payload) + len(row.metadata) if jobs.documents else 0


def needles(jobs: JobFilter) -> list[bytes]:
    """What stands in the metadata of every job that has the wanted keys; others may have it."""
    return [json.dumps(key, ensure_ascii=False).encode() for key in jobs.metadata or ()]


def matches(row: StoredJob, jobs: JobFilter, now: int) -> bool:
    """Whether a row matches in all but its metadata, `now` being in microseconds."""
    if jobs.queue_name is not None and row.queue_name != jobs.queue_name:
        return False
    if jobs.job_type is not None and row.job_type != jobs.job_type:
        return False
    if jobs.each_status and row.status not in jobs.each_status:
        return False
    if jobs.ids is not None and not jobs.ids[0].bytes <= row.id <= jobs.ids[1].bytes:
        return False
    if not _made_as(row, jobs):
        return False
    if jobs.older_than is None:
        return True
    since = row.created_at if row.ended_at is None else row.ended_at
    return since <= now - int(jobs.older_than * 1_000_000)


def _made_as(row: StoredJob, jobs: JobFilter) -> bool:
    if jobs.created_by is not None and row.created_by != id_of(jobs.created_by).bytes:
        return False
    if jobs.created_after is not None and row.created_at < micros(jobs.created_after):
        return False
    return jobs.created_before is None or row.created_at < micros(jobs.created_before)


def has_metadata(row: StoredJob, jobs: JobFilter) -> bool:
    """Whether a job has the wanted keys with the wanted values."""
    if jobs.metadata is None:
        return True
    try:
        there = document.decode(row.metadata)
    except ValueError:
        return False
    return all(key in there and _same(there[key], value) for key, value in jobs.metadata.items())


def _same(one: object, other: object) -> bool:
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def check_purgeable(jobs: JobFilter) -> None:
    """Make sure that a store can find the jobs to purge without looking at all.

    Raises:
        ValidationError: the filter is narrow.
    """
    if jobs.narrow:
        raise ValidationError(
            "jobs are purged by queue, type, status and age; to delete others, list them first"
        )
