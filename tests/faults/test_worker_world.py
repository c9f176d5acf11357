"""Handler processes are the application's own world: what it did when it was imported stands."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from portico.ports.job import JobStatus
from portico.ports.job_queue import JobQueueAdapter
from tests.security.conftest import APP, answer
from tests.support.accounts import MISBEHAVING, account, enqueue
from tests.support.jobs import ended, make_job
from tests.support.supervisors import LOOKED_INTO, Place
from tests.support.waiting import wait_until

pytestmark = pytest.mark.every_python

OPENED = "tests.support.opened_app:app"
USE = """
from pathlib import Path
from tests.support import opened_app as shop
out = [(shop.HERE / f"{job.id}-{n}.csv").open("w") for n in range(300)]
shop.log.info("%s", job.id)
shop.database.execute("INSERT INTO rows VALUES (1)")
for file in out:
    file.write("mine")
    file.close()
shop.rates.seek(4 * 42)
shop.sender.send(b"packet")
shop.poll.register(shop.receiver, 1)
ready = shop.poll.poll(1)
shop.poll.unregister(shop.receiver)
os_write = __import__("os").write(shop.writing, b"piped")
with shop.lock:
    result = [shop.rates.read(3).decode(), shop.receiver.recv(9).decode(), len(ready),
              __import__("os").read(shop.reading, 9).decode(), shop.mapped[:5].decode(),
              Path(shop.folder.name).is_dir(),
              sorted({(shop.HERE / f"{job.id}-{n}.csv").read_text() for n in range(300)})]
"""
KEPT = """
from tests.support import opened_app as shop
now = shop.held()
result = {str(fd): [what, now.get(fd)] for fd, what in shop.opened.items() if now.get(fd) != what}
assert shop.HERE.joinpath(shop.folder.name).is_dir(), "removed by a worker that has left"
assert shop.HERE.joinpath(shop.named.name).is_file(), "removed by a worker that has left"
"""


@pytest.mark.parametrize("method", ["zygote", "spawn"])
async def test_what_was_opened_at_import_works_in_handlers_and_never_meets_their_files(
    method: str, here: Place, queue: JobQueueAdapter
) -> None:
    here.supervisor("--start-method", method, "--workers", "1", app=OPENED)
    for _ in range(2):
        answered = await answer(queue, USE)
        assert answered == ["042", "packet", 1, "piped", "model", True, ["mine"]]
    lines = (here.folder / "imports.log").read_text().splitlines()
    assert len(lines) == len(set(lines)) == 2
    counted = "from tests.support.opened_app import database\nresult = next(database.execute({!r}))"
    assert await answer(queue, counted.format("SELECT count(*) FROM rows")) == [2]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_every_descriptor_of_the_application_keeps_its_number_in_every_worker(
    here: Place, queue: JobQueueAdapter
) -> None:
    supervisor = here.supervisor("--max-jobs-per-worker", "1", app=OPENED)
    for _ in range(4):
        assert await answer(queue, KEPT) == {}
    assert supervisor.events("worker_exited") == []


SHOP = """
import locale, os, signal, sys
{at_import}
from tests.support.security_app import app
"""
AWKWARD = """
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGINT, signal.default_int_handler)
rings = []
signal.signal(signal.SIGALRM, lambda *_: rings.append(1))
signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR1})
os.mkdir("elsewhere")
os.chdir("elsewhere")
os.umask(0o027)
os.environ["SHOP"] = "open"
sys.path.append("/shop")
sys.setrecursionlimit(2345)
locale.setlocale(locale.LC_ALL, "C.UTF-8")
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
for standard in (0, 1, 2):
    os.close(standard)
"""
AS_IMPORTED = """
import locale, os, resource, shop, signal, sys, time
print("spoken")
while not shop.rings:
    time.sleep(0.01)
result = [
    signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN,
    sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])) == [signal.SIGUSR1],
    os.path.basename(os.getcwd()), oct(os.umask(0o027)), os.environ["SHOP"], "/shop" in sys.path,
    sys.getrecursionlimit(), locale.setlocale(locale.LC_CTYPE),
    resource.getrlimit(resource.RLIMIT_NOFILE)[0], os.readlink("/proc/self/fd/0"),
    open("new", "w").fileno() > 2]
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("method", ["zygote", "spawn"])
async def test_what_an_application_does_to_its_process_at_import_holds_in_workers_and_stops_none(
    method: str, here: Place, queue: JobQueueAdapter
) -> None:
    shop(here, AWKWARD.replace("os.mkdir", "os.path.exists('elsewhere') or os.mkdir"))
    supervisor = here.supervisor(
        "--start-method", method, "--workers", "1", "--log-level", "DEBUG", app="shop:app"
    )
    assert await answer(queue, AS_IMPORTED) == [
        True, True, "elsewhere", "0o27", "open", True, 2345, "C.UTF-8", 64, "/dev/null", True,
    ]  # fmt: skip
    await supervisor.event("worker_output", line="spoken")
    (worker,) = await supervisor.ready(1)
    worker.terminate()  # by SIGTERM, which the application wanted to ignore
    await supervisor.event("worker_exited", status="exited with code 0")
    assert await answer(queue, "result = 7") == 7
    assert not supervisor.events("spawn_failed") + supervisor.events("worker_boot_failed")


