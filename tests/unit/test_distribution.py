"""What is installed: its name, its command, its type marker, its extras; and how tests are run."""

from __future__ import annotations

import tomllib
from importlib.metadata import distribution, entry_points
from pathlib import Path

import pytest

import portico
from portico.cli import main

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_the_distribution_is_portico_jobs_and_the_import_portico() -> None:
    assert distribution("portico-jobs").version == portico.__version__
    assert PROJECT["build-system"]["build-backend"] == "hatchling.build"


def test_the_command_is_an_entry_point() -> None:
    (found,) = entry_points(group="console_scripts", name="portico")
    assert found.load() is main


def test_the_package_is_typed_and_licensed() -> None:
    assert (Path(portico.__file__).parent / "py.typed").exists()
    assert PROJECT["project"]["license"] == "MIT"
    assert "MIT License" in (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "## [Unreleased]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_extras_and_dependency_groups_are_there() -> None:
    assert {"all", "examples"} <= set(PROJECT["project"]["optional-dependencies"])
    assert {"bench", "dev", "lint", "test"} <= set(PROJECT["dependency-groups"])


def test_tests_are_run_strictly(pytestconfig: pytest.Config) -> None:
    assert pytestconfig.getini("filterwarnings") == ["error"]
    assert pytestconfig.getini("asyncio_mode") == "auto"
    assert float(pytestconfig.getini("timeout")) > 0
    assert pytestconfig.getini("xfail_strict") is True
    assert {"--strict-config", "--strict-markers"} <= set(
        PROJECT["tool"]["pytest"]["ini_options"]["addopts"]
    )


def test_the_machine_runs_what_people_run() -> None:
    machine = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "scripts/check" in machine
    assert "scripts/test" in machine
    check = (ROOT / "scripts" / "check").read_text(encoding="utf-8")
    for tool in ("ruff format --check", "ruff check", "mypy", "lint-imports"):
        assert f"run {tool}" in check
