"""Which job is meant by what somebody typed: a whole id, or what it begins with."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING
from uuid import UUID

import click

from portico.cli import exits
from portico.cli.messages import complain
from portico.exceptions import ConflictError, ResourceNotFoundError

if TYPE_CHECKING:
    from portico.kits.job.job_service import JobService

_BEGINNING = re.compile("[0-9a-f]{4,32}", re.IGNORECASE)
_SHOWN = 5


def as_job_ref(context: click.Context, option: click.Parameter, value: str) -> str:
    """Callback of an argument: an id, or at least four digits that it begins with."""
    if _BEGINNING.fullmatch(value.replace("-", "")):
        return value
    try:
        return str(UUID(value))
    except ValueError:
        raise click.BadParameter(
            f"{value!r}: a job id is a UUID, or 4 or more digits that it begins with; "
            "see portico jobs list",
            context,
            option,
        ) from None


def as_job_refs(
    context: click.Context, option: click.Parameter, values: tuple[str, ...]
) -> tuple[str, ...]:
    """Callback of an argument: those of several jobs, each once."""
    return tuple(dict.fromkeys(as_job_ref(context, option, value) for value in values))


async def found(service: JobService, ref: str) -> UUID:
    """The id that is meant; a whole one need not be of any job.

    Raises:
        ResourceNotFoundError: no job's id begins that way.
        ConflictError: those of several jobs do.
    """
    from portico.ports.leasing import JobFilter

    digits = ref.replace("-", "")
    if len(digits) == len(UUID(int=0).hex):
        return UUID(digits)
    page = await service.list_jobs(JobFilter(id_prefix=digits), _SHOWN + 1)
    match [job.id for job in page.jobs]:
        case []:
            raise ResourceNotFoundError(
                f"there is no job whose id begins with {ref}; see portico jobs list"
            )
        case [job_id]:
            return job_id
        case ids:
            shown = ", ".join(map(str, ids[:_SHOWN])) + (", ..." if len(ids) > _SHOWN else "")
            raise ConflictError(
                f"the ids of several jobs begin with {ref}: {shown}; give more of it"
            )


async def each_found(service: JobService, refs: Sequence[str]) -> tuple[list[UUID], int]:
    """The ids that are meant, each once, and the exit code of those that no job's is: told at once,
    they keep none of the others out."""
    ids: dict[UUID, None] = {}
    code = exits.OK
    for ref in refs:
        try:
            ids[await found(service, ref)] = None
        except (ResourceNotFoundError, ConflictError) as error:
            complain(str(error))
            code = max(code, exits.code_of(error))
    return list(ids), code


def missing(job_id: UUID) -> ResourceNotFoundError:
    """The error for an id that no job has."""
    return ResourceNotFoundError(f"there is no job {job_id}; see portico jobs list")
