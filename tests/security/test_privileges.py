"""Whose rights a supervisor and its workers have."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from portico import compose
from portico.ports.job_queue import JobQueueAdapter
from portico.supervisor import privileges
from tests.security.conftest import APP, NOBODY, answer
from tests.support.supervisors import ROOT, Place

IDENTITY = """
import os
status = dict(line.split(":\\t") for line in open("/proc/self/status").read().splitlines())
umask = os.umask(0)
os.umask(umask)
result = {
    "uid": os.getresuid(), "gid": os.getresgid(), "groups": os.getgroups(), "umask": umask,
    "user": [os.environ.get("USER"), os.environ.get("LOGNAME")],
    "new_privileges": status["NoNewPrivs"] == "0", "capabilities": int(status["CapEff"], 16),
}
"""

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="starts supervisors as root")


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "portico.supervisor", "--app", APP, "-w", "1", *arguments],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip


@pytest.mark.security("S13")
@pytest.mark.fault("C24")
@pytest.mark.parametrize("method", ["zygote", "spawn"])
async def test_started_as_root_with_a_user_every_process_is_that_user_for_good(
    nobodys: Place, method: str
) -> None:
    supervisor = nobodys.supervisor(
        "--user", "nobody", "--workers", "1", "--start-method", method, "--production", app=APP
    )
    await supervisor.started()
    queue = compose.job_queue(nobodys.url)
    await queue.initialize()
    try:
        found = await answer(queue, IDENTITY)
    finally:
        await queue.close()
    assert found["uid"] == [NOBODY] * 3
    assert found["user"] == ["nobody", "nobody"]
    assert found["gid"] == [found["gid"][0]] * 3
    assert set(found["groups"]) == {found["gid"][0]}
    assert found["capabilities"] == 0
    for process in supervisor.descendants():
        assert set(process.uids()) == {NOBODY}
    status = Path(f"/proc/{supervisor.pid}/status").read_text()
    assert f"Uid:\t{NOBODY}\t{NOBODY}\t{NOBODY}\t{NOBODY}" in status
    assert not supervisor.events("running_as_root")
    assert (nobodys.folder / "state" / "jobs.db").stat().st_uid == NOBODY


@pytest.mark.security("S13")
async def test_a_setuid_program_gives_a_worker_no_rights(nobodys: Place) -> None:
    program = nobodys.folder / "id"
    shutil.copy("/usr/bin/id", program)
    program.chmod(0o4755)
    ordinary = subprocess.run(
        [program, "-u"], user=NOBODY, capture_output=True, text=True, check=True
    )
    if ordinary.stdout.strip() != "0":
        pytest.skip("setuid programs have no effect in this folder at all")
    supervisor = nobodys.supervisor("--user", "nobody", "--workers", "1", app=APP)
    await supervisor.started()
    queue = compose.job_queue(nobodys.url)
    await queue.initialize()
    try:
        code = f"import subprocess; result = subprocess.check_output([{str(program)!r}, '-u'])"
        found = await answer(queue, f"{code}.decode()")
    finally:
        await queue.close()
    assert found.strip() == str(NOBODY)


@pytest.mark.security("S13")
@pytest.mark.parametrize("method", ["zygote", "spawn"])
async def test_workers_cannot_gain_rights_and_make_files_for_their_owner_alone(
    here: Place, queue: JobQueueAdapter, method: str
) -> None:
    here.supervisor("--start-method", method, app=APP)
    found = await answer(queue, IDENTITY)
    assert not found["new_privileges"]
    assert found["umask"] == 0o077


@pytest.mark.security("S13")
async def test_the_mask_of_new_files_is_as_it_was_asked_for(
    here: Place, queue: JobQueueAdapter
) -> None:
    here.supervisor("--umask", "027", app=APP)
    assert (await answer(queue, IDENTITY))["umask"] == 0o027


@root_only
@pytest.mark.security("S13")
@pytest.mark.fault("C24")
async def test_started_as_root_it_says_so_and_what_to_do(here: Place) -> None:
    supervisor = here.supervisor(app=APP)
    warning = await supervisor.event("running_as_root")
    assert warning["level"] == "warning"
    assert "--user" in warning["note"]
    assert "--allow-root" in warning["note"]
    checked = run(here.folder, "--check")
    assert checked.returncode == 0
    assert "running as root" in checked.stdout
    assert "running as root" not in run(here.folder, "--check", "--allow-root").stdout


@root_only
@pytest.mark.security("S13")
@pytest.mark.fault("C24")
def test_in_production_root_is_refused_unless_that_is_meant(tmp_path: Path) -> None:
    refused = run(tmp_path, "--production", "--drain")
    assert refused.returncode == 1
    assert "--production refuses to run as root" in refused.stderr
    assert "--user NAME" in refused.stderr
    assert list(tmp_path.iterdir()) == []
    allowed = run(tmp_path, "--production", "--allow-root", "--drain")
    assert allowed.returncode == 0
    assert "running_as_root" not in allowed.stderr


@pytest.mark.security("S13")
@pytest.mark.parametrize(
    "app", [(), ("--app", "portico.examples:app"), ("--app", "portico.examples.table_queue:app")]
)
def test_in_production_the_bundled_examples_are_refused(
    app: tuple[str, ...], tmp_path: Path
) -> None:
    """They fetch and read whatever a producer names."""
    refused = subprocess.run(
        [sys.executable, "-m", "portico.supervisor", "--production", "--allow-root", *app],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        timeout=15, check=False,
    )  # fmt: skip
    assert refused.returncode == 1
    assert "--production refuses the bundled examples" in refused.stderr
    assert "give --app yourmodule:app" in refused.stderr
    assert list(tmp_path.iterdir()) == []


@root_only
@pytest.mark.security("S13")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--user", "no-such-user"), "there is no such user"),
        (("--user", "nobody", "--group", "no-such-group"), "there is no such group"),
        (("--user", "54321"), "give --group too"),
        (("--group", "nogroup"), "--group needs --user"),
        (("--umask", "999"), "give octal digits"),
    ],
)
def test_a_user_that_cannot_be_is_refused_before_anything_is_made(
    arguments: tuple[str, ...], words: str, tmp_path: Path
) -> None:
    refused = run(tmp_path, *arguments, "--drain")
    assert refused.returncode == 1
    assert words in refused.stderr
    assert list(tmp_path.iterdir()) == []


@root_only
@pytest.mark.security("S13")
def test_only_root_can_become_another_user() -> None:
    program = (
        "import os, pwd\n"
        "from portico.supervisor import privileges\n"
        "os.setgid(pwd.getpwnam('nobody').pw_gid); os.setuid(pwd.getpwnam('nobody').pw_uid)\n"
        "privileges._become('nobody', None); print('stays')\n"
        "try: privileges._become('daemon', None)\n"
        "except privileges.ConfigurationError as error: print(error)"
    )
    said = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert said.stdout.startswith("stays")
    assert "only root can become another user" in said.stdout


@pytest.mark.security("S13")
def test_a_system_that_gives_the_rights_back_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("setgroups", "setgid", "setuid"):
        monkeypatch.setattr(os, name, lambda *_: None)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(privileges.ConfigurationError, match="gives root's rights back"):
        privileges._become("nobody", None)


@pytest.mark.security("S13")
@pytest.mark.security("S14")
def test_all_that_a_supervisor_makes_is_for_its_owner_alone(tmp_path: Path) -> None:
    run(tmp_path, "--drain", "--audit-url", "sqlite:///audit.db", "--allow-root")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert "portico.db" in modes
    assert {mode & 0o077 for mode in modes.values()} == {0}, modes


@root_only
@pytest.mark.security("S13")
def test_a_user_who_may_not_read_the_interpreter_is_told_so_before_anything_starts(
    tmp_path: Path,
) -> None:
    """In a process of its own: rights that are given up do not come back."""
    code = (
        "import sys; from portico.supervisor import privileges\n"
        f"sys.executable = {str(tmp_path / 'hidden' / 'python')!r}\n"
        "try: privileges._become('nobody', None)\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    hidden = tmp_path / "hidden"
    hidden.mkdir(mode=0o700)
    (hidden / "python").touch(mode=0o755)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("ConfigurationError --user is 'nobody', who may not read ")
    assert "hidden/python; install Python" in done.stdout
