"""Nothing that a handler can write is ever run with its supervisor's rights."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from portico.ports.job_queue import JobQueueAdapter
from tests.security.conftest import answer
from tests.support.supervisors import Place, SupervisorProcess

pytestmark = pytest.mark.security("S13")

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
    """The two ways to start a supervisor; `portico supervisor` is a script in another folder."""
    if way == "module":
        return sys.executable, "-m", "portico.supervisor"
    script = folder / "bin" / "portico"
    script.parent.mkdir(exist_ok=True)
    script.write_text("from portico.cli import main\nmain()\n")
    return sys.executable, str(script), "supervisor"


def start(here: Place, way: str, *arguments: str) -> SupervisorProcess:
    """A supervisor of an application in the working directory."""
    (here.folder / "shop.py").write_text("from tests.support.security_app import app\n")
    (here.folder / "ran").touch()
    started = here.supervisor(
        *arguments, "--workers", "1", command=command(here.folder, way), app="shop:app",
        RAN=str(here.folder / "ran"),
    )  # fmt: skip
    started.ruined = None  # it is one as it should be
    return started


@pytest.mark.parametrize("way", ["module", "script"])
async def test_a_supervisor_imports_nothing_from_its_working_directory_and_handlers_do(
    way: str, here: Place, queue: JobQueueAdapter
) -> None:
    for name in ("click", "apsw", "asyncinotify", "psutil", "rich", "tomllib", "uvloop", "json"):
        (here.folder / f"{name}.py").write_text(INSTEAD)
    supervisor = start(here, way)
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
