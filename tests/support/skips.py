"""Skips that would count as covered: a run in CI fails for them."""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest

MARKS = frozenset({"fault", "security", "servers"})
"""What these say is promised of every run: the matrix counts marks, and not what ran."""
ELSEWHERE = ("reads /proc", "only Linux has", "seals are Linux's")
"""How reasons begin that hold on another platform; on Linux they are never given."""
NOT_OF_THIS_STORE = ("this store judges leases by its own clock",)
"""How reasons begin for which a rule means nothing to a store, in whatever surroundings."""
WITHOUT_RIGHTS = (
    "only root can", "starts supervisors as root", "hosts are network namespaces",
    "needs the right to",
)  # fmt: skip
"""How reasons begin that hold for whoever is not root."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let a test that must run, and was skipped, be a failed one where `CI` is set."""
    report = yield
    promised = sorted(MARKS & {mark.name for mark in item.iter_markers()})
    expected = hasattr(report, "wasxfail")  # a failure that is known, which pytest calls skipped
    if os.environ.get("CI") and promised and report.skipped and not expected:
        reason = _reason(report)
        if not reason.startswith(_allowed()):
            report.outcome = "failed"
            report.longrepr = (
                f"{item.nodeid} is marked {', '.join(promised)} and was skipped ({reason}): where "
                "CI is set it must run; bring what it needs, or allow the reason in " + __name__
            )
    return report


def _allowed() -> tuple[str, ...]:
    return ELSEWHERE + NOT_OF_THIS_STORE + (WITHOUT_RIGHTS if os.geteuid() else ())


def _reason(report: pytest.TestReport) -> str:
    told = report.longrepr
    text = told[2] if isinstance(told, tuple) else str(told)
    return text.removeprefix("Skipped: ")
