"""Configuration that cannot work: the exit code, and a message with value, place and way out."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from portico.supervisor.pid_file import pid_file
from tests.support.supervisors import ROOT

APP = """
from portico.ports.job import Job, JobResult
from portico.ports.job_handler import JobHandler

class Mail(JobHandler):
    job_type = "email.send"
    async def handle(self, job): return JobResult(success=True)
"""


def run(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "portico.supervisor", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def write_app(folder: Path, text: str) -> None:
    (folder / "jobs_app.py").write_text(APP + text)


def test_an_unknown_flag_is_a_usage_error_with_the_nearest_name(tmp_path: Path) -> None:
    result = run(tmp_path, "--wrokers", "8")
    assert result.returncode == 2
    assert "--wrokers" in result.stderr
    assert "Did you mean '--workers'" in result.stderr


@pytest.mark.parametrize("value", ["0", "-3", "eight"])
def test_a_number_of_workers_that_cannot_be_is_refused(value: str, tmp_path: Path) -> None:
    result = run(tmp_path, "--workers", value)
    assert result.returncode == 1
    assert f"--workers is '{value}': give a whole number from 1" in result.stderr


@pytest.mark.parametrize(
    "url", ["jobs.db", "sqlite://", "sqlite:///", "mysql://u:secret@host/db", "sqlite:///a.db?x=1"]
)
def test_a_queue_url_that_cannot_be_is_refused_without_telling_its_password(
    url: str, tmp_path: Path
) -> None:
    result = run(tmp_path, "--queue-url", url)
    assert result.returncode == 1
    assert "sqlite:///" in result.stderr
    assert "secret" not in result.stderr


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    result = run(tmp_path, "--queue-url", "sqlite:///nowhere/jobs.db")
    assert result.returncode in (1, 5)
    assert "nowhere" in result.stderr


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "jobs.db").write_text("this is no database, " * 100)
    result = run(tmp_path, "--queue-url", "sqlite:///jobs.db")
    assert result.returncode == 1
    assert "jobs.db" in result.stderr


def test_a_newer_schema_is_refused_and_left_alone(tmp_path: Path) -> None:
    assert run(tmp_path, "--drain", "--workers", "1").returncode == 0
    with closing(sqlite3.connect(tmp_path / "portico.db")) as database, database:
        database.execute("UPDATE portico_schema SET version = 9999")
    database.close()
    result = run(tmp_path, "--drain", "--workers", "1")
    assert result.returncode == 1
    assert "9999" in result.stderr


def test_an_app_that_is_not_there_ends_with_code_4_and_its_name(tmp_path: Path) -> None:
    result = run(tmp_path, "--app", "no_such_module:app")
    assert result.returncode == 4
    assert "no_such_module" in result.stderr


def test_an_app_that_fails_to_import_ends_with_code_4_and_its_traceback(tmp_path: Path) -> None:
    write_app(tmp_path, "raise RuntimeError('the licence is missing')")
    result = run(tmp_path, "--app", "jobs_app:app")
    assert result.returncode == 4
    assert "the licence is missing" in result.stderr
    assert "jobs_app.py" in result.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("app = [Mail(), Mail()]", "two handlers serve 'email.send' in the app"),
        ("app = 42", "the app is of type int"),
        ("app = [Mail]", "the app holds the class Mail"),
        ("app = {'sms.send': Mail()}", "maps 'sms.send'"),
        ("app = []", "no handlers in the app"),
        ("def app(): raise OSError('no database')", "no database"),
    ],
)
@pytest.mark.parametrize("method", ["zygote", "spawn"])
def test_an_app_that_is_no_registry_ends_with_code_4(
    text: str, message: str, method: str, tmp_path: Path
) -> None:
    write_app(tmp_path, text)
    result = run(tmp_path, "--app", "jobs_app:app", "--start-method", method)
    assert result.returncode == 4
    assert message in result.stderr


def test_workers_that_die_before_they_are_ready_end_with_code_3(tmp_path: Path) -> None:
    write_app(tmp_path, "def app():\n    import os\n    os._exit(9)")
    result = run(tmp_path, "--app", "jobs_app:app", "--workers", "2")
    assert result.returncode == 3
    assert "exited with code 9" in result.stderr


def test_check_reports_everything_and_starts_nothing(tmp_path: Path) -> None:
    write_app(tmp_path, "app = [Mail()]")
    result = run(tmp_path, "--check", "--app", "jobs_app:app")
    assert result.returncode == 0
    assert "email.send" in result.stdout
    assert "store ok" in result.stdout


def test_check_says_what_is_wrong_with_the_exit_code_of_the_start(tmp_path: Path) -> None:
    write_app(tmp_path, "app = [Mail(), Mail()]")
    result = run(tmp_path, "--check", "--app", "jobs_app:app")
    assert result.returncode == 4
    assert "two handlers serve" in result.stderr


def test_a_second_supervisor_on_one_pid_file_is_refused(tmp_path: Path) -> None:
    with pid_file(str(tmp_path / "portico.pid")):
        result = run(tmp_path, "--pid-file", "portico.pid", "--drain")
        assert result.returncode == 1
        assert f"process {os.getpid()} is running" in result.stderr
        assert run(tmp_path, "--pid-file", "portico.pid", "--check").returncode == 0


def test_a_stale_pid_file_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "portico.pid").write_text(f"{os.getpid()}\n")  # of a process that lives
    assert run(tmp_path, "--pid-file", "portico.pid", "--drain", "-w", "1").returncode == 0
    assert not (tmp_path / "portico.pid").exists()


def test_celerys_spellings_are_understood(tmp_path: Path) -> None:
    result = run(
        tmp_path, "--max-tasks-per-child", "5", "--max-memory-per-child", "200000", "--check"
    )
    assert result.returncode == 0


def test_a_setting_from_the_environment_is_named_as_such(tmp_path: Path) -> None:
    result = run(tmp_path, PORTICO_LEASE="soon")
    assert result.returncode == 1
    assert "environment variable PORTICO_LEASE is 'soon'" in result.stderr
