"""What every test may use."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from portico import compose
from portico.ports.job_queue import JobQueueAdapter
from tests.support.servers import PostgresServer, RedisServer, server_folder
from tests.support.supervisors import Place, place, verdict

pytest_plugins = ["tests.support.failures", "tests.support.rings", "tests.support.skips"]

settings.register_profile("local", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")

# What a shell starts in the background ignores interrupts, and so would all that tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show with a failed test what its supervisors said: it may not fail again for weeks."""
    if call.when in ("setup", "call"):
        verdict.failed = call.excinfo is not None
    report = yield
    if report.failed and call.when == "call":
        for value in getattr(item, "funcargs", {}).values():
            if isinstance(value, Place):
                report.sections += value.told()
    return report


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Place]:
    """A folder with a SQLite queue and a ledger, in which supervisors are started."""
    with place(tmp_path) as found:
        yield found


@pytest.fixture
async def queue(here: Place) -> AsyncIterator[JobQueueAdapter]:
    """The queue of those supervisors, as a producer in another process sees it."""
    adapter = compose.job_queue(here.url)
    await adapter.initialize()
    yield adapter
    await adapter.close()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server for the whole run; whoever breaks servers starts one of his own."""
    folder = server_folder("postgres")
    server = PostgresServer(folder / "server", {"max_connections": 200})
    server.start()
    yield server
    server.stop("immediate")
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def redis() -> Iterator[RedisServer]:
    """A Redis server for the whole run; whoever breaks servers starts one of his own."""
    folder = server_folder("redis")
    server = RedisServer(folder / "server")
    server.start()
    yield server
    server.kill()
    shutil.rmtree(folder, ignore_errors=True)
