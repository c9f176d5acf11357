"""A test that is promised and does not run makes a run in CI fail."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.skips import ELSEWHERE, MARKS, WITHOUT_RIGHTS

ROOT = Path(__file__).parents[2]


def run(folder: Path, text: str, *, ci: bool) -> subprocess.CompletedProcess[str]:
    """Run one file of tests with the hook, in a pytest of its own."""
    (folder / "test_it.py").write_text(f"import pytest\n{text}\n", encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    known = {name: value for name, value in os.environ.items() if name != "CI"}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "tests.support.skips", "-W", "ignore", "."],
        cwd=folder,
        env={**known, "PYTHONPATH": str(ROOT), **({"CI": "true"} if ci else {})},
        capture_output=True,
        text=True,
        check=False,
    )


def skipped(mark: str, reason: str) -> str:
    return f"@pytest.mark.{mark}('X1')\ndef test_it():\n    pytest.skip({reason!r})"


@pytest.mark.parametrize("mark", sorted(MARKS))
def test_a_promised_test_that_is_skipped_fails_the_run_in_ci_alone(
    mark: str, tmp_path: Path
) -> None:
    text = skipped(mark, "there is no tool")
    failed = run(tmp_path, text, ci=True)
    assert failed.returncode == pytest.ExitCode.TESTS_FAILED
    assert f"is marked {mark} and was skipped (there is no tool)" in failed.stdout
    assert run(tmp_path, text, ci=False).returncode == pytest.ExitCode.OK


@pytest.mark.parametrize(
    "text",
    [
        "pytestmark = pytest.mark.fault('X1')\n"
        "@pytest.mark.skipif(True, reason='never')\ndef test_it(): pass",
        "@pytest.fixture\ndef tool(): pytest.skip('none')\n"
        "@pytest.mark.fault('X1')\ndef test_it(tool): pass",
    ],
    ids=["by its mark", "by its fixture"],
)
def test_it_does_not_matter_what_skips_it(text: str, tmp_path: Path) -> None:
    assert run(tmp_path, text, ci=True).returncode == pytest.ExitCode.TESTS_FAILED


@pytest.mark.parametrize(
    "text",
    [
        skipped("other", "there is no tool"),
        skipped("fault", f"{ELSEWHERE[1]} subreapers"),
        "@pytest.mark.fault('X1')\n@pytest.mark.xfail\ndef test_it(): assert False",
        "@pytest.mark.fault('X1')\ndef test_it(): pass",
    ],
    ids=["not promised", "another platform", "known to fail", "ran"],
)
def test_what_may_be_skipped_fails_nothing(text: str, tmp_path: Path) -> None:
    assert run(tmp_path, text, ci=True).returncode == pytest.ExitCode.OK


def test_a_lack_of_rights_excuses_whoever_is_not_root(tmp_path: Path) -> None:
    found = run(tmp_path, skipped("fault", f"{WITHOUT_RIGHTS[0]} do that"), ci=True)
    expected = pytest.ExitCode.OK if os.geteuid() else pytest.ExitCode.TESTS_FAILED
    assert found.returncode == expected


def test_the_hook_is_part_of_this_run(request: pytest.FixtureRequest) -> None:
    assert request.config.pluginmanager.hasplugin("tests.support.skips")
