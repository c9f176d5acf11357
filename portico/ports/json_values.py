"""Python's values as JSON has them: one rule for payloads, metadata and results.

| a value | in the document |
|---|---|
| text, numbers, booleans, `None`, lists, mappings | as it is; a subclass as what it derives from |
| tuples, sets (in no order) | an array |
| dataclasses | an object of their fields |
| enum members | their value |
| dates, times, datetimes, also NumPy's and pandas' | ISO 8601 text, to the last digit |
| UUIDs, decimals, paths | text |
| bytes | base64 text |
| NumPy's numbers, booleans and texts, and arrays of no dimension | as Python's |
| NaN and the infinities, NaT, pandas' NA | null in a result, refused elsewhere |
| a key that is no text | the text of its form, as `1`, `true`, `null` or `2026-01-31` |

Anything else is refused, by its place and its type and with the way out: a value keeps its meaning
or does not get in. So are two keys that would become the same text. Libraries are recognised
without being imported: what is theirs cannot be here before they are.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import sys
from base64 import b64encode
from collections.abc import Collection, Iterable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

from portico.exceptions import ValidationError

MAX_DEPTH = 64
"""Objects and arrays inside of each other; decoders recurse in C and have no cap of their own."""

_MOST_BITS = 14_280
"""Of a whole number: Python writes and reads no more than 4300 digits of one."""
_LONGEST_PLACE = 120
_TEXT = frozenset({str})
_FLAT = frozenset((str, int, float, bool, type(None)))
_NESTED = frozenset({dict, list})
_OWN = _FLAT | _NESTED
_WAYS_OUT = (
    ("__await__", "await it first"),
    ("to_dicts", "pass its .to_dicts()"),  # a frame of polars
    ("to_pylist", "pass its .to_pylist()"),  # a table of Arrow
    ("iterrows", 'pass its .to_dict("records")'),  # a frame of pandas
    ("model_dump", 'pass its .model_dump(mode="json")'),  # a model of pydantic
    ("tolist", "pass its .tolist()"),  # an array of NumPy, a series of pandas
    ("keys", "pass dict(...) of it"),  # a row of a database
    ("__iter__", "pass list(...) of it"),
)


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


def plain(value: Mapping[Any, Any], name: str, *, nan_is_null: bool = False) -> dict[str, Any]:
    """The document in JSON's own types, as the table above has it.

    Args:
        value: a mapping.
        name: what the document is called in error messages, such as `payload`.
        nan_is_null: write null for what is no number or no instant, instead of refusing it.

    Raises:
        ValidationError: a value has no form, nests deeper than 64, or raises when it is read.
    """
    try:
        return _Forms(nan_is_null=nan_is_null).mapping(value, 1)
    except MemoryError:  # not the document's fault
        raise
    except Exception as error:  # noqa: BLE001 - reading a value may run its own code
        refusal = _refusal(error)
        raise ValidationError(refusal.told(name), cause=refusal.__cause__) from refusal.__cause__


def in_json(value: object, name: str) -> Any:
    """A document made plain where it has to be; one that is no mapping is left for its check.

    Raises:
        ValidationError: as `plain`.
    """
    if is_plain(value) or not isinstance(value, Mapping):
        return value
    return plain(value, name)


def no_object(value: object, name: str) -> ValidationError:
    """The error for a document that is no mapping."""
    way_out = _own_way_out(value)
    if way_out is None or isinstance(value, str | list | tuple | set | frozenset):
        way_out = "pass it"
    return ValidationError(
        f"{name} is {_article(value)}; it must be a JSON object (a dict with string keys): "
        f'{way_out} under a key, as {{"value": ...}}'
    )


class _Refusal(Exception):
    """A value that has no form; the way to it is noted while the error goes up."""

    def __init__(self, words: str) -> None:
        super().__init__(words)
        self.words = words
        self.steps: list[str | int] = []

    def told(self, name: str) -> str:
        place = name + "".join(f"[{step!r:.40}]" for step in reversed(self.steps))
        if len(place) > _LONGEST_PLACE:
            place = f"{place[: _LONGEST_PLACE - 3]}..."
        return f"{place} {self.words}"


class _Forms:
    """Makes the forms of one document."""

    def __init__(self, *, nan_is_null: bool) -> None:
        self._nan_is_null = nan_is_null

    def mapping(self, value: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        _check_depth(depth)
        made: dict[str, Any] = {}
        for key, item in value.items():
            text = self._key(key)
            if text in made:
                raise _Refusal(f"has two keys that are {text!r:.80} as text; rename one of them")
            made[text] = self._at(text, item, depth)
        return made

    def _array(self, value: Iterable[Any], depth: int) -> list[Any]:
        _check_depth(depth)
        return [self._at(index, item, depth) for index, item in enumerate(value)]

    def _at(self, step: str | int, item: object, depth: int) -> Any:
        try:
            return self._form(item, depth + 1)
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - the same
            refusal = _refusal(error)
            refusal.steps.append(step)
            raise refusal from refusal.__cause__

    def _form(self, value: object, depth: int) -> Any:
        if isinstance(value, Mapping):
            return self.mapping(value, depth)
        if isinstance(value, list | tuple | set | frozenset):
            return self._array(value, depth)
        if isinstance(value, Enum):
            return self._form(value.value, depth)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            names = [field.name for field in dataclasses.fields(value)]
            return self.mapping({name: getattr(value, name) for name in names}, depth)
        return self._scalar(value)

    def _key(self, key: object) -> str:
        try:
            if type(key) is str:
                return _text(key)
            form = _Forms(nan_is_null=False)._scalar(key.value if isinstance(key, Enum) else key)
        except _Refusal as refusal:
            why = f"{_article(key)}; keys must be text"
            raise _Refusal(
                f"has the key {key!r:.80}, {refusal.words if type(key) is str else why}"
            ) from None
        return form if isinstance(form, str) else json.dumps(form)

    def _scalar(self, value: object) -> Any:
        if _is_nothing(value):
            return self._nothing(value)
        match value:
            case None | bool():
                return value
            case str():
                return _text(str.__str__(value))
            case int():
                return _whole(int.__int__(value))
            case float():
                return float.__float__(value)
        text = _as_text(value)
        return self._foreign(value) if text is None else _text(text)

    def _foreign(self, value: Any) -> Any:
        """A scalar of NumPy, or of what behaves like it."""
        kind = getattr(getattr(value, "dtype", None), "kind", None)
        if kind == "M" and _is_of("numpy", "datetime64", value):
            return str(value)
        if getattr(value, "ndim", None) == 0 and kind is not None and kind not in "mM":
            item = value.item()
            if type(item) in _FLAT:
                return self._scalar(item)
        if kind == "M" and _is_of("numpy", "ndarray", value) and value.ndim == 0:
            return self._scalar(value[()])
        raise _Refusal(f"is {_article(value)}, which JSON has no form for; {_way_out(value)}")

    def _nothing(self, value: object) -> None:
        if not self._nan_is_null:
            raise _Refusal(f"is {value}; JSON has no such value, use null or a text")


def _as_text(value: object) -> str | None:
    """The text of what is text in a document."""
    match value:
        case datetime() | date() | time():
            return value.isoformat()
        case UUID() | Decimal():
            return str(value)
        case bytes() | bytearray():
            return b64encode(value).decode()
        case memoryview() if value.format in ("B", "b", "c"):
            return b64encode(value).decode()
        case os.PathLike():
            return os.fsdecode(value)
    return None


def _refusal(error: Exception) -> _Refusal:
    if isinstance(error, _Refusal):
        return error
    refusal = _Refusal(f"cannot be read: {type(error).__name__}: {_said(error)}")
    refusal.__cause__ = error
    return refusal


def _said(error: Exception) -> str:
    try:
        return f"{error!s:.200}"
    except Exception:  # noqa: BLE001 - an exception's text is made by its own code
        return "(it cannot say why)"


def _check_depth(depth: int) -> None:
    if depth > MAX_DEPTH:
        raise _Refusal(f"is nested deeper than {MAX_DEPTH} levels, or contains itself; flatten it")


def _text(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _Refusal("holds half a surrogate pair, which is not text; remove it") from None
    return text


def _whole(number: int) -> int:
    if number.bit_length() > _MOST_BITS:
        raise _Refusal("is a whole number of more than 4300 digits; pass its hex(...)")
    return number


def _is_nothing(value: object) -> bool:
    """Whether this is no number or no instant, and says so."""
    if isinstance(value, float):
        return not math.isfinite(value)
    if _is_of("numpy", "datetime64", value) or _is_of("numpy", "timedelta64", value):
        return value != value  # noqa: PLR0124 - as of everything that is not a time
    pandas = sys.modules.get("pandas")
    return pandas is not None and any(
        value is getattr(pandas, name, pandas) for name in ("NaT", "NA")
    )


def _is_of(library: str, name: str, value: object) -> bool:
    kind = getattr(sys.modules.get(library), name, None)
    return isinstance(kind, type) and isinstance(value, kind)


def _way_out(value: object) -> str:
    own = _own_way_out(value)
    return own or "pass its str(), or text, numbers, booleans, null, arrays or objects"


def _own_way_out(value: object) -> str | None:
    """What this kind of value offers."""
    if _is_of("numpy", "timedelta64", value):
        return 'pass its seconds: value / numpy.timedelta64(1, "s")'
    if _is_of("numpy", "number", value) and not isinstance(value, complex):
        return "pass int(...) or float(...) of it"
    match value:
        case timedelta():
            return "pass its .total_seconds()"
        case complex():
            return "pass [value.real, value.imag]"
        case type():
            return "pass its __name__"
    for name, words in _WAYS_OUT:
        if hasattr(type(value), name):
            return words
    return None


def _article(value: object) -> str:
    name = "None" if value is None else type(value).__name__
    return name if value is None else f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"
