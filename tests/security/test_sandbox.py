"""What a handler can do to others of its user: its supervisor, the zygote, its siblings."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest

from portico import compose
from portico.ports.job_queue import JobQueueAdapter
from portico.supervisor.sandbox import landlock, seccomp
from tests.security.conftest import APP, NOBODY, answer
from tests.support import reaching
from tests.support.supervisors import Place, SupervisorProcess

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
    """A place in which supervisors run as a user without rights."""
    found: Place = request.getfixturevalue("nobodys" if os.geteuid() == 0 else "here")
    return found


@asynccontextmanager
async def served(
    place: Place, *arguments: str, workers: int = 2
) -> AsyncIterator[tuple[SupervisorProcess, JobQueueAdapter]]:
    """A supervisor of a user without rights, as that user starts it, and its queue."""
    command = None
    if os.geteuid() == 0:
        command = (sys.executable, "-c", BECOME.format(NOBODY))
    supervisor = place.supervisor(
        "--log-level", "DEBUG", "--workers", str(workers), *arguments, app=APP, command=command
    )
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
        expected = {name: how for name, how in found.items() if _kind(name) in refusable()}
        assert [name for name, how in expected.items() if reaching.DONE in how] == []
        calls = {how for name, how in expected.items() if _kind(name) == "calls"}
        assert calls <= {"EPERM", "ENOSYS"}, expected
        assert await answer(queue, "result = 7") == 7
    assert not supervisor.events("worker_exited")
    assert not supervisor.events("sandbox_partly")


async def test_without_a_sandbox_all_of_it_is_done(plain: Place, listening: str) -> None:
    """Or it would not be the sandbox that the test above tests."""
    async with served(plain, "--limits", "sandbox=off") as (_, queue):
        found = await tried(queue, listening)
    failed = {name for name, how in found.items() if reaching.DONE not in how}
    assert failed <= reaching.MISPUT, found


@METHODS
async def test_a_handler_that_behaves_notices_nothing(plain: Place, method: str) -> None:
    code = "from tests.support.behaving import failed; result = failed()"
    async with served(plain, "--start-method", method, workers=1) as (supervisor, queue):
        assert await answer(queue, code) == {}
    assert not supervisor.events("worker_exited")


def _kind(name: str) -> str:
    """What it is refused by."""
    way = name.partition(",")[0]
    if way in reaching.SIGNALS or way == "abstract socket":
        return "scopes"
    return "the rest" if way in reaching.PROC else "calls"
