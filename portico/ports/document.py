"""JSON documents: what may be in a payload, in metadata and in a result.

The stores keep them as JSON bytes, and the supervisor carries those bytes unopened from the store
to the worker. Payloads and metadata are strict: what goes in is what comes out, so a set or a
datetime is refused by name instead of being changed in silence. Results are lenient, for a
handler that has done its work should not lose it over a datetime: `encode_result` documents what
becomes of each type.
"""

from __future__ import annotations

import dataclasses
import json
import math
from base64 import b64encode
from collections.abc import Iterator, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

from portico.exceptions import ValidationError

MAX_PAYLOAD = 1024 * 1024
"""Bytes of an encoded payload or result."""
MAX_METADATA = 64 * 1024
"""Bytes of encoded metadata."""
MAX_STORED = 16 * MAX_PAYLOAD - MAX_METADATA
"""Bytes of payload and metadata that a job may have in a store, whoever wrote it there: what is
larger is not sent to a worker, and a store does not lease it."""
MAX_DEPTH = 64
"""Objects and arrays inside of each other; decoders recurse in C and have no cap of their own."""

EMPTY = b"{}"

_strict = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
_SCALARS = (str, int, float, bool, type(None))


def encode(value: object, name: str, limit: int = MAX_PAYLOAD) -> bytes:
    """Encode a document strictly.

    Args:
        value: a mapping with string keys, holding only JSON's own types; tuples count as arrays.
        name: what the document is called in error messages, such as `payload`.
        limit: bytes it may have.

    Raises:
        ValidationError: not an object, a value that JSON has no form for, nested deeper than 64,
            or over the limit; the message names the place and the way out.
    """
    if not isinstance(value, Mapping):
        raise ValidationError(
            f"{name} is {_article(value)}; it must be a JSON object (a dict with string keys)"
        )
    if not value:
        return EMPTY
    return _bounded(_encode_checked(value, name), name, limit)


def encode_result(value: object, name: str = "result_data", limit: int = MAX_PAYLOAD) -> bytes:
    """Encode a handler's result, turning common Python types into JSON's.

    Sets become arrays (in no order), bytes base64 text, dates and times ISO 8601 text, UUIDs,
    decimals and paths text, enum members their value, dataclasses objects, NaN and the infinities
    null, and keys that are not strings their text.

    Raises:
        ValidationError: no object, no JSON form, nested deeper than 64, or over the limit.
    """
    if not isinstance(value, Mapping):
        raise ValidationError(
            f"{name} is {_article(value)}; it must be a JSON object (a dict with string keys)"
        )
    if not value:
        return EMPTY
    try:
        body = _strict.encode(value).encode()
        if _shallow(body):
            return _bounded(body, name, limit)
    except (TypeError, ValueError, RecursionError):
        pass  # not plain JSON: bring it into that form, or say where that fails
    return _bounded(_encode_checked(_plain(value, name, 1), name), name, limit)


def decode(body: bytes | str) -> dict[str, Any]:
    """Decode a stored document.

    Raises:
        ValueError: it is not a JSON object.
    """
    try:
        value = json.loads(body if isinstance(body, str) else body.decode())  # spares a guess
    except RecursionError as error:
        raise ValueError("stored document is nested too deeply") from error
    if not isinstance(value, dict):
        raise ValueError(f"stored document is {_article(value)}, not an object")
    return value


def check(body: bytes, name: str, limit: int = MAX_PAYLOAD) -> None:
    """Hold an encoded document against the limits without decoding it.

    Raises:
        ValidationError: over the limit, or nested deeper than 64.
    """
    _bounded(body, name, limit)
    if too_deep(body):
        raise ValidationError(f"{name} is nested deeper than {MAX_DEPTH} levels; flatten it")


def too_deep(body: bytes) -> bool:
    """Whether an encoded document nests deeper than 64, told without decoding it."""
    return not _shallow(body) and _depth(body) > MAX_DEPTH


def _encode_checked(value: Mapping[Any, Any], name: str) -> bytes:
    try:
        body = _strict.encode(value).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ValidationError(_first_flaw(value, name) or f"{name}: {error}") from error
    if (_non_string_keys(body, value) or not _shallow(body)) and (flaw := _first_flaw(value, name)):
        raise ValidationError(flaw)
    return body