@pytest.mark.parametrize("method", ["zygote", "spawn"])
async def test_output_that_an_application_sends_elsewhere_at_import_goes_there(
    method: str, here: Place, queue: JobQueueAdapter
) -> None:
    shop(here, 'mine = open("mine.log", "ab"); os.dup2(mine.fileno(), 1); os.dup2(1, 2)')
    supervisor = here.supervisor("--start-method", method, "--workers", "1", app="shop:app")
    await answer(queue, "import os; print('by print', flush=True); os.write(2, b'by number')")
    assert (here.folder / "mine.log").read_text() == "by print\nby number"
    assert not supervisor.events("worker_output")


@pytest.mark.parametrize("method", ["zygote", "spawn"])
async def test_an_application_that_closes_descriptors_of_others_at_import_ends_the_start(
    method: str, here: Place
) -> None:
    shop(here, "os.closerange(3, 4096)")
    supervisor = here.supervisor("--start-method", method, app="shop:app")
    assert await supervisor.ended() == 4
    assert "closed descriptors that are Portico's (os.closerange?)" in supervisor.text()


def shop(here: Place, at_import: str) -> None:
    """An application, `shop:app`, that does this when it is imported."""
    (here.folder / "shop.py").write_text(SHOP.format(at_import=at_import))


HAZARDOUS = "tests.support.hazardous_app:app"


@pytest.fixture
def listener(here: Place) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(here.folder / "socket"))
        listening.listen()
        yield listening


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_a_start_names_what_was_opened_at_import_that_forked_workers_should_not_share(
    here: Place, listener: socket.socket
) -> None:
    supervisor = here.supervisor(
        "--drain", "--workers", "1", app=HAZARDOUS, HAZARDS="connections databases threads"
    )
    assert await supervisor.ended() == 0
    (connections,) = supervisor.events("import_opened_connections", level="warning")
    assert ", 127.0.0.1:" in connections["warning"]
    assert f" connected to {here.folder}/socket, " in connections["warning"]
    (databases,) = supervisor.events("import_opened_databases", level="warning")
    assert f"{here.folder}/new.sqlite3, {here.folder}/shop.db; SQLite" in databases["warning"]
    (threads,) = supervisor.events("import_started_threads", level="warning")
    assert "(watcher, engine-0)" in threads["warning"]
    for hazard in (connections, databases, threads):
        assert hazard["warning"].startswith(f"importing {HAZARDOUS} ")
        assert "in the app's factory" in hazard["warning"]
        assert "--start-method spawn" in hazard["warning"]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_the_only_thing_that_was_opened_is_named_too(here: Place) -> None:
    shop(here, "import sqlite3; database = sqlite3.connect('shop.db')")
    supervisor = here.supervisor("--drain", "--workers", "1", app="shop:app")
    assert await supervisor.ended() == 0
    (databases,) = supervisor.events("import_opened_databases")
    assert f"{here.folder}/shop.db" in databases["warning"]


@pytest.mark.parametrize("method", ["zygote", "spawn"])
async def test_a_check_says_the_same(method: str, here: Place, listener: socket.socket) -> None:
    said = "connections databases threads"
    check = here.supervisor("--check", "--start-method", method, app=HAZARDOUS, HAZARDS=said)
    assert await check.ended() == 0
    told = [line for line in check.text().splitlines() if line.startswith("app: importing")]
    assert len(told) == (3 if method == "zygote" else 0)
    assert "app ok: " in check.text()


@pytest.mark.parametrize("hazards", ["", "connections databases threads"])
async def test_nothing_is_said_of_what_a_fork_shares_rightly_or_where_nothing_is_forked(
    hazards: str, here: Place, listener: socket.socket
) -> None:
    method = "spawn" if hazards else "zygote"
    supervisor = here.supervisor(
        "--drain", "--workers", "1", "--start-method", method, app=HAZARDOUS, HAZARDS=hazards
    )
    assert await supervisor.ended() == 0
    assert "import_" not in supervisor.text()


