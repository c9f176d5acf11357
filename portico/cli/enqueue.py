"""`portico enqueue`: one job from the command line, or many from JSON lines."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from uuid import UUID

import click

from portico.cli.exits import EPILOG
from portico.cli.job_lines import LONGEST, Unreadable
from portico.cli.options import as_deadline, as_instant, as_job_id, as_seconds, json_option
from portico.cli.store import store_option, with_jobs
from portico.exceptions import ValidationError
from portico.ports.names import NAME

if TYPE_CHECKING:
    from portico.kits.job.job_service import JobService
    from portico.ports.job import Job


_AROUND = 24
"""Characters before and after the place where a payload is not JSON."""

_EXAMPLES = """\b
Examples:
  portico enqueue email.send '{"to": "ann@example.org"}'
  portico enqueue email.send - < payload.json
  portico enqueue jobs.jsonl
  produce | portico enqueue -

"""


@click.command(epilog=_EXAMPLES + EPILOG)
@click.argument("target", metavar="TYPE|FILE|-")
@click.argument("payload", required=False, metavar="[JSON]")
@click.option("-Q", "--queue", "queue_name", metavar="NAME", help="The queue; else 'default'.")
@click.option("-p", "--priority", type=int, help="Higher runs first; else 0.")
@click.option(
    "--in", "delay", callback=as_seconds, metavar="TIME", help="Start after 90, 5m, 1h30m, 1d."
)
@click.option(
    "--at", "scheduled_at", callback=as_instant, metavar="ISO", help="Start at that time."
)
@click.option("--max-retries", type=int, metavar="N", help="How often it may run again; else 3.")
@click.option(
    "--timeout",
    "limits",
    callback=as_deadline,
    metavar="TIME",
    help="Deadline of this job: 90, 5m, 1h30m, or none; else its type's, or the supervisor's.",
)
@click.option(
    "--id", "job_id", callback=as_job_id, metavar="UUID", help="The job's id; else a new one."
)
@click.option("--strict", is_flag=True, help="Many: store nothing when any line is bad.")
@json_option
@store_option
def enqueue(
    target: str,
    payload: str | None,
    *,
    queue_url: str | None,
    limits: dict[str, float | None],
    strict: bool,
    as_json: bool,
    **given: Any,
) -> int:
    """Create one job and print its id, or create many from JSON lines.

    A line is an object with "type" and "payload", and as it likes "queue", "priority", "in", "at",
    "max_retries", "timeout", "id", "created_by" and "metadata"; the options of the command are
    what a line without them gets. Lines are stored a thousand at a time. A bad line is reported as
    file:line with the reason and is not stored, all others are, and the exit code is 4; with
    --strict all lines are checked first, and one bad line keeps all of them out. Only on storing
    it is found that an id exists already (that line is reported, and the job that has the id stays
    as it was) and that a queue is full.
    """
    if given["delay"] is not None and given["scheduled_at"] is not None:
        raise click.UsageError("--in and --at exclude each other; give one of them")
    options = {name: value for name, value in given.items() if value is not None} | limits
    if payload is None:
        return _many(target, options, queue_url, strict=strict, as_json=as_json)
    return _one(
        {"job_type": target, "payload": _parsed(payload), **options}, queue_url, as_json=as_json
    )


def _one(arguments: Mapping[str, Any], queue_url: str | None, *, as_json: bool) -> int:
    async def create(jobs: JobService) -> Job:
        return await jobs.create_job(**arguments)

    job = with_jobs(queue_url, create, create=True)
    if as_json:
        from portico.cli import shapes

        shapes.write(shapes.job_shape(job))
    else:
        click.echo(job.id)
    return 0


def _many(
    target: str, options: dict[str, Any], queue_url: str | None, *, strict: bool, as_json: bool
) -> int:
    from portico.cli.bulk import store_lines

    if isinstance(options.get("job_id"), UUID):
        raise click.UsageError('--id is for a single job; give each line its own "id"')
    with _lines_of(target) as stream:
        source = "<stdin>" if target == "-" else target
        return store_lines(stream, source, options, queue_url, strict=strict, as_json=as_json)


@contextmanager
def _lines_of(target: str) -> Iterator[IO[bytes]]:
    """What can be read at a path: also a pipe, or a device such as /dev/stdin."""
    if target == "-":
        yield sys.stdin.buffer
        return
    try:
        stream = Path(target).open("rb")  # noqa: SIM115 - below, where its errors are others
    except (OSError, ValueError) as error:
        raise click.UsageError(_unreadable(target, error)) from error
    with stream:
        yield stream


def _unreadable(target: str, error: OSError | ValueError) -> str:
    if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
        return f"{target!r} cannot be read: {error.strerror}"
    if not NAME.fullmatch(target) or target.endswith((".json", ".jsonl", ".ndjson")):
        return f"there is no file {target!r}"
    return (
        f"{target!r} is no file of JSON lines; for a single job give its payload too: "
        f"portico enqueue {target} '{{}}'"
    )


def _parsed(payload: str) -> Any:
    text = _utf8(_piped()) if payload == "-" else payload
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValidationError("the payload is nested deeper than 64 levels; flatten it") from error
    except json.JSONDecodeError as error:
        raise ValidationError(
            f"the payload is not JSON: {error}, at {_place(text, error.pos)}; give an object in "
            'quotes, such as \'{"to": "ann@example.org"}\''
        ) from error


def _piped() -> bytes:
    try:
        data = sys.stdin.buffer.read(LONGEST + 1)
    except OSError as error:
        raise Unreadable(f"the payload cannot be read: {error.strerror or error}") from error
    if len(data) > LONGEST:
        raise ValidationError(
            f"the payload is longer than {LONGEST:,} bytes; put large data in a file"
        )
    return data


def _utf8(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValidationError(
            f"the payload is not UTF-8: {error.reason} at byte {error.start}"
        ) from error


def _place(text: str, position: int) -> str:
    """What stands around a position of a text, which may be long, and the position marked."""
    before, after = text[max(0, position - _AROUND) : position], text[position:][:_AROUND]
    cut = ("..." if position > _AROUND else "", "..." if len(text) > position + _AROUND else "")
    return repr(f"{cut[0]}{before}<HERE>{after}{cut[1]}")
