"""Every requirement of the security checklist has a test, or a reason why it has none."""

from __future__ import annotations

from tests.security.checklist import NEVER_WAIVED, REQUIREMENTS, WAIVERS
from tests.support.marks import marked

MARKED = marked("security")


def test_every_requirement_has_a_test_or_a_waiver() -> None:
    covered = {requirement for requirement, _ in MARKED}
    missing = [name for name in REQUIREMENTS if name not in covered | WAIVERS.keys()]
    assert not missing, f"neither a test nor a waiver: {', '.join(missing)}"


def test_no_requirement_has_both_a_test_and_a_waiver() -> None:
    assert not {requirement for requirement, _ in MARKED} & WAIVERS.keys()


def test_every_marked_id_is_a_requirement() -> None:
    assert not [(name, where) for name, where in MARKED if name not in REQUIREMENTS]


def test_waivers_are_reasoned_and_for_nothing_that_exists() -> None:
    assert all(len(reason) > 20 for reason in WAIVERS.values())
    assert not WAIVERS.keys() & NEVER_WAIVED
    assert set(REQUIREMENTS) == NEVER_WAIVED | WAIVERS.keys()
