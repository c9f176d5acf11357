from __future__ import annotations

import pytest

from portico.examples.imports.datasets import DATASETS, Cleaner, free_form
from portico.exceptions import ValidationError

PLANES = DATASETS["planes"]
HEADER = "tailnum year type manufacturer model engines seats speed engine".split()
GOOD = ["N1", "2004", "Fixed wing", "EMBRAER", "EMB-145XR", "2", "55", "NA", "Turbo-fan"]


def with_value(column: str, text: str) -> list[str]:
    row = list(GOOD)
    row[HEADER.index(column)] = text
    return row


def test_texts_become_values_in_the_order_of_the_dataset() -> None:
    cleaned = Cleaner(PLANES, HEADER).clean([GOOD], start=40)

    values = ("N1", "EMBRAER", "EMB-145XR", "Fixed wing", "Turbo-fan", 2, 55, 2004, None)
    assert cleaned.rows == [(40, *values)]
    assert cleaned.rejected == []


def test_missing_values_are_counted_per_column() -> None:
    cleaned = Cleaner(PLANES, HEADER).clean([GOOD, with_value("year", ""), GOOD], start=0)

    assert cleaned.missing == {"speed": 3, "year": 1}


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (with_value("seats", "many"), "row 7: seats is 'many'"),
        (with_value("seats", "5.5"), "row 7: seats is '5.5'"),
        (with_value("tailnum", "NA"), "row 7: tailnum is missing"),
        (GOOD[:-1], "row 7: 8 fields instead of 9"),
        ([*GOOD, "extra"], "row 7: 10 fields instead of 9"),
    ],
)
def test_a_row_that_makes_no_sense_is_rejected_with_its_reason(
    record: list[str], reason: str
) -> None:
    cleaned = Cleaner(PLANES, HEADER).clean([record, GOOD], start=7)

    assert cleaned.rejected == [reason]
    assert [row[0] for row in cleaned.rows] == [8]


def test_an_infinite_number_is_no_measurement() -> None:
    airports = DATASETS["airports"]
    header = [column.name for column in airports.columns]
    record = ["JFK", "Kennedy", "inf", "1", "1", "1", "A", "zone"]

    assert Cleaner(airports, header).clean([record], 0).rejected == ["row 0: lat is 'inf'"]


def test_a_source_that_lacks_columns_is_refused() -> None:
    with pytest.raises(ValidationError, match="planes: the source has no column year, speed"):
        Cleaner(PLANES, [name for name in HEADER if name not in {"speed", "year"}])


def test_columns_may_come_in_any_order_and_with_others_between() -> None:
    header, record = ["note", *reversed(HEADER)], ["!", *reversed(GOOD)]

    assert Cleaner(PLANES, header).clean([record], 0).rows[0][1] == "N1"


@pytest.mark.parametrize(
    ("header", "message"), [([], "no header"), (["a", "A"], "each its own"), (["a", ""], "names")]
)
def test_a_source_of_ones_own_needs_columns_with_names(header: list[str], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        free_form(header)
