from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import create_engine, text
from sqlalchemy.exc import IntegrityError

from portico.exceptions import JobTimeoutError, PorticoError, WorkerLostError
from portico.kits.job.failures import (
    MAX_MESSAGE,
    MAX_TRACEBACK,
    as_exception,
    error_of,
    failure,
    failure_of,
    printable,
)
from portico.ports.leasing import Failure


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


class Mute(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")


class Exiting(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)


class OddMeta(type):
    @property
    def __name__(cls) -> str:  # type: ignore[override]
        raise RuntimeError("nameless")


class Nameless(Exception, metaclass=OddMeta):
    pass


def test_a_failure_has_class_name_message_and_traceback():
    reason = failure_of(raised(ValueError("no such user")))
    assert (reason.type, reason.message) == ("ValueError", "no such user")
    assert "in raised" in reason.traceback
    assert reason.traceback.endswith("ValueError: no such user\n")


def test_an_error_without_words_is_told_by_its_class():
    assert failure_of(KeyError()).message == "KeyError without a text"


def test_our_own_frames_can_be_left_out_but_never_the_innermost():
    def handler() -> None:
        raise ValueError("x")

    try:
        handler()
    except ValueError as error:
        whole, without, innermost = (failure_of(error, n).traceback for n in (0, 1, 9))
    assert "in test_our_own_frames" in whole
    assert "in test_our_own_frames" not in without
    assert "in handler" in innermost


@pytest.mark.parametrize("hostile", [Mute(), Exiting(), Nameless("x")])
def test_a_hostile_exception_is_put_into_words_all_the_same(hostile):
    reason = failure_of(raised(hostile))
    assert reason.type
    assert reason.message


def test_causes_in_a_circle_come_to_an_end():
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one
    assert "one" in failure_of(raised(one)).traceback


def test_a_message_of_fifty_megabytes_is_cut():
    reason = failure_of(raised(ValueError("ä" * 25_000_000)))
    assert len(reason.message.encode()) <= MAX_MESSAGE
    assert len(reason.traceback.encode()) <= MAX_TRACEBACK
    assert reason.message.endswith("ä")
    assert "ä…ä" in reason.message
    assert "in raised" in reason.traceback


@pytest.mark.parametrize("length", [9_000, 200_000])
def test_of_a_long_message_both_ends_are_kept(length: int) -> None:
    reason = failure_of(
        raised(ValueError(f"the import failed: {'x' * length}: row 81 has no price"))
    )
    for told in (reason.message, reason.traceback.rstrip()):
        assert "the import failed: xxx" in told
        assert told.endswith("xxx: row 81 has no price")


def test_values_that_a_database_was_given_stay_out_of_messages_and_tracebacks() -> None:
    engine = create_engine("sqlite://")
    with engine.connect() as connection:
        connection.execute(text("CREATE TABLE users (email TEXT PRIMARY KEY, note TEXT)"))
        insert = text("INSERT INTO users VALUES (:email, :note)")
        values = {"email": "ann@example.org", "note": "]\n[parameters: ] secret"}
        connection.execute(insert, values)
        with pytest.raises(IntegrityError) as caught:
            connection.execute(insert, values)
    engine.dispose()
    around = RuntimeError(f"cannot sign up: {caught.value}")
    around.__cause__ = caught.value
    group = ExceptionGroup("two", [caught.value, around])
    for error in (caught.value, raised(around), raised(group)):
        reason = failure_of(error)
        for told in (reason.message, reason.traceback):
            assert "ann@example.org" not in told
            assert "secret" not in told
        assert "UNIQUE constraint failed: users.email" in reason.traceback
        assert "[parameters: not shown]" in reason.traceback
        assert "sqlalche.me" in reason.traceback


def test_a_row_that_a_constraint_keeps_out_is_not_shown() -> None:
    said = (
        'null value in column "price" violates not-null constraint\n'
        "DETAIL:  Failing row contains (81, ann@example.org, null).\nCONTEXT:  COPY prices"
    )
    reason = failure_of(raised(ValueError(said)))
    assert reason.message == said.replace(
        "Failing row contains (81, ann@example.org, null).", "Failing row not shown."
    )
    assert "ann@" not in reason.traceback


def test_a_deep_recursion_keeps_the_innermost_frames():
    def down(n: int) -> None:
        if n == 0:
            raise ValueError("at the bottom")
        down(n - 1)

    try:
        down(500)
    except ValueError as error:
        reason = failure_of(error)
    assert reason.traceback.endswith("ValueError: at the bottom\n")
    assert 'raise ValueError("at the bottom")' in reason.traceback


@given(st.text(), st.integers(8, 64))
def test_printable_text_is_bounded_and_every_store_takes_it(said, limit):
    shown = printable(said, limit)
    assert len(shown.encode("utf-8")) <= limit
    assert "\x00" not in shown


def test_nul_and_half_surrogates_are_spelled_out():
    assert printable("a\x00b\ud800c", 100) == "a\\x00b\\ud800c"
    assert failure("T\x00", "m\udfff", "t\x00") == Failure("T\\x00", "m\\udfff", "t\\x00")


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("WorkerLostError", WorkerLostError),
        ("JobTimeoutError", JobTimeoutError),
        ("Odd", PorticoError),
    ],
)
def test_a_failure_becomes_the_error_that_on_failure_is_told(kind, expected):
    error = error_of(Failure(kind, "why"))
    assert type(error) is expected
    assert str(error) == "why"


def test_what_except_exception_would_not_catch_is_wrapped():
    leaving = SystemExit(3)
    wrapped = as_exception(leaving)
    assert isinstance(wrapped, PorticoError)
    assert wrapped.__cause__ is leaving
    assert "SystemExit: 3" in str(wrapped)


def test_an_exception_is_passed_on_as_it_is():
    error = ValueError("x")
    assert as_exception(error) is error
