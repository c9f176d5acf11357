"""Files: for their owner alone, and never through a link that somebody else has planted."""

from __future__ import annotations

import ast
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from portico import compose
from portico.adapters.audit.sqlite_audit import DatabaseAuditAdapter
from portico.exceptions import ConfigurationError
from portico.ports.audit import AuditAction, AuditEvent
from portico.supervisor.pid_file import pid_file
from tests.security.conftest import APP
from tests.support.jobs import make_job
from tests.support.supervisors import ROOT

pytestmark = pytest.mark.security("S14")

DEAD = 2**22 - 1
"""A process id that nobody has."""


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A file outside of the folder that a planted link points to."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    return folder / "victim"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "here"
    found.mkdir()
    return found


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("text", ["precious\n", f"{DEAD}\n", None])
def test_a_link_in_the_place_of_the_pid_file_is_not_followed(
    folder: Path, victim: Path, text: str | None
) -> None:
    if text is not None:
        victim.write_text(text)
    planted = folder / "portico.pid"
    planted.symlink_to(victim)
    refused = pytest.raises(ConfigurationError, match="no file with a process id; remove it")
    with refused, pid_file(str(planted)):
        pytest.fail("it was taken")
    assert victim.exists() is (text is not None)
    assert text is None or victim.read_text() == text
    assert planted.is_symlink()


def test_a_pipe_in_the_place_of_the_pid_file_does_not_hold_up_the_start(folder: Path) -> None:
    os.mkfifo(folder / "portico.pid")
    refused = pytest.raises(ConfigurationError, match="remove it")
    with refused, pid_file(str(folder / "portico.pid")):
        pytest.fail("it was taken")


def test_a_link_that_came_while_the_supervisor_ran_is_left_alone_and_so_is_its_target(
    folder: Path, victim: Path
) -> None:
    victim.write_text("precious")
    path = folder / "portico.pid"
    with pid_file(str(path)):
        path.unlink()
        path.symlink_to(victim)
    assert victim.read_text() == "precious"


@pytest.mark.parametrize("name", ["jobs.db", "jobs.db-wake"])
async def test_a_planted_link_beside_the_queue_makes_no_file_elsewhere(
    folder: Path, victim: Path, name: str
) -> None:
    (folder / name).symlink_to(victim)
    queue = compose.job_queue(f"sqlite:///{folder / 'jobs.db'}")
    if name == "jobs.db":
        with pytest.raises(ConfigurationError):
            await queue.initialize()
    else:
        await queue.initialize()
        await queue.enqueue(make_job())
        await queue.close()
    assert not victim.exists()


async def test_a_planted_link_beside_the_queue_lends_nobody_elses_file(
    folder: Path, victim: Path
) -> None:
    victim.write_text("precious")
    victim.chmod(0o644)
    (folder / "jobs.db-wake").symlink_to(victim)
    queue = compose.job_queue(f"sqlite:///{folder / 'jobs.db'}")
    await queue.initialize()
    await queue.enqueue(make_job())
    await queue.close()
    assert (victim.read_text(), mode(victim)) == ("precious", 0o644)


async def test_a_planted_link_in_the_place_of_the_audit_log_makes_no_file_elsewhere(
    folder: Path, victim: Path
) -> None:
    (folder / "audit.db").symlink_to(victim)
    audit = DatabaseAuditAdapter(folder / "audit.db")
    await audit.log_event(AuditEvent(action=AuditAction.CREATE, resource_type="job"))
    await audit.close()
    assert not victim.exists()


async def test_stores_are_for_their_owner_alone_whatever_the_mask_allows(folder: Path) -> None:
    before = os.umask(0)
    try:
        queue = compose.job_queue(f"sqlite:///{folder / 'jobs.db'}")
        await queue.initialize()
        await queue.enqueue(make_job())
        audit = compose.audit(f"sqlite:///{folder / 'audit.db'}")
        await audit.log_event(AuditEvent(action=AuditAction.CREATE, resource_type="job"))
        made = {path.name: mode(path) for path in folder.iterdir()}
        await queue.close()
        await audit.close()
    finally:
        os.umask(before)
    assert {"jobs.db", "jobs.db-wal", "jobs.db-shm", "jobs.db-wake", "audit.db"} <= made.keys()
    assert set(made.values()) == {0o600}


async def test_no_folder_is_made_so_none_can_be_open_to_others(tmp_path: Path) -> None:
    queue = compose.job_queue(f"sqlite:///{tmp_path / 'new' / 'jobs.db'}")
    with pytest.raises(ConfigurationError, match="there is no directory"):
        await queue.initialize()
    assert not (tmp_path / "new").exists()


def test_a_supervisor_makes_nothing_but_its_store_and_its_pid_file(tmp_path: Path) -> None:
    for name in ("here", "temporary"):
        (tmp_path / name).mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "portico.supervisor", "--drain", "-w", "1", "--pid-file", "p",
         "--app", APP],
        cwd=tmp_path / "here", capture_output=True, timeout=60, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path / "temporary"),
             "HOME": str(tmp_path / "temporary")},
    )  # fmt: skip
    assert done.returncode == 0
    assert list((tmp_path / "temporary").iterdir()) == []
    assert {path.name.removesuffix("-wake") for path in (tmp_path / "here").iterdir()} == {
        "portico.db"
    }


CHECKS_ITS_FOLDER = "state_files.py"
"""Uses a folder there only if it is a real one, of this user's own and closed to all others."""


def test_no_module_names_a_file_that_others_could_have_made_before_it() -> None:
    for path in sorted((ROOT / "portico").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                shared = ("/tmp", "/var/tmp", "/dev/shm/")
                assert not node.value.startswith(shared), f"{path.name}:{node.lineno}"
            if isinstance(node, ast.Attribute):
                unsafe = {"mktemp"} if path.name == CHECKS_ITS_FOLDER else {"mktemp", "gettempdir"}
                assert node.attr not in unsafe, f"{path.name}:{node.lineno}"
