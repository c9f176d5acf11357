"""Every row of the fault matrix has a test, or a reason why it has none."""

from __future__ import annotations

from tests.faults.matrix import MOST_WAIVERS, NEVER_WAIVED, ROWS, WAIVERS
from tests.support.marks import marked

MARKED = marked("fault")


def test_every_row_has_a_test_or_a_waiver() -> None:
    covered = {row for row, _ in MARKED}
    missing = [row for row in ROWS if row not in covered | WAIVERS.keys()]
    assert not missing, f"neither a test nor a waiver: {', '.join(missing)}"


def test_no_row_has_both_a_test_and_a_waiver() -> None:
    assert not {row for row, _ in MARKED} & WAIVERS.keys()


def test_every_marked_id_is_a_row_of_the_matrix() -> None:
    unknown = [(row, where) for row, where in MARKED if row not in ROWS]
    assert not unknown


def test_waivers_are_few_reasoned_and_for_none_of_the_rows_that_must_be_covered() -> None:
    assert len(WAIVERS) <= MOST_WAIVERS
    assert all(len(reason) > 20 for reason in WAIVERS.values())
    assert not WAIVERS.keys() & NEVER_WAIVED
