"""What a handler can do to others of its user: its supervisor, the zygote, its siblings."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from uuid import uuid4

import pytest

from portico import compose
from portico.exceptions import ConfigurationError
from portico.ports.job_queue import JobQueueAdapter
from portico.supervisor.config import SupervisorConfig
from portico.supervisor.privileges import Limits
from portico.supervisor.sandbox import enclosure, landlock, offer, seccomp
from tests.security.conftest import APP, NOBODY, answer
from tests.support import reaching
from tests.support.supervisors import ROOT, Place, SupervisorProcess

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has these sandboxes")

METHODS = pytest.mark.parametrize("method", ["zygote", "spawn"])
BECOME = """
import os, sys
os.setgroups([]); os.setgid({0}); os.setuid({0})
os.execv(sys.executable, [sys.executable, "-m", "portico.supervisor", *sys.argv[1:]])
"""
TRIED = "from tests.support.reaching import tried; result = tried(job.payload['abstract'])"


@pytest.fixture
def plain(request: pytest.FixtureRequest) -> Place:
    """A place in which supervisors run as a user without rights; as root where they cannot."""
    if os.geteuid() == 0:
        with suppress(pytest.skip.Exception):
            return found_by(request, "nobodys")
    return found_by(request, "here")


def found_by(request: pytest.FixtureRequest, name: str) -> Place:
    found: Place = request.getfixturevalue(name)
    return found


def home_of(place: Place) -> Path:
    """The folder of its queue."""
    return Path(place.url.removeprefix("sqlite://")).parent


@asynccontextmanager
async def served(
    place: Place, *arguments: str, workers: int = 2, **environment: str
) -> AsyncIterator[tuple[SupervisorProcess, JobQueueAdapter]]:
    """A supervisor of a user without rights, as that user starts it, and its queue."""
    command = None
    if home_of(place).stat().st_uid != os.geteuid():
        command = (sys.executable, "-c", BECOME.format(NOBODY))
    supervisor = place.supervisor(
        "--log-level", "DEBUG", "--workers", str(workers), *arguments,
        app=APP, command=command, **environment,
    )  # fmt: skip
    supervisor.ruined = None  # it is one as it should be
    await supervisor.ready(workers)
    queue = compose.job_queue(place.url)
    await queue.initialize()
    try:
        yield supervisor, queue
    finally:
        await queue.close()


@pytest.fixture
def listening() -> Iterator[str]:
    """The name of an abstract socket that somebody outside listens to."""
    name = f"portico-test-{uuid4()}"
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(f"\0{name}")
        one.listen()
        yield name


async def tried(queue: JobQueueAdapter, listening: str) -> dict[str, str]:
    found: dict[str, str] = await answer(queue, TRIED, more={"abstract": listening})
    return found


def refusable() -> set[str]:
    """What this kernel can refuse."""
    found = {"the rest"}
    if landlock.version() >= landlock.SCOPES:
        found.add("scopes")
    if seccomp.offered():
        found.add("calls")
    return found


@pytest.mark.security("S29")
@METHODS
async def test_a_handler_reaches_neither_its_supervisor_nor_the_zygote_nor_its_siblings(
    plain: Place, method: str, listening: str
) -> None:
    async with served(plain, "--start-method", method) as (supervisor, queue):
        found = await tried(queue, listening)
        refused = refusable() - ({"the rest"} if home_of(plain).stat().st_uid == 0 else set())
        expected = {name: how for name, how in found.items() if _kind(name) in refused}
        assert [name for name, how in expected.items() if reaching.DONE in how] == []
        calls = {how for name, how in expected.items() if _kind(name) == "calls"}
        assert calls <= {"EPERM", "ENOSYS"}, expected
        assert await answer(queue, "result = 7") == 7
    assert not supervisor.events("worker_exited")
    assert "scopes" not in refusable() or not supervisor.events("supervisor_state")
    assert bool(supervisor.events("sandbox_partly")) == (len(refusable()) < 3)


async def test_without_a_sandbox_all_of_it_is_done(plain: Place, listening: str) -> None:
    """Or it would not be the sandbox that the test above tests."""
    async with served(plain, "--limits", "sandbox=off") as (supervisor, queue):
        found = await tried(queue, listening)
        await supervisor.event("supervisor_state")  # it was signalled by way of the kernel, too
    failed = {name for name, how in found.items() if reaching.DONE not in how}
    assert failed <= reaching.MISPUT, found


@METHODS
async def test_a_handler_that_behaves_notices_nothing(plain: Place, method: str) -> None:
    code = "from tests.support.behaving import failed; result = failed()"
    async with served(plain, "--start-method", method, workers=1) as (supervisor, queue):
        assert await answer(queue, code) == {}
    assert not supervisor.events("worker_exited")


WRITING = """
import os, shutil, socket, sqlite3, tempfile
from multiprocessing import Lock, shared_memory
os.chdir(job.payload["home"])
queue, code, inside = "jobs.db", "code.py", "out"

