"""Nothing that a handler can write is ever run with its supervisor's rights."""

from __future__ import annotations

import grp
import os
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

import pytest

from portico.ports.job import JobStatus
from portico.ports.job_queue import JobQueueAdapter
from tests.security.conftest import APP, NOBODY, answer
from tests.support.jobs import ended, make_job
from tests.support.supervisors import ROOT, Place, SupervisorProcess

pytestmark = pytest.mark.security("S13")

PACKAGES = os.pathsep.join((str(ROOT), sysconfig.get_path("purelib")))

INSTEAD = """
import os
open(os.environ["RAN"], "a").write(f"{os.getpid()}\\n")
import importlib, sys
here, path = os.path.dirname(os.path.realpath(__file__)), sys.path[:]
del sys.modules[__name__]
sys.path[:] = [entry for entry in path if os.path.realpath(entry or ".") != here]
importlib.invalidate_caches()
sys.modules[__name__] = importlib.import_module(__name__)
sys.path[:] = path
"""
"""In the place of a module: leaves a trace, and is otherwise what it seems to be."""

UNBOUND = """
import os
if "NoNewPrivs:\\t1" not in open("/proc/self/status").read():
    open(os.environ["RAN"], "a").write(f"{__name__} {os.getpid()}\\n")
    raise SystemExit(f"{__name__} of the working directory")
"""
"""In the place of a module that is needed before the limits of a worker are set."""


def command(folder: Path, way: str) -> Sequence[str]:
    """The ways to start a supervisor; `portico supervisor` is a script in another folder."""
    if way == "module":
        return sys.executable, "-m", "portico.supervisor"
    if way == "package":
        return sys.executable, "-m", "portico", "supervisor"
    script = folder / "bin" / "portico"
    script.parent.mkdir(exist_ok=True)
    script.write_text("from portico.cli import main\nmain()\n")
    return sys.executable, str(script), "supervisor"


def start(here: Place, way: str, *arguments: str, path: str = str(ROOT)) -> SupervisorProcess:
    """A supervisor of an application in the working directory."""
    (here.folder / "shop.py").write_text("from tests.support.security_app import app\n")
    (here.folder / "ran").touch()
    started = here.supervisor(
        *arguments, "--workers", "1", command=command(here.folder, way), app="shop:app",
        RAN=str(here.folder / "ran"), PYTHONPATH=path,
    )  # fmt: skip
    started.ruined = None  # it is one as it should be
    return started


@pytest.mark.parametrize(
    ("way", "path"),
    [
        ("module", "{0}"),
        ("package", "{0}"),
        ("script", "{0}"),
        ("script", ":{0}"),
        ("module", "{1}:{0}"),
    ],
)
async def test_a_supervisor_imports_nothing_from_its_working_directory_and_handlers_do(
    way: str, path: str, here: Place, queue: JobQueueAdapter
) -> None:
    """Nor where PYTHONPATH names it, or has an empty entry, which stands for it."""
    for name in ("click", "apsw", "asyncinotify", "psutil", "rich", "tomllib", "uvloop", "json"):
        (here.folder / f"{name}.py").write_text(INSTEAD)
    supervisor = start(here, way, path=path.format(ROOT, here.folder))
    code = "import os, shop, rich; result = [os.getpid(), shop.__file__]"
    worker, shop = await answer(queue, code)
    assert shop == str(here.folder / "shop.py")
    ran = {int(line) for line in (here.folder / "ran").read_text().split()}
    assert worker in ran
    assert supervisor.pid not in ran


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("way", ["zygote", "spawn"])
async def test_a_worker_imports_nothing_from_there_before_its_limits_are_set(
    way: str, here: Place, queue: JobQueueAdapter
) -> None:
    for name in ("contextlib", "keyword", "msgspec", "portico", "structlog"):
        (here.folder / f"{name}.py").write_text(UNBOUND)
    start(here, "script", "--start-method", way)
    assert await answer(queue, "result = 7") == 7
    assert (here.folder / "ran").read_text() == ""


ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="starts supervisors as root")
CANARY = "import os; open(os.environ['RAN'], 'a').write(f'{os.getuid()} {__name__}\\n')\n"


