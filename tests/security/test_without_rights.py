"""What a handler tries as a user without rights, for whom root has started the supervisor: that is
alive in the end, and has run everybody's jobs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import suppress

import psutil
import pytest

from portico import compose
from portico.ports.job import JobStatus
from portico.ports.job_queue import JobQueueAdapter
from tests.security.conftest import APP, NOBODY, answer
from tests.support.jobs import ended, make_job
from tests.support.supervisors import Place, SupervisorProcess, is_dead
from tests.support.waiting import wait_until

pytestmark = [
    pytest.mark.security("S29"),
    pytest.mark.skipif(sys.platform != "linux", reason="/proc, and limits of Linux"),
]

INHERITED = """
import os, subprocess, sys
look = "import os; print(sorted(int(fd) for fd in os.listdir('/proc/self/fd')))"
said = subprocess.run([sys.executable, "-S", "-c", look], close_fds=False, capture_output=True)
status = dict(line.split(":\\t") for line in open("/proc/self/status").read().splitlines())
result = [said.stdout.decode(), status["NoNewPrivs"]]
"""
PAGE = """
import os
grown = []
for fd in map(int, os.listdir("/proc/self/fd")):
    try:
        if os.readlink(f"/proc/self/fd/{fd}").startswith("/memfd:"):
            for size in (os.fstat(fd).st_size + 2**20, 0):
                try:
                    os.ftruncate(fd, size)
                    grown.append([fd, size])
                except PermissionError:
                    pass
    except OSError:
        pass
result = grown
"""
FORK_BOMB = """
import os, resource, time
_, most = resource.getrlimit(resource.RLIMIT_NPROC)
owned = sum(os.stat(f"/proc/{pid}").st_uid == os.getuid() for pid in os.listdir("/proc")
            if pid.isdigit() and os.path.exists(f"/proc/{pid}"))
resource.setrlimit(resource.RLIMIT_NPROC, (owned + 30, most))
born = 0
for _ in range(200):
    try:
        child = os.fork()
    except BlockingIOError:
        break
    if child == 0:
        os.setsid()
        until = time.monotonic() + 120  # nobody may be left to end it
        while time.monotonic() < until:
            try:
                os.fork()
            except BlockingIOError:
                pass
            time.sleep(0.05)
        os._exit(0)
    born += 1
raise RuntimeError(f"and now it fails, with {born} children")
"""
FORKS_ANEW = """
import os, time
if os.fork() == 0:
    os.setsid()
    until = time.monotonic() + 120  # nobody may be left to end it
    while time.monotonic() < until:
        if os.fork():
            os._exit(0)  # one generation ends as soon as the next one has begun
        time.sleep(0.02)
    os._exit(0)
raise RuntimeError("and now it fails")
"""
JOINS_THE_GROUP = """
import os, subprocess, time
above = os.getppid()
child = os.fork()
if child == 0:
    for group in (os.getpgid(above), os.getpgid(os.getpgid(above)), above):
        try:
            os.setpgid(0, group)
        except OSError:
            pass
    open("state/joining", "w").write(str(os.getpid()))
    os.rename("state/joining", "state/joined")
    time.sleep(3600)
try:
    os.setpgid(0, os.getpgid(above))
except OSError:
    pass
while not os.path.exists("state/joined"):
    time.sleep(0.01)
os.kill(os.getpid(), 9)
"""


@pytest.fixture
async def supervisor(nobodys: Place) -> SupervisorProcess:
    found = nobodys.supervisor(
        "--user", str(NOBODY), "--group", str(NOBODY), "--workers", "2", "--kill-orphans", app=APP
    )
    await found.started()
    return found


@pytest.fixture
async def queue(nobodys: Place, supervisor: SupervisorProcess) -> AsyncIterator[JobQueueAdapter]:
    queue = compose.job_queue(nobodys.url)
    await queue.initialize()
    yield queue
    await queue.close()


def living(supervisor: SupervisorProcess) -> list[psutil.Process]:
    """All below it, but for what a handler has not waited for."""
    found = []
    for process in supervisor.descendants():
        with suppress(psutil.NoSuchProcess):
            found += [] if is_dead(process) else [process]
    return found


async def test_a_handler_without_rights_hurts_itself_alone(
    nobodys: Place, supervisor: SupervisorProcess, queue: JobQueueAdapter
) -> None:
    # What it starts has three descriptors, and its page cannot be resized.
    fds, no_new_privileges = await answer(queue, INHERITED)
    assert set(map(int, fds.strip("[]\n").split(","))) <= {0, 1, 2, 3}  # 3 is that of the listing
    assert no_new_privileges == "1"
    assert await answer(queue, PAGE) == []

    # A process of its own in the group of its supervisor dies with its worker all the same.
    joined = make_job(job_type="test.python", payload={"code": JOINS_THE_GROUP}, max_retries=0)
    await queue.enqueue(joined)
    assert (await ended(queue, joined.id)).status is JobStatus.DEAD_LETTER
    child = int((nobodys.folder / "state" / "joined").read_text())
    await wait_until(lambda: not psutil.pid_exists(child))

    # Children in sessions of their own, some that fork anew, and as many as it may have.
    for code in (FORKS_ANEW, FORK_BOMB):
        job = await queue.enqueue(
            make_job(job_type="test.python", payload={"code": code}, max_retries=0)
        )
        await ended(queue, job.id)
        assert await answer(queue, "result = 'well'") == "well"
    await wait_until(lambda: len(living(supervisor)) == 3)  # its zygote and two workers
    assert supervisor.process.poll() is None


async def test_a_flood_of_touches_of_the_wake_file_keeps_no_job_waiting(
    nobodys: Place, supervisor: SupervisorProcess, queue: JobQueueAdapter
) -> None:
    touching = "import os, sys\nfd = os.open(sys.argv[1], os.O_RDWR)\nprint(flush=True)\n"
    touching += "while True:\n    os.utime(fd)\n    os.pwrite(fd, b'x', 0)\n"
    wake = nobodys.folder / "state" / "jobs.db-wake"
    with subprocess.Popen(
        [sys.executable, "-c", touching, wake], user=NOBODY, stdout=subprocess.PIPE
    ) as flood:
        assert flood.stdout is not None
        flood.stdout.readline()
        try:
            for number in range(5):
                assert await answer(queue, f"result = {number}") == number
            assert flood.poll() is None
        finally:
            flood.kill()
    assert supervisor.process.poll() is None
    assert not supervisor.events("lease_lost")
