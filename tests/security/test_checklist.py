"""Every requirement of the security checklist has a test, or a reason why it has none."""

from __future__ import annotations

import ast

from tests.security.attempts import ATTEMPTS
from tests.security.checklist import NEVER_WAIVED, REQUIREMENTS, WAIVERS
from tests.support.marks import TESTS, marked

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


def test_every_attempt_is_tried_again_by_tests_that_there_are() -> None:
    there = {
        f"{path.name}::{node.name}"
        for folder in (TESTS, TESTS.parent / "portico" / "testing")
        for path in folder.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    missing = {name for names in ATTEMPTS.values() for name in names} - there
    assert not missing, f"no such test: {', '.join(sorted(missing))}"
