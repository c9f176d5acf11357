"""The errors: default messages, and a way through a pickle."""

from __future__ import annotations

import inspect
import pickle

import pytest

from portico import exceptions

ERRORS = [
    value
    for value in vars(exceptions).values()
    if isinstance(value, type) and issubclass(value, exceptions.PorticoError)
]


@pytest.mark.parametrize("error", ERRORS)
def test_default_message_of_an_error_is_its_docstring(error):
    assert error.__doc__ is not None
    assert str(error()) == inspect.cleandoc(error.__doc__).splitlines()[0]


@pytest.mark.parametrize("error", ERRORS)
def test_error_survives_pickling_with_its_fields(error):
    original = error("no", details={"field": "amount"}, cause=OSError("gone"))

    copy = pickle.loads(pickle.dumps(original))

    assert type(copy) is error
    assert (str(copy), copy.message, copy.details) == ("no", "no", {"field": "amount"})
    assert repr(copy.cause) == repr(original.cause)


def test_cause_of_an_error_is_shown_in_tracebacks():
    cause = OSError("gone")

    assert exceptions.DatabaseError("no", cause=cause).__cause__ is cause


def test_every_error_is_a_portico_error():
    defined = [
        value
        for value in vars(exceptions).values()
        if isinstance(value, type) and value.__module__ == exceptions.__name__
    ]

    assert set(defined) == set(ERRORS)
