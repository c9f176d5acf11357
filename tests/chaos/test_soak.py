"""The soak of `benchmarks/soak`, in a short form: its verdict is the test."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SECONDS = 120 if os.environ.get("CI") == "true" else 40
DRAIN = 240
"""Seconds for the start, the drain and the verdict: back-off after several failures is long."""


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + DRAIN + 30)
def test_every_execution_under_kills_pauses_and_locks_is_accounted_for(tmp_path: Path) -> None:
    report = tmp_path / "soak.json"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks", "soak"),
            *("--seconds", str(SECONDS), "--directory", str(tmp_path), "--json", str(report)),
        ],
        capture_output=True,
        text=True,
        timeout=SECONDS + DRAIN,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(report.read_text())
    assert json.loads(done.stdout.splitlines()[-1]).items() <= figures.items()
    assert (figures["lost"], figures["unexpected"], figures["unexplained"]) == (0, 0, 0)
    assert figures["executed"] > figures["jobs"] > 100
    known = figures["jobs"] + figures["recovered_enqueues"]  # the latter were not answered
    assert sum(figures["duplicates"].values()) >= figures["executed"] - known
    assert min(figures["faults"].values()) >= 2
    assert [path.name for path in tmp_path.iterdir()] == ["soak.json"]
