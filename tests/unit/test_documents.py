"""Documents by example and against slower, plainer ways to do the same."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from portico.exceptions import ValidationError
from portico.ports import document
from portico.ports.document import MAX_DEPTH

TEXTS = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from('[]{}"\\'))
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner), max_leaves=200
)
DOCUMENTS = st.dictionaries(TEXTS, VALUES)
encoder = msgspec.json.Encoder().encode


def depth_of(value: object) -> int:
    if not isinstance(value, dict | list):
        return 0
    items = value.values() if isinstance(value, dict) else value
    return 1 + max(map(depth_of, items), default=0)


def without_infinities(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_infinities(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_infinities(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@given(DOCUMENTS, st.integers(0, MAX_DEPTH + 2), st.integers(0, 40))
def test_depth_is_told_by_brackets_outside_of_texts(
    value: dict[str, Any], around: int, beside: int
) -> None:
    deep: Any = [value, *[[] for _ in range(beside)]]
    for level in range(around):
        deep = {"[": deep} if level % 2 else [deep, "]"]
    body = json.dumps(deep).encode()
    assert document.too_deep(body) == (depth_of(deep) > MAX_DEPTH)


@pytest.mark.parametrize("body", [b"[" * 100, b"[" * 200 + b"]" * 100, b'"' + b"[" * 100])
def test_brackets_that_do_not_match_and_are_too_many_reach_no_decoder(body: bytes) -> None:
    assert document.too_deep(body + b" " * 100)


@given(DOCUMENTS)
def test_the_fast_encoder_of_results_writes_what_the_other_one_does(value: dict[str, Any]) -> None:
    fast, slow = document.encode_result(value, encoder=encoder), document.encode_result(value)
    assert document.decode(fast) == document.decode(slow) == without_infinities(value)


@pytest.mark.parametrize(
    "value",
    [{1: "a"}, {"a": (1, 2)}, {"a": {1, 2}}, {"a": {"b": b"c"}}, {"a": [{None: 1}]}, {"a": object}],
)
def test_what_is_not_plain_never_reaches_the_fast_encoder(value: dict[Any, Any]) -> None:
    def reached(_: object) -> bytes:
        raise AssertionError("it was encoded")

    assert not document.is_plain(value)
    try:
        fast = document.encode_result(value, encoder=reached)
    except ValidationError:
        with pytest.raises(ValidationError):
            document.encode_result(value)
    else:
        assert fast == document.encode_result(value)


def test_a_number_of_more_than_64_bits_survives_in_a_result() -> None:
    value = {"n": [2**64, -(2**200)]}
    assert document.decode(document.encode_result(value, encoder=encoder)) == value


def test_half_a_surrogate_pair_in_a_result_is_named() -> None:
    with pytest.raises(ValidationError, match="half a surrogate pair"):
        document.encode_result({"text": "\ud800"}, encoder=encoder)
