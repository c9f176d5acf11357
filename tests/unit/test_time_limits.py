"""Time limits as callers and stored jobs say them."""

from __future__ import annotations

from math import inf, nan

import pytest

from portico.exceptions import ValidationError
from portico.ports.time_limits import NAMES, TimeLimits, check_metadata

USUAL = TimeLimits(60.0, 5.0)


@pytest.mark.parametrize(
    "value",
    [10**400, -(10**400), nan, inf, -inf, True, "7", [7]],
    ids=["huge", "tiny", "nan", "inf", "-inf", "true", "text", "list"],
)
@pytest.mark.parametrize("name", NAMES)
def test_what_is_no_limit_is_refused_when_said_and_not_heard_when_stored(
    name: str, value: object
) -> None:
    with pytest.raises(ValidationError, match=name):
        check_metadata({name: value})
    assert USUAL.narrowed({name: value}) == USUAL


@pytest.mark.parametrize("value", [1, 0.001, 366 * 86_400])
def test_seconds_are_heard_as_whole_and_as_fractional_numbers(value: float) -> None:
    check_metadata({"job_timeout": value})
    assert USUAL.narrowed({"job_timeout": value}) == (value, 5.0)
