"""From the arguments of `create_job` to a job that no queue has seen yet."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from datetime import datetime
from difflib import get_close_matches
from typing import Any
from uuid import UUID

from portico.exceptions import ValidationError
from portico.ports import time_limits
from portico.ports.draft import Draft, checked_id
from portico.ports.instants import as_local, checked_delay
from portico.ports.job import Job
from portico.ports.job_options import OPTIONS, JobOptions
from portico.ports.json_values import in_json

_ARGUMENTS = ("job_type", "payload", "queue_name", "priority", *OPTIONS)


def arguments_of(
    job_type: object, payload: object, queue_name: object, priority: object, options: JobOptions
) -> dict[str, Any]:
    """The arguments of one `create_job` by name."""
    named = {
        "job_type": job_type, "payload": payload, "queue_name": queue_name, "priority": priority,
    }  # fmt: skip
    return {**named, **options}


def new_job(arguments: Mapping[str, Any]) -> Job | Draft:
    """Build a job with a new id, unless `job_id` is given; a naive `scheduled_at` is local time.

    One with a `delay` is a draft, for the store alone knows when it will be due.

    `job_timeout` and `kill_grace` (seconds) limit this one job, and travel in its metadata.

    Payload and metadata are plain JSON then, for stores of any make; the other values are for
    `Draft.of` to check.

    Raises:
        ValidationError: no arguments by name, an argument that there is not, one that is missing,
            a document with no form in JSON, or a naive instant that has no aware form.
    """
    _check_names(arguments)
    values = dict(arguments)
    job_id, delay = values.pop("job_id", None), values.pop("delay", None)
    payload = values.pop("payload")
    limits = {name: values.pop(name) for name in time_limits.NAMES if name in values}
    metadata = values.pop("metadata", None)
    scheduled_at = values.pop("scheduled_at", None)
    if isinstance(scheduled_at, datetime):
        scheduled_at = as_local(scheduled_at, "scheduled_at")
    job = Job(
        id=new_id() if job_id is None else checked_id(job_id, "job_id"),
        payload=in_json(payload, "payload"),
        scheduled_at=scheduled_at,
        queue_name=values.pop("queue_name", "default"),
        metadata=in_json(_with_limits({} if metadata is None else metadata, limits), "metadata"),
        **values,
    )
    return job if delay is None else _delayed(job, delay)


def _delayed(job: Job, delay: object) -> Draft:
    if job.scheduled_at is not None:
        raise ValidationError("delay and scheduled_at exclude each other; give one of them")
    return Draft.of(job)._replace(delay=checked_delay(delay, "delay"))


def new_id() -> UUID:
    """An id that nobody has: a UUID of version 7, as RFC 9562 lays it out in section 5.7.

    It begins with the milliseconds since 1970, so ids sort by the time at which they were made, to
    the millisecond, and tell it to whoever sees one. A store's index of ids grows at its end, then,
    and what is settled together lies together: that of random ids is written all over, which in
    PostgreSQL also means a whole page of log for an entry. The other 74 bits are random.
    """
    milliseconds = time.time_ns() // 1_000_000
    bits = int.from_bytes(os.urandom(10), "big")
    return UUID(int=milliseconds << 80 | bits & _RANDOM | _VERSION_7)


_RANDOM = 0x0FFF_3FFF_FFFF_FFFF_FFFF
_VERSION_7 = 0x7000_8000_0000_0000_0000


def _with_limits(metadata: Any, limits: Mapping[str, Any]) -> Any:
    """The metadata, and in it the job's own limits; what is no object is refused later."""
    return {**metadata, **limits} if limits and isinstance(metadata, Mapping) else metadata


def _check_names(arguments: object) -> None:
    if not isinstance(arguments, Mapping):
        raise ValidationError(
            f"a job is {arguments!r:.80}; give the arguments of create_job by name: "
            '{"job_type": "email.send", "payload": {...}}'
        )
    if unknown := [name for name in arguments if name not in _ARGUMENTS]:
        close = get_close_matches(str(unknown[0]), _ARGUMENTS, 1)
        hint = f"did you mean {close[0]!r}? The" if close else "the"
        raise ValidationError(
            f"unknown option {', '.join(map(repr, unknown)):.200}; {hint} options are "
            f"{', '.join(OPTIONS)}"
        )
    if missing := [name for name in ("job_type", "payload") if name not in arguments]:
        raise ValidationError(f"{' and '.join(missing)} must be given")
