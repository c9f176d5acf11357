"""What failed in a run is run again alone, and only what fails twice fails the machine's run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from scripts import wavering
from tests.support.failures import VARIABLE, Failed, read

ROOT = Path(__file__).parents[2]
SUITE = """
from pathlib import Path

def test_fine(): pass
def test_wavers():
    first = not Path("seen").exists()
    Path("seen").touch()
    print("the line of the first time" if first else "the line of the second time")
    assert not first, "only the first time"
def test_broken(): assert 1 == 2, "every time"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A suite of three tests, of which two fail in its first run."""
    (tmp_path / "test_suite.py").write_text(SUITE)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    return tmp_path


def failures_of(folder: Path, *tests: str) -> Path:
    """The file that a run of these tests leaves."""
    record = folder / "failed.jsonl"
    subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.support.failures", "-n", "2", *tests],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), VARIABLE: str(record)},
        capture_output=True,
        check=False,
    )
    return record


def test_a_run_writes_down_what_failed_with_what_it_said(folder: Path) -> None:
    wavers, broken = sorted(read(failures_of(folder)), reverse=True)
    assert (wavers.test, broken.test) == (
        "test_suite.py::test_wavers",
        "test_suite.py::test_broken",
    )
    assert "the line of the first time" in wavers.said
    assert "every time" in broken.said


def test_a_test_that_passes_alone_is_told_as_wavering_with_both_outputs(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = failures_of(folder, "test_suite.py::test_wavers")
    assert wavering.main([str(record)], folder) == 0
    said = capsys.readouterr().out
    assert said.startswith("WAVERED test_suite.py::test_wavers\n")
    assert "the line of the first time" in said
    assert "1 passed" in said


def test_a_test_that_fails_twice_fails_the_run_beside_one_that_wavers(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert wavering.main([str(failures_of(folder))], folder) == 1
    said = capsys.readouterr().out
    assert "WAVERED test_suite.py::test_wavers" in said
    assert "FAILED TWICE test_suite.py::test_broken" in said


def test_a_run_that_failed_without_a_failed_test_is_not_forgiven(folder: Path) -> None:
    assert wavering.main([str(folder / "none")], folder) == 1


def test_many_failures_are_not_run_again(folder: Path) -> None:
    record = folder / "failed.jsonl"
    lines = [Failed(f"test_suite.py::test_{n}", "") for n in range(wavering.MOST + 1)]
    record.write_text("".join(f'{{"test": "{f.test}", "said": ""}}\n' for f in lines))
    assert wavering.main([str(record)], folder) == 1
