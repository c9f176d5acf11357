from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from portico.adapters.job_queue._rows import (
    attempt_of,
    instant,
    micros,
    token_of,
)
from portico.adapters.job_queue._texts import message_text, traceback_text

FIRST = datetime(1970, 1, 1)  # noqa: DTZ001 - the strategy adds the zone
LAST = datetime(8999, 12, 31)  # noqa: DTZ001
INSTANTS = st.datetimes(FIRST, LAST, timezones=st.just(UTC))


@given(INSTANTS)
def test_instants_are_kept_to_the_microsecond(value: datetime) -> None:
    assert instant(micros(value)) == value


def test_instants_of_other_zones_are_kept_as_the_same_instant() -> None:
    value = datetime(2030, 7, 1, 12, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    assert instant(micros(value)) == value
    assert instant(None) is None


@given(st.integers(0, 2**32 - 1), st.binary(min_size=12, max_size=12))
def test_tokens_give_back_what_they_were_made_of(attempt: int, nonce: bytes) -> None:
    assert attempt_of(token_of(attempt, nonce)) == (attempt, nonce)


@given(st.text(st.characters()), st.integers(0, 3))
def test_stored_texts_are_valid_and_bounded(text: str, much: int) -> None:
    long = text * 10 ** (much + 1)
    for stored, limit in ((message_text(long), 8192), (traceback_text(long), 16384 * 4)):
        assert len(stored.encode()) <= limit
        assert "\0" not in stored


def test_of_a_long_traceback_the_end_is_kept() -> None:
    assert traceback_text("x" * 20_000 + "ValueError: the end").endswith("ValueError: the end")
