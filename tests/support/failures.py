"""Writes down what failed in a run, a JSON object per line, for whoever runs it again alone.

`PORTICO_TEST_FAILURES` names the file, which is not made where nothing failed.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import NamedTuple

import pytest

VARIABLE = "PORTICO_TEST_FAILURES"
LONGEST = 4000
"""Characters of what a test said at its end."""

collection_failed = pytest.StashKey[bool]()


class Failed(NamedTuple):
    """A test that failed, or whose set-up or end did."""

    test: str
    said: str
    """The end of its output."""


def read(path: Path) -> list[Failed]:
    """What was written down, each test once; nothing where there is no such file."""
    if not path.exists():
        return []
    found = [Failed(**json.loads(line)) for line in path.read_text().splitlines()]
    return list({failed.test: failed for failed in found}.values())


class Recorder:
    """Appends to the file, in the process that hears from all others."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            failed = Failed(report.nodeid, _said(report)[-LONGEST:])
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(failed._asdict()) + "\n")


def pytest_configure(config: pytest.Config) -> None:
    path = os.environ.get(VARIABLE)
    if path and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Recorder(Path(path)), "failures-recorder")


def _said(report: pytest.TestReport) -> str:
    sections = [f"-- {title}\n{text}" for title, text in report.sections]
    return "\n".join([*sections, report.longreprtext])