def how(act):
    try:
        act()
    except (OSError, sqlite3.Error) as error:
        return type(error).__name__
    return "done"

def opened(path, flags):
    os.close(os.open(path, flags))

def linked(path):
    os.link(path, inside + "/link")
    open(inside + "/link", "w").close()

def linked_softly(path):
    os.symlink(os.path.abspath(path), inside + "/soft")
    opened(inside + "/soft", os.O_WRONLY)

def changed(path):
    with sqlite3.connect(path) as database:
        database.execute("UPDATE portico_jobs SET priority = 7")

def shared():
    memory = shared_memory.SharedMemory(create=True, size=64)
    memory.close()
    memory.unlink()

def listened(path):
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(path)

outside = {
    "change a row": lambda: changed(queue),
    "write": lambda: opened(queue, os.O_WRONLY),
    "append": lambda: opened(queue + "-wake", os.O_RDWR | os.O_APPEND),
    "truncate": lambda: os.truncate(queue, 0),
    "truncate when opened": lambda: opened(queue, os.O_RDONLY | os.O_TRUNC),
    "unlink": lambda: os.unlink(queue),
    "replace": lambda: os.replace(inside + "/file", queue),
    "take away": lambda: os.rename(queue, inside + "/taken"),
    "link": lambda: linked(queue),
    "soft link": lambda: linked_softly(queue),
    "code": lambda: opened(code, os.O_WRONLY),
    "new file": lambda: opened("new", os.O_CREAT | os.O_WRONLY),
    "new folder": lambda: os.mkdir("folder"),
    "fifo": lambda: os.mkfifo("fifo"),
    "socket": lambda: listened("socket"),
    "own memory's file of the supervisor": lambda: opened(
        f"/proc/{os.getppid()}/oom_score_adj", os.O_WRONLY),
    "in a child": lambda: os.waitpid(os.posix_spawn("/bin/sh", ["sh", "-c", "rm jobs.db"],
        os.environ), 0)[1] and opened("jobs.db", os.O_WRONLY),
}
within = {
    "write": lambda: open(inside + "/file", "w").close(),
    "temporary file": lambda: tempfile.TemporaryFile().close(),
    "move": lambda: (os.mkdir(inside + "/a"), os.rename(inside + "/file", inside + "/a/file"),
        os.rename(inside + "/a/file", inside + "/file")),
    "link": lambda: os.link(inside + "/file", inside + "/a/other"),
    "truncate": lambda: os.truncate(inside + "/file", 0),
    "socket": lambda: listened(inside + "/socket"),
    "remove": lambda: shutil.rmtree(inside + "/a"),
    "nowhere": lambda: open(os.devnull, "w").close(),
    "lock": lambda: Lock().acquire(),
    "memory": shared,
    "read": lambda: open(code).close(),
}
result = {name: {what: how(act) for what, act in acts.items()}
          for name, acts in {"within": within, "outside": outside}.items()}
