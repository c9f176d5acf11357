"""The harness itself, with so few jobs that its figures mean nothing."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest


def run_benchmark(*arguments):
    command = [sys.executable, "-m", "benchmarks", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.timeout(60)
def test_limits_are_measured_and_written_down(tmp_path):
    report = tmp_path / "limits.json"

    shown = run_benchmark("limits", "--runs", 1, "--directory", tmp_path, "--json", report)

    assert "SQLite" in shown
    written = json.loads(report.read_text())
    assert all(rate > 0 for rates in written["rates"].values() for rate in rates)
    assert written["versions"]["portico-jobs"]
    assert list(tmp_path.iterdir()) == [report]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("queue", ["memory", "sqlite"])
def test_throughput_is_measured_next_to_its_limit(tmp_path, queue):
    file, report = tmp_path / "bench.db", tmp_path / "throughput.json"
    url = "memory://" if queue == "memory" else f"sqlite:///{file}"

    shown = run_benchmark(
        "throughput", "--queue", url, "--jobs", 2000, "--runs", 1, "--json", report
    )

    assert "ratio to the raw limit" in shown
    written = json.loads(report.read_text())
    assert [sample["jobs"] for sample in written["samples"]] == [2000]
    assert len(written["ratios"]) == 1
    assert list(tmp_path.iterdir()) == [report]


@pytest.mark.timeout(60)
def test_file_that_exists_is_left_alone(tmp_path):
    file = tmp_path / "precious.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE precious (x)")
    before = file.read_bytes()

    run_benchmark("throughput", "--queue", f"sqlite:///{file}", "--jobs", 1000, "--runs", 1)

    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.timeout(60)
def test_a_large_store_is_measured_beside_a_small_one(tmp_path):
    report = tmp_path / "scale.json"
    few, many = ("--few", 10_000), ("--rows", 12_000)
    url = f"sqlite:///{tmp_path / 'bench.db'}"

    shown = run_benchmark(
        "scale", "--queue", url, *few, *many, "--jobs", 10_000, "--runs", 2, "--json", report
    )

    assert "ratio to 10,000 of each" in shown
    written = json.loads(report.read_text())
    assert {size: len(rates) for size, rates in written["rates"].items()} == {
        "10000": 2,
        "12000": 2,
    }
    assert len(written["ratios"]) == 2
    assert list(tmp_path.iterdir()) == [report]
