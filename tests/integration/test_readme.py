"""What the README says, held against what there is: its examples run, its tables are complete."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from portico.ports import document
from portico.ports.job import JobStatus
from portico.supervisor import supervisor
from portico.supervisor.parsing import size_or_none
from portico.supervisor.settings import SETTINGS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")

pytestmark = pytest.mark.every_python


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def block_with(language: str, text: str) -> str:
    (found,) = [block for block in blocks(language) if text in block]
    return found


def section(title: str) -> str:
    return README.split(f"### {title}\n")[1].split("\n#")[0]


def commands() -> list[list[str]]:
    """Every call of the command line in the shell blocks, without comments."""
    lines = (
        shlex.split(line, comments=True) for block in blocks("sh") for line in block.split("\n")
    )
    return [line for line in lines if line[:1] == ["portico"] or "portico.supervisor" in line]


def runnable(line: list[str]) -> list[str]:
    words = {"portico": [sys.executable, "-m", "portico.cli"], "python": [sys.executable]}
    return [*words[line[0]], *line[1:]]


def run(folder: Path, line: list[str]) -> str:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PORTICO_")}
    result = subprocess.run(
        line,
        cwd=folder, env={**kept, "PYTHONPATH": str(ROOT)}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=18, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_first_handler_runs_as_it_is_written(tmp_path: Path) -> None:
    (tmp_path / "jobs.py").write_text(block_with("python", "class CountPrimes"), encoding="utf-8")
    shell = block_with("sh", "portico enqueue primes.count")
    enqueue, work, result = [line for line in commands() if shlex.join(line[:2]) in shell][:3]
    assert enqueue[1] == "enqueue"
    assert "--drain" in work
    assert result[1:3] == ["jobs", "result"]
    job_id = run(tmp_path, runnable(enqueue)).strip()
    run(tmp_path, runnable(work))
    said = run(tmp_path, [*runnable(result)[:-1], job_id])
    (promised,) = re.findall(r"portico jobs result \S+ +# (.*)", shell)
    assert json.loads(said) == json.loads(promised) == {"primes": 664579}


def test_the_service_creates_a_job_that_the_first_handler_can_run(tmp_path: Path) -> None:
    (tmp_path / "jobs.py").write_text(block_with("python", "class CountPrimes"), encoding="utf-8")
    (tmp_path / "create.py").write_text(
        block_with("python", "async with job_service("), encoding="utf-8"
    )
    job_id, status = run(tmp_path, [sys.executable, "create.py"]).split()
    assert status == JobStatus.PENDING.value
    shown = run(tmp_path, [sys.executable, "-m", "portico.cli", "jobs", "show", job_id, "--json"])
    assert json.loads(shown)["priority"] == 5
    drain = ["-m", "portico.supervisor", "--app", "jobs:app", "--workers", "1", "--drain"]
    run(tmp_path, [sys.executable, *drain])
    result = run(tmp_path, [sys.executable, "-m", "portico.cli", "jobs", "result", job_id])
    assert json.loads(result) == {"primes": 78498}


def test_a_job_of_the_applications_own_transaction_can_be_run(tmp_path: Path) -> None:
    (tmp_path / "jobs.py").write_text(block_with("python", "class CountPrimes"), encoding="utf-8")
    code = block_with("python", "within_sync(")
    (tmp_path / "take.py").write_text(f"{code}print(job.id)\n", encoding="utf-8")
    check = ["-m", "portico.supervisor", "--app", "jobs:app", "--check"]
    run(tmp_path, [sys.executable, *check])  # makes the tables
    job_id = run(tmp_path, [sys.executable, "take.py"]).strip()
    drain = ["-m", "portico.supervisor", "--app", "jobs:app", "--workers", "1", "--drain"]
    run(tmp_path, [sys.executable, *drain])
    result = run(tmp_path, [sys.executable, "-m", "portico.cli", "jobs", "result", job_id])
    assert json.loads(result) == {"primes": 168}


def test_the_tests_of_an_application_pass_as_they_are_written(tmp_path: Path) -> None:
    for name, language, text in (
        ("jobs.py", "python", "class CountPrimes"), ("conftest.py", "python", "pytest_plugins"),
        ("pyproject.toml", "toml", "pytest"), ("test_jobs.py", "python", "perform("),
    ):  # fmt: skip
        (tmp_path / name).write_text(block_with(language, text), encoding="utf-8")
    said = run(tmp_path, [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"])
    assert re.search("^2 passed in", said, re.MULTILINE), said


@pytest.mark.parametrize("code", blocks("python"))
def test_every_python_block_compiles(code: str) -> None:
    compile(code, "README.md", "exec")


def test_the_table_of_options_has_every_setting_and_no_other() -> None:
    rows = [
        line.split("|")[1] for line in section("Options").split("\n") if line.startswith("| `-")
    ]
    named = {flag for row in rows for flag in re.findall(r"--[a-z-]+", row)}
    known = {flag for setting in SETTINGS for flag in setting.flags}
    assert {setting.flags[0] for setting in SETTINGS} <= named <= known
    assert set(re.findall(r"(?<![\w-])--?[a-z-]+(?=[ `,)])", section("Options"))) - known == set()
    for setting in SETTINGS:
        for flag in setting.flags[1:]:
            if len(flag) == 2:
                assert f"`{flag}, {setting.flags[0]}" in section("Options")


def test_the_defaults_in_the_table_are_those_of_the_settings() -> None:
    cells = {}
    for line in section("Options").split("\n"):
        if line.startswith("| `-"):
            first, default = [cell.strip() for cell in line.strip("|").split("|")][:2]
            cells[re.findall(r"--([a-z-]+)", first)[0].replace("-", "_")] = default.strip("`")
    for setting in SETTINGS:
        if isinstance(setting.default, float):
            assert cells[setting.name] == f"{setting.default:g} s"
        elif setting.parse is size_or_none:
            assert size_or_none(cells[setting.name]) == setting.default
        elif type(setting.default) is int:
            assert cells[setting.name] == str(setting.default)
    assert cells["queue_url"] == "sqlite:///portico.db"
    assert cells["queues"] == "default"
    assert cells["log_level"] == "INFO`, `console"


def test_every_command_names_verbs_and_options_that_there_are(tmp_path: Path) -> None:
    assert len(commands()) >= 8
    for line in commands():
        words = [word for word in line[1:] if re.fullmatch(r"[a-z]+", word)][:2]
        groups = {"jobs": 2, "dead": 2}
        verb = words[: groups.get(words[0], 1)] if line[0] == "portico" else line[1:3]
        shown = run(tmp_path, [*runnable(line[:1]), *verb, "--help"])
        for option in [word for word in line if word.startswith("--")]:
            assert option in shown, line


def test_every_command_that_reads_takes_json(tmp_path: Path) -> None:
    for verb in (
        ["status"],
        ["jobs", "list"],
        ["jobs", "show"],
        ["dead", "list"],
        ["dead", "show"],
    ):
        shown = run(tmp_path, [sys.executable, "-m", "portico.cli", *verb, "--help"])
        assert "--json" in shown


def test_the_exit_codes_are_those_of_the_supervisor() -> None:
    (line,) = re.findall(r"Exit codes: (.*?)\.\n", section("Options"), re.DOTALL)
    named = {int(entry.split()[0]) for entry in line.split("·")}
    assert named == {value for name, value in vars(supervisor).items() if name.startswith("EXIT_")}


def test_the_unit_and_the_image_start_a_supervisor_with_options_that_there_are() -> None:
    known = {flag for setting in SETTINGS for flag in setting.flags}
    variables = {setting.variable for setting in SETTINGS}
    deployed = "".join(blocks("ini") + blocks("dockerfile"))
    assert len(re.findall("portico\\W+supervisor", deployed)) == 2
    assert set(re.findall(r"(?<=[ \"])--[a-z-]+", deployed)) <= known
    assert set(re.findall(r"PORTICO_\w+", deployed)) <= variables


def test_the_limits_of_documents_are_as_said() -> None:
    assert "JSON objects of at most 1 MiB, nested at most 64 deep" in README
    assert (document.MAX_PAYLOAD, document.MAX_DEPTH) == (1024 * 1024, 64)


def unit() -> dict[str, list[str]]:
    """The settings of the systemd unit."""
    found: dict[str, list[str]] = {}
    for line in block_with("ini", "[Service]").splitlines():
        if not line.startswith("["):
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


def test_the_unit_keeps_code_and_data_apart_and_the_supervisor_alive() -> None:
    service = unit()
    (start,) = service["ExecStart"]
    (folder,) = service["WorkingDirectory"]
    assert start.startswith(f"{folder}/.venv/bin/portico supervisor --production --app ")
    state, files = service["StateDirectory"][0].split()
    assert files.startswith(f"{state}/")
    assert f"PORTICO_QUEUE_URL=sqlite:////var/lib/{state}/jobs.db" in service["Environment"]
    assert f"PORTICO_LIMITS=write=/tmp:/var/lib/{files}" in service["Environment"]
    assert f"XDG_RUNTIME_DIR=/run/{service['RuntimeDirectory'][0]}" in service["Environment"]
    wanted = {
        "Type": "notify", "NotifyAccess": "main", "ProtectSystem": "strict", "PrivateTmp": "yes",
        "Restart": "always", "StateDirectoryMode": "0700", "RestartPreventExitStatus": "1 2 4",
    }  # fmt: skip
    assert {name: service[name][0] for name in wanted} == wanted
    assert int(service["WatchdogSec"][0]) > 0
    grace = next(setting.default for setting in SETTINGS if setting.name == "shutdown_grace")
    assert int(service["TimeoutStopSec"][0]) > grace


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    text = re.sub(
        "^ExecStart=[^ ]+",
        f"ExecStart={sys.executable}",
        block_with("ini", "[Service]"),
        flags=re.MULTILINE,
    )
    (tmp_path / "portico.service").write_text(text)
    said = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no",
         str(tmp_path / "portico.service")],
        capture_output=True, text=True, timeout=18, check=False,
    )  # fmt: skip
    assert "portico.service" not in said.stderr, said.stderr
    assert said.returncode == 0, said.stderr
