"""Run again, alone, what failed in a run of the tests; fail where something fails twice.

    PORTICO_TEST_FAILURES=failed.jsonl scripts/test || python scripts/wavering.py failed.jsonl

What passes the second time wavers. That is a defect of the test or of the product: it is told with
the ends of both outputs, after a line that begins with WAVERED.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from tests.support.failures import LONGEST, Failed, read  # noqa: E402 - from anywhere

MOST = 20
"""Tests that are run again: where more fail, something is broken, and nothing wavers."""
_PATIENCE = 900.0
"""Seconds for one test, with what it starts."""


class Again(NamedTuple):
    """How a test that had failed did when nothing ran beside it."""

    failed: Failed
    passed: bool
    said: str


def main(arguments: list[str], folder: Path = ROOT) -> int:
    """Run the failed tests of this file again, in the folder that holds them."""
    failed = read(Path(arguments[0]))
    if not failed:
        print("the run failed, and no test did: see above")
        return 1
    if len(failed) > MOST:
        print(f"{len(failed)} tests failed: too many to run again")
        return 1
    again = [run_alone(one, folder) for one in failed]
    print(*map(verdict, again), sep="\n")
    return 0 if all(one.passed for one in again) else 1


def run_alone(failed: Failed, folder: Path) -> Again:
    """Run one test in a process of its own."""
    command = [sys.executable, "-m", "pytest", "-n", "0", "-q", "--tb=short", failed.test]
    try:
        run = subprocess.run(  # noqa: S603 - names of tests, from our own run
            command, cwd=folder, capture_output=True, text=True, timeout=_PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        return Again(failed, False, f"not done after {_PATIENCE:g} s")
    return Again(failed, run.returncode == 0, (run.stdout + run.stderr)[-LONGEST:])


def verdict(again: Again) -> str:
    """What is to be said of a test that was run twice."""
    if not again.passed:
        return f"FAILED TWICE {again.failed.test}\n{_indented(again.said)}"
    first, second = _indented(again.failed.said), _indented(again.said)
    return f"WAVERED {again.failed.test}\n  first:\n{first}\n  again, alone:\n{second}"


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
