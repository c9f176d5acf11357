"""JSON lines as arguments of `create_job`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from difflib import get_close_matches
from typing import IO, Any, NamedTuple

from portico.exceptions import PorticoError, ValidationError
from portico.supervisor.parsing import timeout
from portico.utils.durations import seconds_of, within_reason

LONGEST = 4 * 1024 * 1024
"""Bytes of a line; a payload may have 1 MiB, and escapes can make up to six bytes of one."""

_NAMES = {
    "type": "job_type", "queue": "queue_name", "id": "job_id", "at": "scheduled_at",
    "in": "delay", "payload": "payload", "priority": "priority", "max_retries": "max_retries",
    "created_by": "created_by", "metadata": "metadata", "job_type": "job_type",
    "queue_name": "queue_name", "job_id": "job_id", "scheduled_at": "scheduled_at",
    "timeout": "job_timeout", "job_timeout": "job_timeout", "kill_grace": "kill_grace",
}  # fmt: skip
_OFFERED = (
    "type, payload, queue, priority, in, at, max_retries, timeout, kill_grace, id, created_by, "
    "metadata"
)


class Unreadable(PorticoError):
    """The lines cannot be read."""


class Numbered(NamedTuple):
    """A line as it was read; `None` when it is longer than `LONGEST`."""

    number: int
    text: bytes | None


class JobLine(NamedTuple):
    """The arguments of `create_job` that a line asks for."""

    number: int
    arguments: Mapping[str, Any]


def numbered(stream: IO[bytes]) -> Iterator[Numbered]:
    """The lines of a stream that are not empty, numbered from 1, never more than one in memory.

    Raises:
        Unreadable: the stream is none that can be read, or it broke.
    """
    number = 0
    while text := _next(stream):
        number += 1
        if len(text) == LONGEST and not text.endswith(b"\n"):
            while (rest := _next(stream)) and not rest.endswith(b"\n"):
                pass
            yield Numbered(number, None)
        elif text.strip():
            yield Numbered(number, text)


def _next(stream: IO[bytes]) -> bytes:
    try:
        return stream.readline(LONGEST)
    except OSError as error:
        raise Unreadable(f"the lines cannot be read: {error.strerror or error}") from error


def read_line(line: Numbered, defaults: Mapping[str, Any]) -> JobLine:
    """Read one line.

    Raises:
        ValidationError: it is not a JSON object, or has a key that no job has.
    """
    entries = _object(line)
    arguments = dict(defaults)
    for key, value in entries.items():
        if key not in _NAMES:
            raise ValidationError(f"unknown key {key!r}{_meant(key)}; a line may have {_OFFERED}")
        arguments[_NAMES[key]] = value
    if missing := [key for key in ("type", "payload") if _NAMES[key] not in arguments]:
        raise ValidationError(f"{' and '.join(missing)} must be given")
    if entries.get("in") is not None and entries.keys() & {"at", "scheduled_at"}:
        raise ValidationError("in and at exclude each other; give one of them")
    if arguments.get("job_timeout") is not None:
        arguments["job_timeout"] = _seconds("timeout", arguments["job_timeout"], timeout) or None
    if "kill_grace" in arguments:
        arguments["kill_grace"] = _seconds("kill_grace", arguments["kill_grace"])
    if entries.keys() & {"at", "scheduled_at"}:
        arguments.pop("delay", None)
    if arguments.get("delay") is not None:
        arguments["delay"] = _seconds("in", arguments["delay"])
        arguments.pop("scheduled_at", None)
    elif isinstance(arguments.get("scheduled_at"), str):
        arguments["scheduled_at"] = _instant(arguments["scheduled_at"])
    return JobLine(line.number, arguments)


def _meant(key: str) -> str:
    close = get_close_matches(key, _NAMES, 1)
    return f", did you mean {close[0]!r}?" if close else ""


def _object(line: Numbered) -> dict[str, Any]:
    if line.text is None:
        raise ValidationError(f"longer than {LONGEST:,} bytes; put large data in a file")
    try:
        value = json.loads(line.text.decode("utf-8-sig" if line.number == 1 else "utf-8"))
    except UnicodeDecodeError as error:
        raise ValidationError(f"not UTF-8: {error.reason} at byte {error.start}") from error
    except RecursionError as error:
        raise ValidationError("nested deeper than 64 levels; flatten it") from error
    except ValueError as error:
        raise ValidationError(f"not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ValidationError('not a JSON object; write {"type": "...", "payload": {...}}')
    return value


def _seconds(
    name: str, said: object, read: Callable[[str], float | None] = seconds_of
) -> float | None:
    try:
        if isinstance(said, str):
            return read(said)
        if isinstance(said, float | int) and not isinstance(said, bool) and said >= 0:
            return within_reason(said)
    except ValueError as way_out:
        raise ValidationError(f"{name} is {said!r:.80}: {way_out}") from None
    raise ValidationError(f"{name} is {said!r:.80}: give seconds, or text such as 5m or 1h30m")


def _instant(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise ValidationError(
            f"at is {text!r}; give ISO 8601, such as 2026-05-01T09:00Z"
        ) from error