RACE = """
import os
from tests.support import opened_app as shop
if job.payload["wait"]:
    shop.rates.seek(0)
    assert shop.rates.read(1) == b"0"
    open(shop.HERE / "begun", "w").close()
    while not os.path.exists(shop.HERE / "moved"):
        pass
    result = os.lseek(shop.rates.fileno(), 0, os.SEEK_CUR)
else:
    while not os.path.exists(shop.HERE / "begun"):
        pass
    result = os.lseek(shop.rates.fileno(), 8, os.SEEK_SET)
    open(shop.HERE / "moved", "w").close()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_workers_do_not_move_each_others_place_in_a_file_that_is_only_read(
    here: Place, queue: JobQueueAdapter
) -> None:
    here.supervisor("--workers", "2", app=OPENED)
    waiting = make_job(job_type="test.python", payload={"code": RACE, "wait": True})
    moving = make_job(job_type="test.python", payload={"code": RACE, "wait": False})
    await queue.enqueue(waiting)
    await queue.enqueue(moving)
    assert (await ended(queue, moving.id)).status is JobStatus.COMPLETED
    assert (await ended(queue, waiting.id)).status is JobStatus.COMPLETED
    assert await queue.get_result(moving.id) == {"value": 8}
    assert await queue.get_result(waiting.id) == {"value": 400}  # read ahead, to its end


FLAGS = "-W default::UserWarning -X utf8 -X shop=open -O -s -q -b"
ITS_FLAGS = """
import sys
asserts = []
assert asserts.append(1) is None
result = [list(sys.flags), sys.warnoptions, sys._xoptions, asserts]
"""


@pytest.mark.parametrize("method", ["zygote", "spawn"])
@pytest.mark.parametrize("flags", [FLAGS, "-I -X dev"])
async def test_workers_run_under_the_options_of_the_supervisors_interpreter(
    flags: str, method: str, here: Place, queue: JobQueueAdapter
) -> None:
    code = f"{ITS_FLAGS.replace('result =', 'print(json.dumps(')}))"
    plain = subprocess.run(  # the same, by Python alone
        [sys.executable, *flags.split(), "-c", f"import json\n{code}"],
        capture_output=True, check=True,
    )  # fmt: skip
    command = (sys.executable, *flags.split(), "-m", "portico.supervisor")
    here.supervisor("--start-method", method, "--workers", "1", app=APP, command=command)
    assert await answer(queue, ITS_FLAGS) == json.loads(plain.stdout)


async def test_the_current_folder_is_not_searched_where_python_was_told_not_to(
    here: Place,
) -> None:
    shop(here, "")
    command = (sys.executable, "-P", "-m", "portico.supervisor")
    supervisor = here.supervisor(app="shop:app", command=command)
    assert await supervisor.ended() == 4
    (failed,) = supervisor.events("supervisor_failed")
    assert (
        "importing shop (not from the current folder: Python was started with -P" in failed["error"]
    )


def name_of(process: psutil.Process) -> str:
    """As `ps` shows it; behind it lies what is left of its arguments' place."""
    return " ".join(process.cmdline()).strip()


async def title(process: psutil.Process, expected: str) -> None:
    await wait_until(lambda: name_of(process) == expected)


@pytest.mark.parametrize("method", ["zygote", "spawn"])
async def test_the_list_of_processes_says_who_is_who_and_what_runs(
    method: str, here: Place, queue: JobQueueAdapter
) -> None:
    supervisor = here.supervisor(
        *("--start-method", method, "--workers", "1", "--log-level", "DEBUG", *LOOKED_INTO),
        app=MISBEHAVING,
    )
    (worker,) = await supervisor.ready(1)
    await title(psutil.Process(supervisor.pid), "portico supervisor")
    for child in supervisor.descendants():
        await title(child, "portico worker 1" if child == worker else "portico zygote")
        assert "PATH" in child.environ()  # nothing but the arguments is written over
    blocking = await enqueue(queue, "block_until_go")
    await title(worker, "portico worker 1: test.block_until_go")
    waiting = await enqueue(queue, "until_go")
    (here.folder / "go").touch()
    for job in (blocking, waiting, await enqueue(queue, "pid")):
        await account(here, queue, job, JobStatus.COMPLETED)
    await title(worker, "portico worker 1")


async def test_a_worker_with_several_jobs_at_a_time_names_none_in_its_title(
    here: Place, queue: JobQueueAdapter
) -> None:
    supervisor = here.supervisor(
        "--concurrency", "2", "--workers", "1", "--log-level", "DEBUG", app=MISBEHAVING
    )
    (worker,) = await supervisor.ready(1)
    jobs = [await enqueue(queue, "until_go") for _ in range(2)]
    await supervisor.until(lambda: here.ledger.count("BEGIN") == 2)
    assert name_of(worker) == "portico worker 1"
    (here.folder / "go").touch()
    for job in jobs:
        await account(here, queue, job, JobStatus.COMPLETED)
