"""What applications write is clean to mypy and pyright, and mistakes are found."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
BLOCKS = re.findall(
    r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL
)
NAMES = {
    "class CountPrimes": "jobs.py",
    "async with job_service(": "create.py",
    "within_sync(connection)": "within.py",
    "async def app(context": "app.py",
    "pytest_plugins": "conftest.py",
    "test_primes_are_counted": "test_jobs.py",
    "class TestTableQueue": "test_table_queue.py",
}
"""The README's examples, by what stands in each, and the modules that they would be."""
MYPROJECT = """
import httpx
from portico import Job, JobHandler, JobResult
from portico.ports.job_creator import JobCreator

class WebhookHandler(JobHandler):
    job_type = "web.hook"
    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
    async def handle(self, job: Job) -> JobResult:
        return JobResult(success=True)

class ImportHandler(JobHandler):
    job_type = "data.import"
    def __init__(self, creator: JobCreator) -> None:
        self._creator = creator
    async def handle(self, job: Job) -> JobResult:
        return JobResult(success=True)
"""

Found = set[tuple[str, int]]
"""Errors by file and line."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the README's examples, the application and the mistakes."""
    folder = tmp_path_factory.mktemp("project")
    for block in BLOCKS:
        [name] = [name for sign, name in NAMES.items() if sign in block]
        (folder / name).write_text(block)
    (folder / "myproject").mkdir()
    (folder / "myproject" / "__init__.py").touch()
    (folder / "myproject" / "handlers.py").write_text(MYPROJECT)
    for name in ("application.py", "mistakes.py"):
        (folder / name).write_text((HERE / name).read_text())
    return folder


def needs(tool: str) -> None:
    if find_spec(tool) is None:
        assert not os.environ.get("CI"), f"{tool} is missing: scripts/bootstrap lint"
        pytest.skip(f"{tool} is not installed: scripts/bootstrap lint")


def mistakes() -> Found:
    lines = (HERE / "mistakes.py").read_text().splitlines()
    return {("mistakes.py", n) for n, line in enumerate(lines, 1) if line.endswith("# wrong")}


def run(project: Path, *command: str) -> str:
    told = subprocess.run(
        [sys.executable, "-m", *command], cwd=project, capture_output=True, text=True, check=False
    )
    assert told.returncode == 1, told.stderr  # the mistakes are there
    return told.stdout


def test_every_example_of_the_readme_is_checked(project: Path) -> None:
    assert all((project / name).exists() for name in NAMES.values())


def test_mypy_is_content_with_all_but_the_mistakes(project: Path) -> None:
    needs("mypy")
    told = run(
        project, "mypy", "--strict", "--config-file=", "--no-error-summary",
        "--explicit-package-bases", ".",
    )  # fmt: skip
    errors = re.findall(r"^(?:\./)?([\w/]+\.py):(\d+): error", told, re.MULTILINE)
    assert {(name, int(line)) for name, line in errors} == mistakes(), told


@pytest.mark.parametrize("mode", ["standard", "strict"])
def test_pyright_is_content_with_all_but_the_mistakes(project: Path, mode: str) -> None:
    needs("basedpyright")
    config = project / "pyrightconfig.json"
    config.write_text(json.dumps({"typeCheckingMode": mode, "include": ["."]}))
    told = json.loads(run(project, "basedpyright", "--outputjson", "--pythonpath", sys.executable))
    errors = {
        (Path(one["file"]).relative_to(project).as_posix(), one["range"]["start"]["line"] + 1): one
        for one in told["generalDiagnostics"]
        if one["severity"] == "error"
    }
    assert set(errors) == mistakes(), json.dumps(list(errors.values()), indent=1)
