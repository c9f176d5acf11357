"""What becomes of Python's values in a document: each keeps its meaning, or is refused by name."""

from __future__ import annotations

import array
import dataclasses
import enum
import fractions
import ipaddress
import pathlib
import subprocess
import sys
import types
import uuid
from collections import ChainMap, Counter, UserDict, deque
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest

from portico.exceptions import ValidationError
from portico.ports import document
from portico.ports.document import MAX_METADATA
from portico.ports.draft import Draft
from portico.ports.json_values import is_plain, plain
from tests.support.jobs import make_job


@dataclasses.dataclass
class Point:
    x: int
    y: Any = None


class Colour(enum.Enum):
    RED = "r"
    BOX = (1, 2)


class Level(enum.IntEnum):
    HIGH = 3


class Text(str):
    __slots__ = ()


class Pair(NamedTuple):
    a: int
    b: int


NANOSECONDS = "2024-01-02T03:04:05.123456789"

KEPT: list[tuple[Any, Any]] = [
    (np.int64(3), 3),
    (np.float32(1.5), 1.5),
    (np.bool_(True), True),
    (np.str_("é"), "é"),
    (np.bytes_(b"x"), "eA=="),
    (np.array(4.5), 4.5),
    (np.datetime64(NANOSECONDS), NANOSECONDS),
    (np.datetime64("2024-01-02"), "2024-01-02"),
    (np.array(NANOSECONDS, "M8[ns]"), NANOSECONDS),
    (pd.Timestamp("2024-01-02", tz="Europe/Berlin"), "2024-01-02T00:00:00+01:00"),
    (pd.Timestamp(NANOSECONDS), NANOSECONDS),
    (pd.DataFrame({"a": [1], "d": [pd.Timestamp("2024-01-01")]}).to_dict("records"),
     [{"a": 1, "d": "2024-01-01T00:00:00"}]),
    (pd.Series({pd.Timestamp("2024-01-01"): 1.5}).to_dict(), {"2024-01-01T00:00:00": 1.5}),
    (Decimal("1.10"), "1.10"),
    (uuid.UUID(int=5), "00000000-0000-0000-0000-000000000005"),
    (b"\xff\x00", "/wA="),
    (bytearray(b"x"), "eA=="),
    (memoryview(b"x"), "eA=="),
    (2**70, 2**70),
    (-(2**65), -(2**65)),
    (date(2024, 1, 2), "2024-01-02"),
    (time(1, 2), "01:02:00"),
    (datetime(2024, 1, 2, tzinfo=UTC), "2024-01-02T00:00:00+00:00"),
    (datetime(2024, 1, 2), "2024-01-02T00:00:00"),  # noqa: DTZ001
    ({1}, [1]),
    (frozenset("a"), ["a"]),
    ((1, (2,)), [1, [2]]),
    (Pair(1, 2), [1, 2]),
    (Point(1, Colour.RED), {"x": 1, "y": "r"}),
    (Colour.BOX, [1, 2]),
    (Level.HIGH, 3),
    (Text("s"), "s"),
    (pathlib.PurePosixPath("/x"), "/x"),
    (Counter("aab"), {"a": 2, "b": 1}),
    (types.MappingProxyType({"a": 1}), {"a": 1}),
    (ChainMap({"a": 1}), {"a": 1}),
    (UserDict(a={1}), {"a": [1]}),
    ("a\x00b", "a\x00b"),
    ({None: 1, True: 2, 1.5: 3, 7: 4}, {"null": 1, "true": 2, "1.5": 3, "7": 4}),
    ({np.int64(1): 2}, {"1": 2}),
    ({date(2024, 1, 1): 1, Colour.RED: 2, b"k": 3, pathlib.PurePosixPath("/x"): 4},
     {"2024-01-01": 1, "r": 2, "aw==": 3, "/x": 4}),
]  # fmt: skip
NOTHING = [float("nan"), float("-inf"), np.float64("nan"), np.datetime64("NaT", "s"),
           np.timedelta64("NaT", "s"), pd.NaT, pd.NA]  # fmt: skip

circle: list[Any] = []
circle.append(circle)
deep: Any = 1
for _ in range(80):
    deep = [deep]


class Evil(dict[str, Any]):
    def items(self) -> Any:
        raise RuntimeError("evil")


class EvilText:
    def __str__(self) -> str:
        raise RuntimeError("evil")


class EvilPath:
    def __fspath__(self) -> str:
        raise RuntimeError("evil")


async def coroutine() -> None:
    pass


