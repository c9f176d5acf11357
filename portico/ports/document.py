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
import re
from base64 import b64encode
from collections.abc import Callable, Collection, Iterator, Mapping
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
_TEXT = frozenset({str})
_FLAT = frozenset(_SCALARS)
_NESTED = frozenset({dict, list})
_OWN = _FLAT | _NESTED

_IN_QUOTES = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_ALIKE = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS = bytes(set(range(256)) - set(b"{}[]"))


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


def encode_result(
    value: object,
    name: str = "result_data",
    limit: int = MAX_PAYLOAD,
    *,
    encoder: Callable[[Any], bytes] | None = None,
) -> bytes:
    """Encode a handler's result, turning common Python types into JSON's.

    Sets become arrays (in no order), bytes base64 text, dates and times ISO 8601 text, UUIDs,
    decimals and paths text, enum members their value, dataclasses objects, NaN and the infinities
    null, and keys that are not strings their text.

    Args:
        value: a mapping.
        name: what it is called in error messages.
        limit: bytes it may have.
        encoder: a faster one for results that are plain JSON and hold no more than numbers of 64
            bits; it writes NaN and the infinities as null, and raises `ValueError` or
            `OverflowError` for what it cannot write.

    Raises:
        ValidationError: no object, no JSON form, nested deeper than 64, or over the limit.
    """
    if not isinstance(value, Mapping):
        raise ValidationError(
            f"{name} is {_article(value)}; it must be a JSON object (a dict with string keys)"
        )
    if not value:
        return EMPTY
    body = _quickly(value, encoder)
    if body is None:
        body = _encode_checked(_plain(value, name, 1), name)
    return _bounded(body, name, limit)


def _quickly(value: Mapping[Any, Any], encoder: Callable[[Any], bytes] | None) -> bytes | None:
    """A result as it is; `None`: it must be brought into JSON's form, or be told where it fails."""
    try:
        if encoder is not None and is_plain(value):
            return encoder(value)
        body = _strict.encode(value).encode()
    except (TypeError, ValueError, OverflowError, RecursionError):
        return None
    return None if too_deep(body) else body


def decode(body: bytes | str) -> dict[str, Any]:
    """Decode a stored document.

    Raises:
        ValueError: it is not a JSON object.
    """
    if body == EMPTY:  # as most metadata is
        return {}
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
    return not _shallow(body) and _deep(body)


def _encode_checked(value: Mapping[Any, Any], name: str) -> bytes:
    try:
        body = _strict.encode(value).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ValidationError(_first_flaw(value, name) or f"{name}: {error}") from error
    if not is_plain(value) and (flaw := _first_flaw(value, name)):
        raise ValidationError(flaw)
    return body


def is_plain(value: object) -> bool:
    """Whether a value holds nothing but the very types that JSON's decoder makes, with keys that
    are text, and nested at most 64 deep. Told a level at a time, without a call per item."""
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        deeper: list[Any] = []
        for item in level:
            items: Collection[Any] = item
            if type(item) is dict:
                if not _TEXT.issuperset(map(type, item)):
                    return False
                items = item.values()
            elif type(item) is not list:
                return False
            kinds = set(map(type, items))
            if not kinds <= _FLAT:
                if not kinds <= _OWN:
                    return False
                deeper += [one for one in items if type(one) in _NESTED]
        if not deeper:
            return True
        level = deeper
    return False


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
    if len(body) <= 2 * MAX_DEPTH:
        return True
    seen = 0
    for bracket in (b"{", b"["):
        at = body.find(bracket)  # many times as fast as `count` where there are few or very many
        while at >= 0:
            seen += 1
            if seen > MAX_DEPTH:
                return False
            at = body.find(bracket, at + 1)
    return True


def _deep(body: bytes) -> bool:
    """Whether brackets nest deeper than 64: each round takes the innermost ones away."""
    left = _IN_QUOTES.sub(b"", body).translate(_ALIKE, _NO_BRACKETS)
    for rounds in range(MAX_DEPTH + 1):
        fewer = left.replace(b"[]", b"")
        if len(fewer) == len(left):  # nothing is left, or they do not match: no decoder takes that
            return rounds + left.count(b"[") > MAX_DEPTH
        left = fewer
    return True


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