async def refused(place: Place, way: str, **environment: str) -> str:
    """What a supervisor that was to become nobody says instead; nothing of what was planted ran."""
    started = place.supervisor(
        "--drain", command=command(place.folder, way), app=APP,
        RAN=str(place.folder / "ran"), **{"PORTICO_USER": "nobody", **environment},
    )  # fmt: skip
    assert await started.ended() == 1
    assert not (place.folder / "ran").exists()
    said = started.text()
    assert "--user is 'nobody', who can change " in said
    assert "--queue-url sqlite:" in said
    return said


@ROOT_ONLY
@pytest.mark.parametrize("way", ["module", "script"])
async def test_a_working_directory_of_the_workers_user_is_refused_and_nothing_of_it_is_run(
    way: str, nobodys: Place
) -> None:
    for name in ("click", "msgspec", "psutil", "tomllib"):
        (nobodys.folder / f"{name}.py").write_text(CANARY)
    (nobodys.folder / "portico.toml").write_text("a line that is no setting")
    os.chown(nobodys.folder, NOBODY, -1)
    said = await refused(nobodys, way)
    assert str(nobodys.folder) in said
    assert "portico.toml cannot be read" not in said  # it was not even read


@ROOT_ONLY
@pytest.mark.parametrize(
    "kind", ["file", "pth", "folder", "parent", "link", "missing", "group", "sticky"]
)
async def test_whatever_of_a_supervisor_the_workers_user_can_change_is_refused(
    kind: str, nobodys: Place
) -> None:
    lib = nobodys.folder / "lib"
    (lib / "inner").mkdir(parents=True)
    entry = lib / "inner"
    if kind == "file":
        entry = nobodys.folder / "portico.toml"
        entry.write_text("workers = 1\n")
        os.chown(entry, NOBODY, -1)
    elif kind == "pth":
        (entry / "lines.pth").touch()
        os.chown(entry / "lines.pth", NOBODY, -1)
    elif kind in {"folder", "parent"}:
        os.chown(entry if kind == "folder" else lib, NOBODY, -1)
    elif kind == "link":
        link = nobodys.folder / "link"
        link.symlink_to(entry)
        os.chown(lib, NOBODY, -1)
        entry = link
    elif kind == "missing":
        os.chown(lib, NOBODY, -1)
        entry = lib / "not" / "there" / "yet"
    elif kind == "group":
        os.chown(entry, -1, grp.getgrnam("nogroup").gr_gid)
        entry.chmod(0o775)
    else:
        entry.chmod(0o1777)
    path = os.pathsep.join((str(entry), PACKAGES))
    said = await refused(nobodys, "module", **({} if kind == "file" else {"PYTHONPATH": path}))
    assert str(entry if kind in {"file", "folder", "group", "sticky"} else lib) in said


@ROOT_ONLY
async def test_a_settings_file_that_names_a_user_who_can_write_it_is_refused(
    nobodys: Place,
) -> None:
    settings = nobodys.folder / "portico.toml"
    settings.write_text('user = "nobody"\n')
    os.chown(settings, NOBODY, -1)
    started = nobodys.supervisor("--drain", app=APP)
    assert await started.ended() == 1
    assert f"--user is 'nobody', who can change {settings}" in started.text()