REFUSED: list[tuple[Any, str, str]] = [
    (np.arange(3), "a ndarray", r"\.tolist\(\)"),
    (np.timedelta64(5, "s"), "a timedelta64", 'numpy.timedelta64'),
    (np.timedelta64(5, "ns"), "a timedelta64", 'numpy.timedelta64'),
    (np.longdouble(1), "a longdouble", r"float\(\.\.\.\)"),
    (np.complex128(1j), "a complex128", "value.real"),
    (pd.Timedelta("1h"), "a Timedelta", "total_seconds"),
    (pd.Series([1]), "a Series", r"\.tolist\(\)"),
    (pd.DataFrame({"a": [1]}), "a DataFrame", r'\.to_dict\("records"\)'),
    (pd.Interval(0, 1), "an Interval", r"str\(\)"),
    (pd.Period("2024-01"), "a Period", r"str\(\)"),
    (timedelta(hours=1), "a timedelta", "total_seconds"),
    (deque([1]), "a deque", r"list\("),
    (range(3), "a range", r"list\("),
    ((n for n in ()), "a generator", r"list\("),
    ({"a": 1}.keys(), "a dict_keys", r"list\("),
    (array.array("i", [1]), "an array", "tolist"),
    (memoryview(np.arange(3)), "a memoryview", "tolist"),
    (1j, "a complex", "value.real"),
    (fractions.Fraction(1, 3), "a Fraction", r"str\(\)"),
    (ipaddress.ip_address("10.0.0.1"), "an IPv4Address", r"str\(\)"),
    (ValueError("x"), "a ValueError", r"str\(\)"),
    (int, "a type", "__name__"),
    (len, "a builtin_function_or_method", r"str\(\)"),
    (..., "an ellipsis", r"str\(\)"),
    (EvilText(), "an EvilText", r"str\(\)"),
    (10**5000, "more than 4300 digits", "hex"),
    ("a\udcff.csv", "half a surrogate pair", "remove it"),
    (deep, "deeper than 64 levels", "flatten"),
    (circle, "contains itself", "flatten"),
    ({1: "a", "1": "b"}, "two keys that are '1' as text", "rename"),
    ({None: "a", "null": "b"}, "two keys that are 'null' as text", "rename"),
    ({(1, 2): 5}, r"the key \(1, 2\), a tuple", "keys must be text"),
    ({float("nan"): 5}, "the key nan, a float", "keys must be text"),
    ({pd.NaT: 5}, "the key NaT, a NaTType", "keys must be text"),
    ({"a\udcff": 5}, r"the key 'a\\udcff', holds half", "remove it"),
    (Evil(a=1), "cannot be read: RuntimeError: evil", ""),
    (EvilPath(), "cannot be read: RuntimeError: evil", ""),
]  # fmt: skip


def encoders() -> list[Any]:
    return [document.encode, document.encode_result]


@pytest.mark.parametrize("encode", encoders())
@pytest.mark.parametrize(("value", "form"), KEPT, ids=lambda v: type(v).__name__)
def test_a_value_keeps_its_meaning_in_every_document(encode: Any, value: Any, form: Any) -> None:
    assert document.decode(encode({"rows": [value]}, "it")) == {"rows": [form]}
    assert is_plain(plain({"rows": [value]}, "it"))


@pytest.mark.parametrize("encode", encoders())
@pytest.mark.parametrize(
    ("value", "what", "way_out"),
    REFUSED,
    ids=[f"{n}-{what:.20}" for n, (_, what, _) in enumerate(REFUSED)],
)
def test_a_value_without_a_form_is_refused_by_place_and_type_with_the_way_out(
    encode: Any, value: Any, what: str, way_out: str
) -> None:
    with pytest.raises(ValidationError, match=rf"(?s){what}.*{way_out}") as caught:
        encode({"rows": [0, {"when": value}]}, "it")
    assert str(caught.value).startswith("it['rows'][1]['when']")
    assert len(str(caught.value)) < 500


def test_a_coroutine_is_to_be_awaited() -> None:
    pending = coroutine()
    with pytest.raises(ValidationError, match=r"a coroutine.*await it first"):
        document.encode({"a": pending}, "it")
    pending.close()


@pytest.mark.parametrize("value", NOTHING, ids=str)
def test_what_is_no_number_or_instant_is_null_in_a_result_and_refused_elsewhere(value: Any) -> None:
    assert document.decode(document.encode_result({"v": [value]})) == {"v": [None]}
    with pytest.raises(ValidationError, match=r"it\['v'\]\[0\] is .*use null"):
        document.encode({"v": [value]}, "it")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (pd.DataFrame({"a": [1]}), r'a DataFrame.*pass its \.to_dict\("records"\) under a key'),
        (pd.Series([1]), r"a Series.*pass its \.tolist\(\) under a key"),
        ([1], "a list.*pass it under a key"),
        ("x", "a str.*pass it under a key"),
        (None, "None.*pass it under a key"),
    ],
)
def test_a_document_that_is_no_object_is_told_how_to_become_one(value: Any, words: str) -> None:
    for encode in encoders():
        with pytest.raises(ValidationError, match=words):
            encode(value, "it")


def test_payload_and_metadata_of_a_job_go_by_the_rule_of_results() -> None:
    values = {"at": datetime(2024, 1, 2, tzinfo=UTC), "tags": {"a"}, "cost": Decimal("1.10")}
    draft = Draft.of(make_job(payload=values, metadata=values))
    assert draft.payload == draft.metadata == document.encode_result(values)
    with pytest.raises(ValidationError, match=r"metadata\['f'\] is a DataFrame"):
        document.encode({"f": pd.DataFrame()}, "metadata", MAX_METADATA)


def test_libraries_are_recognised_without_being_imported() -> None:
    script = (
        "import sys; from portico.ports import document\n"
        "from datetime import date; from uuid import uuid4\n"
        "document.encode_result({'a': [date.today(), uuid4(), {1}, float('nan')]})\n"
        "print({'numpy', 'pandas'} & set(sys.modules))"
    )
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert told.stdout.decode().strip() == "set()"
