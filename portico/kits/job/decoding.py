"""A lease opened: the job that a handler gets to see.

This runs once per job in every worker, which is why it goes round three constructors: they cost
more than the decoding itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any
from uuid import UUID, SafeUUID

import msgspec

from portico.ports import document, time_limits
from portico.ports.creators import without_creator
from portico.ports.job import Job, JobStatus
from portico.ports.leasing import Lease

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICRO = 1_000_000
_EXACT = 2**52
"""Microseconds up to which (the year 2112) a float of seconds holds them exactly."""
_SHORTEST_TOO_DEEP = 2 * document.MAX_DEPTH

_EMPTY = document.EMPTY

_UNSET = msgspec.UNSET

_new = object.__new__
_set_int: Callable[[UUID, int], None] = vars(UUID)["int"].__set__
_set_is_safe: Callable[[UUID, SafeUUID], None] = vars(UUID)["is_safe"].__set__
_set_fields = object.__setattr__
_unknown = SafeUUID.unknown
_running = JobStatus.RUNNING
_decode: Callable[[bytes], dict[str, Any]] = msgspec.json.Decoder(dict[str, Any]).decode


def job_of(lease: Lease) -> Job:
    """Open a lease: the job, RUNNING, with payload and metadata decoded and aware UTC instants.

    Raises:
        ValueError: the stored job cannot be decoded; the message names the field.
    """
    creator: UUID | str | None = None if lease.created_by is None else _uuid(lease.created_by)
    metadata = lease.metadata
    if metadata != _EMPTY:  # most jobs have none
        text, metadata = without_creator(metadata)
        creator = creator if text is None else text
    job = _new(Job)
    # Job(...) sets its 17 fields one by one, past a frozen __setattr__: three times the cost.
    _set_fields(
        job,
        "__dict__",
        {
            "id": _uuid(lease.id),
            "queue_name": lease.queue_name,
            "job_type": lease.job_type,
            "payload": _opened(lease.payload, "payload"),
            "priority": lease.priority,
            "max_retries": lease.max_retries,
            "retry_count": lease.retry_count,
            "scheduled_at": None if lease.scheduled_at is None else _instant(lease.scheduled_at),
            "started_at": _instant(lease.started_at),
            "completed_at": None,
            "failed_at": None,
            "status": _running,
            "error_message": lease.error_message,
            "created_by": creator,
            "created_at": _instant(lease.created_at),
            "metadata": {} if metadata == _EMPTY else _opened(metadata, "metadata"),
        },
    )
    return job


class _Limits(msgspec.Struct):
    """The part of metadata that says how long a job may take."""

    job_timeout: Any = msgspec.UNSET
    kill_grace: Any = msgspec.UNSET


_decode_limits = msgspec.json.Decoder(_Limits).decode


def limits_in(metadata: bytes) -> Mapping[str, Any]:
    """What encoded metadata say of time limits; nothing, where they cannot be decoded: then the job
    is not run. The rest of them is not opened."""
    if not any(name.encode() in metadata for name in time_limits.NAMES):
        return {}
    if len(metadata) > _SHORTEST_TOO_DEEP and document.too_deep(metadata):
        return {}  # also what is nested so that it can be read, and not be told of
    try:
        said = msgspec.structs.asdict(_decode_limits(metadata))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        try:
            said = _slowly(metadata, "metadata")
        except (ValueError, RecursionError):
            return {}
    return {name: said[name] for name in time_limits.NAMES if said.get(name, _UNSET) is not _UNSET}


def _uuid(body: bytes) -> UUID:
    uuid = _new(UUID)
    _set_int(uuid, int.from_bytes(body, "big"))
    _set_is_safe(uuid, _unknown)
    return uuid


@lru_cache(maxsize=64)  # jobs are created and leased many at a time
def _instant(micros: int) -> datetime:
    if micros < _EXACT:
        return datetime.fromtimestamp(micros / _MICRO, UTC)
    return _EPOCH + timedelta(0, 0, micros)


def _opened(body: bytes, name: str) -> dict[str, Any]:
    if body == _EMPTY:
        return {}
    if len(body) > _SHORTEST_TOO_DEEP and document.too_deep(body):
        raise ValueError(f"{name} is nested deeper than {document.MAX_DEPTH} levels")
    try:
        return _decode(body)
    except (msgspec.MsgspecError, ValueError):
        return _slowly(body, name)


def _slowly(body: bytes, name: str) -> dict[str, Any]:
    """What the strict decoder refuses may still be what the encoder of the ports has written."""
    try:
        return document.decode(body)
    except ValueError as error:
        raise ValueError(f"{name} cannot be decoded: {error}") from error