def _non_string_keys(body: bytes, value: Mapping[Any, Any]) -> bool:
    """Whether a key might have been turned into text: looks closer only at nested documents."""
    if not all(type(key) is str for key in value):
        return True
    return body.count(b"{") > 1


def _bounded(body: bytes, name: str, limit: int) -> bytes:
    if len(body) > limit:
        raise ValidationError(
            f"{name} has {len(body):,} bytes, over the limit of {limit:,}; "
            "put large data in a file or an object store and pass its address",
            {"field": name, "bytes": len(body), "limit": limit},
        )
    return body


def _shallow(body: bytes) -> bool:
    """Cheap and sure: with at most 64 opening brackets nothing is nested deeper than that."""
    return len(body) <= 2 * MAX_DEPTH or body.count(b"{") + body.count(b"[") <= MAX_DEPTH


def _depth(body: bytes) -> int:
    depth = deepest = 0
    in_text = escaped = False
    for byte in body:
        if in_text:
            if escaped:
                escaped = False
            elif byte == 0x5C:
                escaped = True
            elif byte == 0x22:
                in_text = False
        elif byte == 0x22:
            in_text = True
        elif byte in b"{[":
            depth += 1
            deepest = max(deepest, depth)
        elif byte in b"}]":
            depth -= 1
    return deepest


def _first_flaw(value: object, path: str) -> str | None:
    return next(_flaws(value, path, 1), None)


def _flaws(value: object, path: str, depth: int) -> Iterator[str]:
    """Each place in `value` that JSON cannot hold, in words."""
    if isinstance(value, float) and not math.isfinite(value):
        yield f"{path} is {value}; JSON has no such number, use null or a text"
    elif isinstance(value, str):
        if not _encodable(value):
            yield f"{path} holds half a surrogate pair, which is not text; remove it"
    elif isinstance(value, _SCALARS):
        return
    elif not isinstance(value, dict | list | tuple):
        yield f"{path} is {_article(value)}, which JSON has no form for; {_way_out(value)}"
    elif depth > MAX_DEPTH:
        yield f"{_short(path)} is nested deeper than {MAX_DEPTH} levels; flatten it"
    elif isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                yield f"{path} has the key {key!r}, {_article(key)}; keys must be strings"
            else:
                yield from _flaws(item, f"{path}.{key}", depth + 1)
    else:
        for index, item in enumerate(value):
            yield from _flaws(item, f"{path}[{index}]", depth + 1)


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _plain(value: object, path: str, depth: int) -> Any:
    """The nearest JSON value of a result."""
    if depth > MAX_DEPTH + 1:
        raise ValidationError(f"{_short(path)} is nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, Mapping):
        return {
            key if isinstance(key, str) else str(_plain_scalar(key, path)): _plain(
                item, f"{path}.{key}", depth + 1
            )
            for key, item in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item, f"{path}[{n}]", depth + 1) for n, item in enumerate(value)]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        return _plain(fields, path, depth)
    return _plain_scalar(value, path)


def _plain_scalar(value: object, path: str) -> Any:
    match value:
        case Enum():
            return _plain_scalar(value.value, path)
        case float() if not math.isfinite(value):
            return None
        case str() | int() | float() | None:
            return value
        case datetime() | date() | time():
            return value.isoformat()
        case bytes() | bytearray() | memoryview():
            return b64encode(value).decode()
        case UUID() | Decimal():
            return str(value)
    if hasattr(value, "__fspath__"):
        return str(value)
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:  # a number of NumPy
        return _plain_scalar(value.item(), path)
    raise ValidationError(f"{path} is {_article(value)}, which JSON has no form for")


def _way_out(value: object) -> str:
    match value:
        case datetime() | date() | time():
            return "pass its isoformat()"
        case set() | frozenset():
            return "pass a list"
        case bytes() | bytearray() | memoryview():
            return "pass base64 text, or an address of the data"
        case UUID() | Decimal():
            return "pass its str()"
    return "pass text, numbers, booleans, null, arrays or objects"


def _article(value: object) -> str:
    name = "None" if value is None else type(value).__name__
    return name if value is None else f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"


def _short(path: str) -> str:
    return path if len(path) <= 80 else f"{path[:77]}..."
