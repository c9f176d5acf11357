"""The soak of `benchmarks/soak`, in a short form: its verdict is the test."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.servers import PostgresServer, RedisServer

SECONDS = 120 if os.environ.get("CI") == "true" else 40
ON_A_SERVER = 25
"""Seconds, in which every kind of fault comes twice."""
DRAIN = 240
"""Seconds for the start, the drain and the verdict: back-off after several failures is long."""


def soaked(folder: Path, seconds: int, *options: str) -> dict[str, Any]:
    """The figures of a soak that found nothing wrong, and left nothing behind."""
    report = folder / "soak.json"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks", "soak", *options),
            *("--seconds", str(seconds), "--directory", str(folder), "--json", str(report)),
        ],
        capture_output=True,
        text=True,
        timeout=seconds + DRAIN,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    figures: dict[str, Any] = json.loads(report.read_text())
    assert json.loads(done.stdout.splitlines()[-1]).items() <= figures.items()
    assert (figures["lost"], figures["unexpected"], figures["unexplained"]) == (0, 0, 0)
    assert figures["executed"] > figures["jobs"] > 100
    known = figures["jobs"] + figures["recovered_enqueues"]  # the latter were not answered
    assert sum(figures["duplicates"].values()) >= figures["executed"] - known
    assert min(figures["faults"].values()) >= 2
    assert [path.name for path in folder.iterdir()] == ["soak.json"]
    return figures


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + DRAIN + 30)
def test_every_execution_under_kills_pauses_and_locks_is_accounted_for(tmp_path: Path) -> None:
    soaked(tmp_path, SECONDS)


@pytest.mark.slow
@pytest.mark.servers
@pytest.mark.timeout(ON_A_SERVER + DRAIN + 30)
def test_every_execution_on_postgres_is_accounted_for(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    database = postgres.database()
    soaked(tmp_path, ON_A_SERVER, "--queue", postgres.url(database))
    schemas = "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'bench%'"
    assert postgres.run(schemas, database) == "0"


@pytest.mark.slow
@pytest.mark.servers
@pytest.mark.timeout(ON_A_SERVER + DRAIN + 30)
def test_every_execution_on_redis_is_accounted_for(tmp_path: Path, redis: RedisServer) -> None:
    soaked(tmp_path, ON_A_SERVER, "--queue", redis.url())
    assert redis.run("KEYS", "portico:{bench-*") == ""
