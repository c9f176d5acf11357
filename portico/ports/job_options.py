"""What `create_job` takes besides type, payload, queue and priority: the one list of it.

Whatever creates jobs has these as keywords, by `**options: Unpack[JobOptions]`, so that a type
checker knows each by name and type; so do the items of `create_jobs`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from inspect import Parameter, signature
from typing import Any, TypedDict, TypeVar
from uuid import UUID

Creates = TypeVar("Creates", bound=Callable[..., Any])


class JobOptions(TypedDict, total=False):
    """The options of one job; what is left out has its default."""

    scheduled_at: datetime | None
    """Not to be started before this instant; a naive one is taken as local time. Default: now."""
    delay: float | timedelta | None
    """In its place: seconds, or a timedelta, from when the store has it, by the store's clock."""
    max_retries: int
    """How often it may run again after an attempt that did not succeed. Default: 3."""
    created_by: UUID | str | None
    """The user behind it, for the audit log and for lists: a UUID, or a text of up to 200
    characters. Default: nobody."""
    metadata: Mapping[str, Any] | None
    """The application's own notes, a JSON object of at most 64 KiB. Default: none."""
    job_id: UUID | str | None
    """Its id, where a second job with it must be refused. Default: a new one."""
    job_timeout: float | None
    """Soft deadline in seconds, `None` for none. Default: its handler's, or the supervisor's."""
    kill_grace: float
    """Seconds from there to the kill. Default: its handler's, or the supervisor's."""


OPTIONS = tuple(JobOptions.__annotations__)


def spelled_out(create: Creates) -> Creates:
    """Show each option by name where a signature is looked at: `help`, a shell, an editor."""
    shown = signature(create)
    named = [each for each in shown.parameters.values() if each.kind is not Parameter.VAR_KEYWORD]
    options = [
        Parameter(name, Parameter.KEYWORD_ONLY, default=..., annotation=kind.__forward_arg__)
        for name, kind in JobOptions.__annotations__.items()
    ]
    create.__signature__ = shown.replace(parameters=[*named, *options])  # type: ignore[attr-defined]
    return create
