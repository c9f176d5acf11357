"""`from portico import ...`: every name that an application writes, loaded on first use."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import portico
from portico import exceptions

SOURCE = Path(portico.__file__)


def printed(script: str) -> str:
    told = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return told.stdout.strip()


def for_checkers() -> dict[str, str]:
    """What type checkers are told: from which module each name comes."""
    found = [
        node for node in ast.walk(ast.parse(SOURCE.read_text())) if type(node) is ast.ImportFrom
    ]
    return {
        name.name: node.module or ""
        for node in found
        for name in node.names
        if (node.module or "").startswith("portico.")
    }


@pytest.mark.parametrize("name", portico.__all__)
def test_each_name_is_what_its_module_has_and_what_checkers_are_told(name: str) -> None:
    assert getattr(portico, name) is getattr(importlib.import_module(for_checkers()[name]), name)


def test_checkers_are_told_of_no_other_name() -> None:
    assert sorted(for_checkers()) == sorted(portico.__all__)
    assert set(portico.__all__) <= set(dir(portico))


def test_every_exception_is_there() -> None:
    kinds = [one for one in vars(exceptions).values() if isinstance(one, type)]
    named = [kind.__name__ for kind in kinds if issubclass(kind, exceptions.PorticoError)]
    assert set(named) <= set(portico.__all__)


def test_importing_the_package_loads_nothing_but_itself() -> None:
    script = "import sys; before = {*sys.modules}; import portico; print({*sys.modules} - before)"
    assert printed(script) == "{'portico'}"


def test_a_name_loads_what_it_needs_and_no_more() -> None:
    loaded = (
        "print({'msgspec', 'structlog', 'sqlite3', 'asyncpg', 'portico.compose'} & {*sys.modules})"
    )
    assert printed(f"import sys; from portico import Job, JobHandler; {loaded}") == "set()"


def test_a_name_that_is_not_there_is_an_error_and_hides_no_module() -> None:
    with pytest.raises(ImportError, match="JobHander"):
        exec("from portico import JobHander")
    assert (
        printed("from portico import compose, ports; print(compose.__name__)") == "portico.compose"
    )
