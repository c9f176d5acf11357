"""The kit in a project that is not Portico: its own conftest, its own adapter, its own pytest."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.support.supervisors import ROOT

SETTINGS = "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n"

PLUGIN = 'pytest_plugins = ["portico.testing.fixtures"]'

APPLICATION = """
from portico.testing import assert_enqueued, perform

async def test_there_is_a_queue(job_service, job_queue, job_clock):
    await job_service.create_job("mail.send", {"to": "ann"})
    await assert_enqueued(job_queue, payload={"to": "ann"})
"""

ADAPTER = """
import pytest
from portico.testing.contract import NineMethodRules
from tests.contract.toy_queue import ToyQueue

class Sloppy(ToyQueue):
    async def acknowledge(self, job_id):
        await self.reject(job_id, requeue=False)

class TestSloppy(NineMethodRules):
    @pytest.fixture
    async def queue(self, clocks):
        return Sloppy(clocks.wall)
"""

WHOLE = """
import pytest
from portico.adapters.job_queue import MemoryJobQueueAdapter
from portico.testing.contract import LEASE_SECONDS, JobQueueContract

class TestWhole(JobQueueContract):
    @pytest.fixture
    def another_queue(self, clocks):
        return lambda: MemoryJobQueueAdapter(
            LEASE_SECONDS, clock=clocks.wall, monotonic=clocks.monotonic
        )

    @pytest.fixture
    async def queue(self, another_queue):
        return another_queue()
"""


README = (ROOT / "README.md").read_text(encoding="utf-8")


def block_with(text: str) -> str:
    [found] = [
        block
        for block in re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
        if text in block
    ]
    return found


def run(folder: Path, tests: str, conftest: str = PLUGIN) -> tuple[int, str]:
    (folder / "pytest.ini").write_text(SETTINGS)
    (folder / "conftest.py").write_text(conftest)
    (folder / "test_it.py").write_text(tests)
    said = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False,
        capture_output=True, text=True, timeout=90,
    )  # fmt: skip
    return said.returncode, said.stdout + said.stderr


def test_an_application_has_its_fixtures_by_one_line(tmp_path: Path) -> None:
    code, said = run(tmp_path, APPLICATION)
    assert code == 0, said


def test_a_rule_that_is_broken_says_what_it_saw(tmp_path: Path) -> None:
    code, said = run(tmp_path, ADAPTER)
    assert code == 1
    assert "test_acknowledge_completes_a_running_job" in said
    assert "<JobStatus.FAILED: 'failed'> is <JobStatus.COMPLETED: 'completed'>" in said
    assert "error" not in said.splitlines()[-1]


def test_a_whole_adapter_takes_all_rules_with_one_class(tmp_path: Path) -> None:
    code, said = run(tmp_path, WHOLE)
    assert code == 0, said
    assert int(said.split(" passed")[0].split()[-1]) > 150


def test_the_tests_that_the_readme_shows_pass(tmp_path: Path) -> None:
    (tmp_path / "jobs.py").write_text(block_with("class CountPrimes"), encoding="utf-8")
    code, said = run(tmp_path, block_with("await drain("), block_with("pytest_plugins"))
    assert code == 0, said
    assert "2 passed" in said


def test_the_adapter_that_the_readme_shows_follows_the_rules(tmp_path: Path) -> None:
    code, said = run(tmp_path, block_with("(NineMethodRules"), block_with("pytest_plugins"))
    assert code == 0, said
    assert int(said.split(" passed")[0].split()[-1]) > 40
