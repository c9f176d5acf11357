"""The demo with a real supervisor: all rows, and one of the reports."""

from __future__ import annotations

import asyncio
import signal
import sys
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from portico.examples.demo.index import write_index
from portico.examples.demo.outcome import problems
from portico.examples.demo.plan import Plan
from portico.examples.demo.progress import Board
from portico.examples.demo.run import SupervisorFailed, run
from portico.exceptions import ConfigurationError
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow


def plan_in(output: Path) -> Plan:
    return Plan(output, workers=2, chunk_size=50_000, reports=(("carrier", "OO"),))


def board(plan: Plan) -> Board:
    return Board(Console(file=StringIO()), plan.expected)


async def test_the_demo_imports_every_row_and_makes_its_reports_whatever_was_there_before(
    tmp_path: Path,
) -> None:
    (tmp_path / "reports").mkdir()
    leftovers = [tmp_path / "reports" / "old.html", tmp_path / "jobs.db", tmp_path / "jobs.db-wal"]
    for leftover in leftovers:
        leftover.write_text("of an earlier run")
    plan = plan_in(tmp_path)

    ended = await run(plan, board(plan))

    assert problems(plan, ended) == []
    index = write_index(plan.output, ended).read_text()
    assert 'href="carrier-OO.html"' in index
    assert {path.name for path in (tmp_path / "reports").iterdir()} == {
        "carrier-OO.html",
        "carrier-OO.pdf",
        "index.html",
    }


async def test_two_demos_in_one_folder_do_not_mix(tmp_path: Path) -> None:
    first = asyncio.create_task(run(plan_in(tmp_path), board(plan_in(tmp_path))))
    await wait_until((tmp_path / "supervisor.log").exists)

    with pytest.raises(ConfigurationError, match="another demo is running"):
        await run(plan_in(tmp_path), board(plan_in(tmp_path)))

    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_a_supervisor_that_cannot_start_is_told_with_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PORTICO_CONCURRENCY", "none")
    plan = plan_in(tmp_path)

    with pytest.raises(SupervisorFailed, match=r"(?s)exited with 1.*PORTICO_CONCURRENCY"):
        await run(plan, board(plan))


async def test_an_interrupted_demo_takes_its_supervisor_with_it(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "portico.examples.demo", "--output", str(tmp_path), "--workers", "1",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    await wait_until((tmp_path / "imports" / "nyc-2013.db").exists, timeout=60)
    process.send_signal(signal.SIGTERM)
    output, _ = await process.communicate()

    assert process.returncode == 1
    assert b"Stopped." in output
    assert "supervisor_stopped" in (tmp_path / "supervisor.log").read_text()
