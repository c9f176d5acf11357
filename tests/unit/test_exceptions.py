"""The errors: default messages, and a way through a pickle."""

from __future__ import annotations

import copy
import inspect
import pickle

import pytest

from portico import exceptions
from portico.exceptions import ExternalServiceError

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

    twin = pickle.loads(pickle.dumps(original))

    assert type(twin) is error
    assert (str(twin), twin.message, twin.details) == ("no", "no", {"field": "amount"})
    assert repr(twin.cause) == repr(original.cause)


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


def test_an_error_of_another_service_names_it_and_keeps_what_it_met():
    refused = ConnectionError("refused")
    error = ExternalServiceError(service_name="payments", original_error=refused)
    assert str(error) == "The service payments failed: ConnectionError: refused"
    assert error.__cause__ is error.cause is error.original_error is refused
    assert (error.service_name, error.details["service_name"]) == ("payments", "payments")
    assert str(ExternalServiceError(service_name="payments")) == "The service payments failed"
    assert str(ExternalServiceError("no luck", service_name="payments")) == "no luck"
    assert str(ExternalServiceError()) == "A service outside of this application failed."


def test_an_error_of_another_service_survives_pickling_and_copying():
    error = ExternalServiceError(
        "no luck", {"status": 503}, service_name="payments", original_error=ValueError("x")
    )
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert (twin.message, twin.service_name) == ("no luck", "payments")
        assert twin.details == {"status": 503, "service_name": "payments"}
        assert repr(twin.original_error) == "ValueError('x')"