"""


@pytest.mark.security("S29")
@METHODS
@pytest.mark.skipif(not landlock.version(), reason="only Linux has Landlock, from 5.13")
async def test_a_handler_writes_only_where_it_may(plain: Place, method: str) -> None:
    home = home_of(plain)
    out, code = home / "out", home / "code.py"
    out.mkdir()
    code.touch()
    for path in (out, code):
        os.chown(path, home.stat().st_uid, -1)
    limits = ("--limits", f"write={out}", "--start-method", method)
    async with served(plain, *limits, workers=1, TMPDIR=str(out)) as (supervisor, queue):
        found = await answer(queue, WRITING, more={"home": str(home)})
        assert set(found["within"].values()) == {"done"}, found["within"]
        allowed = {name for name, how in found["outside"].items() if how == "done"}
        assert allowed == set(), found["outside"]
        assert await answer(queue, "result = 7") == 7
    assert not supervisor.events("store_is_writable")


async def test_a_queue_that_lies_where_handlers_may_write_is_told(here: Place) -> None:
    supervisor = here.supervisor("--limits", f"write={here.folder}", app=APP)
    told = await supervisor.event("store_is_writable")
    assert told["files"] == f"{here.folder}/jobs.db"


@pytest.mark.parametrize(
    ("url", "write", "told"),
    [
        ("sqlite:////srv/out/jobs.db", ("/srv/out",), ["/srv/out/jobs.db"]),
        ("sqlite:////srv/out/jobs.db", ("/",), ["/srv/out/jobs.db"]),
        ("sqlite:////srv/outer/jobs.db", ("/srv/out",), []),
        ("sqlite:////srv/out/jobs.db", (), []),
        ("sqlite:////dev/shm/jobs.db", ("/srv/out",), ["/dev/shm/jobs.db"]),
        ("redis://host/0", ("/",), []),
    ],
)
def test_a_store_lies_open_below_what_may_be_written(
    url: str, write: tuple[str, ...], told: list[str]
) -> None:
    config = SupervisorConfig(workers=1, queue_url=url, limits=Limits(write=write))
    assert offer.open_stores(config) == told


@pytest.mark.skipif(not landlock.version(), reason="only Linux has Landlock, from 5.13")
def test_a_check_says_what_is_in_force(tmp_path: Path) -> None:
    limits = f"write={tmp_path},dumpable=yes"
    checked = subprocess.run(
        [sys.executable, "-m", "portico.supervisor", "--check", "--app", APP, "--limits", limits],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    (said,) = [line for line in checked.stdout.splitlines() if line.startswith("sandbox")]
    assert "workers can be looked into" in said
    assert f"writes below {tmp_path}" in said
    assert f"{tmp_path}/portico.db: handlers could change or remove it" in checked.stdout


@pytest.mark.parametrize(
    ("version", "calls", "limits", "words"),
    [
        (6, True, Limits(), []),
        (5, True, Limits(), ["signals"]),
        (0, False, Limits(), ["signals", "ptrace"]),
        (0, False, Limits(sandbox=False), []),
        (1, True, Limits(write=("/",)), ["signals", "moved", "truncated"]),
    ],
)
def test_what_the_kernel_lacks_is_told_by_what_a_handler_can_do(
    version: int, calls: bool, limits: Limits, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(landlock, "version", lambda: version)
    monkeypatch.setattr(seccomp, "offered", lambda: calls)
    lacking = offer.lacking(limits)
    assert [word for word in words for text in lacking if word in text] == words
    assert len(lacking) == len(words)
    assert all(text in offer.described(limits) for text in lacking)


def test_a_bound_that_cannot_be_kept_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landlock, "version", lambda: 0)
    with pytest.raises(ConfigurationError, match="write= needs Landlock"):
        enclosure.demand(Limits(write=("/",)))
    enclosure.demand(Limits())


def _kind(name: str) -> str:
    """What it is refused by."""
    way = name.partition(",")[0]
    if way in {*reaching.SIGNALS, "abstract socket"}:
        return "scopes"
    return "the rest" if way in reaching.PROC else "calls"
