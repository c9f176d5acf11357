"""JSON documents: what may be in a payload, in metadata and in a result.

The stores keep them as JSON bytes, and the supervisor carries those bytes unopened from the store
to the worker. What becomes of Python's values is one rule for all of them, that of `json_values`;
only NaN and its like are null in a result, for a handler that has done its work should not lose it
over them, and refused elsewhere.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from portico.exceptions import ValidationError
from portico.ports.json_values import MAX_DEPTH as MAX_DEPTH
from portico.ports.json_values import is_plain as is_plain
from portico.ports.json_values import no_object, plain

MAX_PAYLOAD = 1024 * 1024
"""Bytes of an encoded payload or result."""
MAX_METADATA = 64 * 1024
"""Bytes of encoded metadata."""
MAX_STORED = 16 * MAX_PAYLOAD - MAX_METADATA
"""Bytes of payload and metadata that a job may have in a store, whoever wrote it there: what is
larger is not sent to a worker, and a store does not lease it."""

EMPTY = b"{}"

_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
_IN_QUOTES = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_ALIKE = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS = bytes(set(range(256)) - set(b"{}[]"))


def encode(value: object, name: str, limit: int = MAX_PAYLOAD) -> bytes:
    """Encode a payload or metadata; `json_values` says what becomes of each type.

    Args:
        value: a mapping.
        name: what the document is called in error messages, such as `payload`.
        limit: bytes it may have.

    Raises:
        ValidationError: not an object, a value that JSON has no form for, NaN included, nested
            deeper than 64, or over the limit; the message names the place and the way out.
    """
    return _bounded(_written(value, name, (_write,)), name, limit)


def encode_result(
    value: object,
    name: str = "result_data",
    limit: int = MAX_PAYLOAD,
    *,
    encoder: Callable[[Any], bytes] | None = None,
) -> bytes:
    """Encode a handler's result, by the same rule; NaN and the infinities become null.

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
    writers = (_write,) if encoder is None else (encoder, _write)
    return _bounded(_written(value, name, writers, nan_is_null=True), name, limit)


def _written(
    value: object,
    name: str,
    writers: tuple[Callable[[Any], bytes], ...],
    *,
    nan_is_null: bool = False,
) -> bytes:
    """A document as bytes, by the first writer that can; made plain first where it is not."""
    if not isinstance(value, Mapping):
        raise no_object(value, name)
    if type(value) is dict and not value:  # as most metadata and many a result
        return EMPTY
    if is_plain(value):
        for write in writers:
            try:
                return write(value)
            except (ValueError, OverflowError):  # what `plain` tells, or makes null
                continue
    return _write(plain(value, name, nan_is_null=nan_is_null))


def _write(value: Any) -> bytes:
    return _json.encode(value).encode()


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
        raise ValueError(f"stored document is of type {type(value).__name__}, not an object")
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
