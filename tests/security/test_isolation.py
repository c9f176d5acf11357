"""What a worker is given, and what binds it."""

from __future__ import annotations

import ast
import resource
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from portico.exceptions import ConfigurationError
from portico.ports.job import JobStatus
from portico.ports.job_queue import JobQueueAdapter
from portico.supervisor.config import configure
from portico.supervisor.privileges import DEFAULT_LIMITS, Limits
from tests.security.conftest import APP, answer
from tests.support.jobs import ended, make_job
from tests.support.supervisors import LOOKED_INTO, Place

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

METHODS = pytest.mark.parametrize("method", ["zygote", "spawn"])
BELONGINGS = """
import os
folder = "/proc/self/fd"
files = {name: os.readlink(f"{folder}/{name}") for name in os.listdir(folder)
         if os.path.exists(f"{folder}/{name}")}
maps = open("/proc/self/maps").read()
result = {"files": files, "environment": dict(os.environ), "maps": maps, "pid": os.getpid()}
"""


def limits_of(pid: int) -> dict[str, str]:
    """The limits of a process, by the names of the kernel; one that it could lift is none."""
    lines = Path(f"/proc/{pid}/limits").read_text().splitlines()[1:]
    return {
        line[:26].strip(): line[26:47].strip()
        for line in lines
        if line[26:47].strip() == line[47:68].strip()
    }


def oom_score(pid: int) -> int:
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())


@pytest.mark.security("S12")
@METHODS
async def test_a_worker_has_no_socket_no_database_and_no_address_of_one(
    here: Place, queue: JobQueueAdapter, method: str
) -> None:
    supervisor = here.supervisor(
        "--start-method", method, *LOOKED_INTO, app=APP,
        PORTICO_QUEUE_URL="postgresql://portico:canary@db.invalid/jobs",
        PORTICO_AUDIT_URL=f"sqlite:///{here.folder}/canary.db",
        PGPASSWORD="canary", PGSERVICEFILE="/canary", REDISCLI_AUTH="canary",
        CREDENTIALS_DIRECTORY="/canary", NOTIFY_SOCKET="/canary",
    )  # fmt: skip
    found = await answer(queue, BELONGINGS)
    opened = found["files"].values()
    others = [supervisor.pid, *(p.pid for p in supervisor.descendants() if p.pid != found["pid"])]
    inherited = set.union(*map(_socket_inodes, others)) & _socket_inodes(found["pid"])
    assert not inherited  # its loop has a pair of its own, with which its threads wake it
    assert not psutil.Process(found["pid"]).net_connections("inet")
    assert not [name for name in opened if "jobs.db" in name or "canary" in name]
    assert "jobs.db" not in found["maps"]
    assert "canary" not in str(found["environment"])
    assert "PORTICO_QUEUE_URL" not in found["environment"]
    for process in supervisor.descendants():
        assert "canary" not in Path(f"/proc/{process.pid}/environ").read_text()
        assert "canary" not in " ".join(process.cmdline())


@pytest.mark.security("S29")
@pytest.mark.security("S7")
@METHODS
async def test_unless_told_otherwise_a_worker_leaves_no_core_and_is_killed_before_its_supervisor(
    here: Place, queue: JobQueueAdapter, method: str
) -> None:
    before = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (before[1], before[1]))
    try:
        supervisor = here.supervisor("--start-method", method, app=APP)
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, before)
    pid = await answer(queue, "import os; result = os.getpid()")
    assert limits_of(pid)["Max core file size"] == "0"
    assert oom_score(pid) == min(1000, oom_score(supervisor.pid) + 500)
    unbound = {"Max address space", "Max cpu time", "Max open files"}
    for name in unbound:
        assert limits_of(pid).get(name) == limits_of(supervisor.pid).get(name)


@pytest.mark.security("S29")
@METHODS
async def test_limits_bind_the_workers_and_not_their_supervisor(
    here: Place, queue: JobQueueAdapter, method: str
) -> None:
    wanted = "address_space=8G,cpu=1h,files=600,core=0,oom_score=321,dumpable=no"
    supervisor = here.supervisor("--limits", wanted, "--start-method", method, app=APP)
    pid = await answer(queue, "import os; result = os.getpid()")
    bound = limits_of(pid)
    assert bound["Max address space"] == str(8 * 2**30)
    assert bound["Max cpu time"] == "3600"
    assert bound["Max open files"] == "600"
    assert bound["Max core file size"] == "0"
    assert oom_score(pid) == min(1000, oom_score(supervisor.pid) + 321)
    free = limits_of(supervisor.pid)
    for name in ("Max address space", "Max cpu time", "Max open files"):
        assert free.get(name) != bound[name]
    code = "import ctypes; result = ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)"  # PR_GET_DUMPABLE
    assert await answer(queue, code) == 0


