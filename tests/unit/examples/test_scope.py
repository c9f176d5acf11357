from __future__ import annotations

import pytest

from portico.examples.reports.scope import Scope
from portico.exceptions import ValidationError


@pytest.mark.parametrize(
    ("report_type", "subject", "slug"),
    [
        ("overview", "", "overview"),
        ("carrier", "UA", "carrier-UA"),
        ("origin", "JFK", "origin-JFK"),
        ("destination", "LAX", "destination-LAX"),
        ("month", "2", "month-02"),
        ("month", "11", "month-11"),
    ],
)
def test_a_slice_has_a_name_for_its_files(report_type: str, subject: str, slug: str) -> None:
    assert Scope.of(report_type, subject).slug == slug


@pytest.mark.parametrize(
    ("report_type", "subject", "message"),
    [
        ("overview", "UA", "except for the type overview"),
        ("carrier", "", "subject is required"),
        ("month", "13", "a month is 1 to 12"),
        ("month", "May", "a month is 1 to 12"),
        ("carrier", "../UA", "letters and digits only"),
    ],
)
def test_a_subject_that_does_not_fit_is_refused(
    report_type: str, subject: str, message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        Scope.of(report_type, subject)
