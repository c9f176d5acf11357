"""Handler processes are the application's own world: what it did when it was imported stands."""

from __future__ import annotations

import sys

import pytest

from portico.ports.job_queue import JobQueueAdapter
from tests.security.conftest import answer
from tests.support.supervisors import Place

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