@ROOT_ONLY
@pytest.mark.parametrize("production", [False, True])
async def test_without_a_user_it_is_said_once_what_handlers_could_change(
    production: bool, nobodys: Place
) -> None:
    os.chown(nobodys.folder, NOBODY, -1)
    drop = ("setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups")
    run = (*drop, *command(nobodys.folder, "module"))
    flags = ["--production"] if production else []
    started = nobodys.supervisor("--drain", *flags, command=run, app=APP)
    assert await started.ended() == 0
    (told,) = started.events("code_is_writable")
    assert told["level"] == ("warning" if production else "info")
    assert str(nobodys.folder) in told["places"]
    checked = subprocess.run(
        [*run, "--check", "--app", APP, "--queue-url", nobodys.url], cwd=nobodys.folder,
        env={**os.environ, "PYTHONPATH": PACKAGES}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert f"{nobodys.folder}: handlers could change" in checked.stdout


WATCHED = """
import os, sys
fd = os.open(os.environ["RAN"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)

def note(event, arguments):
    if event == "import" or (event in {"open", "sqlite3.connect"} and os.geteuid() == 0):
        os.write(fd, f"{event} {arguments[0]}\\n".encode())

sys.addaudithook(note)
from portico.cli import main
main()
"""
"""`portico`, with a line for each module that it loads and each file that it opens as root."""


def watched(folder: Path) -> tuple[Sequence[str], Path]:
    script = folder / "watched.py"
    script.write_text(WATCHED)
    trace = folder / "trace"
    return (sys.executable, str(script), "supervisor"), trace


async def test_a_supervisor_that_has_started_imports_nothing_more_from_anywhere(
    here: Place, queue: JobQueueAdapter
) -> None:
    run, trace = watched(here.folder)
    supervisor = here.supervisor(
        "--workers", "1", "--log-level", "DEBUG", command=run, app=APP, RAN=str(trace)
    )
    supervisor.ruined = None
    assert await answer(queue, "result = 1") == 1
    loaded = trace.read_text().splitlines()
    assert "import click" in loaded

    failing = make_job(job_type="test.python", payload={"code": "1 / 0"}, max_retries=0)
    deadly = make_job(
        job_type="test.python", payload={"code": "import os; os._exit(9)"}, max_retries=0
    )
    await queue.enqueue_many([failing, deadly, make_job(job_type="no.such.type")])
    assert (await ended(queue, failing.id)).status is JobStatus.DEAD_LETTER
    assert (await ended(queue, deadly.id)).status is JobStatus.DEAD_LETTER
    supervisor.signal(signal.SIGUSR1)
    await supervisor.event("supervisor_state")
    supervisor.signal(signal.SIGHUP)
    await supervisor.event("worker_recycled", reason="reload")
    assert await answer(queue, "result = 2") == 2
    supervisor.signal(signal.SIGTERM)
    assert await supervisor.ended() == 0
    since = trace.read_text().splitlines()[len(loaded) :]
    assert [line for line in since if line.startswith("import ")] == []


@ROOT_ONLY
async def test_as_root_nothing_is_opened_where_the_user_could_have_put_a_link(
    nobodys: Place,
) -> None:
    state = nobodys.folder / "state"
    victim = nobodys.folder / "victim"
    victim.write_text("precious")
    (state / "audit.db").symlink_to(victim)
    run, trace = watched(nobodys.folder)
    trace.touch()
    trace.chmod(0o666)
    (nobodys.folder / "portico.toml").write_text("workers = 1\n")
    started = nobodys.supervisor(
        "--drain", "--user", "nobody", "--pid-file", str(state / "pid"),
        "--audit-url", f"sqlite:///{state / 'audit.db'}", command=run, app=APP, RAN=str(trace),
    )  # fmt: skip
    await started.ended()
    assert victim.read_text() == "precious"
    opened = [line for line in trace.read_text().splitlines() if str(nobodys.folder) in line]
    assert f"open {nobodys.folder / 'portico.toml'}" in opened
    assert not [line for line in opened if str(state) in line]
    assert {path.lstat().st_uid for path in state.iterdir()} <= {NOBODY, 0}
    assert (state / "jobs.db").stat().st_uid == NOBODY