@pytest.mark.security("S29")
async def test_a_handler_that_wants_more_memory_than_it_may_have_fails_alone(
    here: Place, queue: JobQueueAdapter
) -> None:
    here.supervisor("--limits", "address_space=2G", "--workers", "1", app=APP)
    greedy = make_job(
        job_type="test.python", payload={"code": "x = bytearray(4 << 30)"}, max_retries=0
    )
    await queue.enqueue(greedy)
    failed = await ended(queue, greedy.id)
    assert failed.status is JobStatus.DEAD_LETTER
    record = await queue.inspect(greedy.id)
    assert record is not None
    assert (record.error_type, record.crash_count) == ("MemoryError", 0)
    assert await answer(queue, "result = 7") == 7


@pytest.mark.security("S29")
async def test_a_worker_that_has_used_up_its_processor_time_is_killed_and_replaced(
    here: Place, queue: JobQueueAdapter
) -> None:
    supervisor = here.supervisor("--limits", "cpu=1s", "--workers", "1", app=APP)
    job = make_job(job_type="test.python", payload={"code": "while True: pass"}, max_retries=0)
    await queue.enqueue(job)
    dead = await ended(queue, job.id, 40)
    assert dead.status is JobStatus.DEAD_LETTER
    assert "the worker was killed by SIG" in (dead.error_message or "")
    exited = await supervisor.event("worker_exited")
    assert exited["jobs"] == [str(job.id)]
    assert await answer(queue, "result = 7") == 7


@pytest.mark.security("S29")
async def test_a_zygote_that_cannot_start_within_the_limits_ends_the_start(here: Place) -> None:
    supervisor = here.supervisor("--limits", "address_space=16M", app=APP)
    assert await supervisor.ended() == 4


@pytest.mark.security("S29")
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("memory=4G", "'memory' is no limit"),
        ("files", "files: give a whole number of at least 256"),
        ("files=64", "files: give a whole number of at least 256"),
        ("address_space=lots", "address_space: give a size"),
        ("cpu=0", "cpu: give at least one second"),
        ("oom_score=-1000", "oom_score: give a whole number from 0 to 1000"),
        ("dumpable=maybe", "dumpable: give true or false"),
        ("sandbox=maybe", "sandbox: give true or false"),
        ("write=", "write: give the folders below which handlers may write"),
        ("write=/tmp:/no/such/folder", "write: there is no /no/such/folder"),
    ],
)
def test_a_limit_that_cannot_be_is_refused(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=f"--limits is {text!r}: {words}"):
        configure({"limits": text}, {}, tmp_path)


@pytest.mark.security("S29")
def test_limits_are_read_from_a_flag_or_a_list_in_the_file(tmp_path: Path) -> None:
    (tmp_path / "portico.toml").write_text('limits = ["cpu=90m", "core=1M"]')
    assert configure({}, {}, tmp_path).limits == Limits(cpu=5400, core=2**20)
    assert configure({"limits": "files=300"}, {}, tmp_path).limits == Limits(files=300)
    assert Limits(core=0, oom_score=500) == DEFAULT_LIMITS


@pytest.mark.security("S15")
async def test_nobody_can_connect_to_a_supervisor_its_zygote_or_its_workers(
    here: Place, queue: JobQueueAdapter
) -> None:
    """There is no control socket: signals, the store and inherited pipes are the only ways in."""
    supervisor = here.supervisor(*LOOKED_INTO, app=APP)
    await supervisor.started()
    assert await answer(queue, "result = 7") == 7
    everybody = [psutil.Process(supervisor.pid), *supervisor.descendants()]
    assert len(everybody) == 4
    listening = _listening_unix_sockets()
    for process in everybody:
        assert not process.net_connections("inet")
        assert not listening & _socket_inodes(process.pid)


@pytest.mark.security("S15")
def test_no_module_of_the_supervisor_listens() -> None:
    folder = Path(__file__).parents[2] / "portico" / "supervisor"
    forbidden = {"bind", "listen", "start_server", "create_server", "start_unix_server",
                 "create_unix_server"}  # fmt: skip
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                owner: Any = node.func.value
                if node.func.attr == "bind":  # a logger's
                    assert isinstance(owner, ast.Call), f"{path.name}:{node.lineno}"
                else:
                    assert node.func.attr not in forbidden, f"{path.name}:{node.lineno}"


def _listening_unix_sockets() -> set[str]:
    rows = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:]]
    return {row[6] for row in rows if int(row[3], 16) & 0x10000}


def _socket_inodes(pid: int) -> set[str]:
    links = []
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            links.append(str(descriptor.readlink()))
    return {link[8:-1] for link in links if link.startswith("socket:[")}
