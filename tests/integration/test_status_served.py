"""`portico status` says when jobs wait and nobody is there for them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from portico import compose
from portico.cli.command import run
from tests.support.jobs import make_job
from tests.support.redis_queues import own_namespace
from tests.support.servers import PostgresServer, RedisServer
from tests.support.waiting import wait_until

Url = Callable[[], str]


@pytest.fixture(
    params=[
        "sqlite",
        pytest.param("postgres", marks=pytest.mark.servers),
        pytest.param("redis", marks=pytest.mark.servers),
    ]
)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'jobs.db'}"
    server = request.getfixturevalue(request.param)
    if isinstance(server, PostgresServer):
        return server.url(server.database())
    assert isinstance(server, RedisServer)
    return own_namespace(server.url())


async def status(url: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, bool | None]:
    """The exit code, the complaint, and what `--json` says of whoever serves."""
    capsys.readouterr()
    code = await asyncio.to_thread(run, ["-u", url, "status", "--json"])
    out, error = capsys.readouterr()
    return code, error, json.loads(out)["served"]


async def test_jobs_that_wait_while_no_supervisor_lives_are_told_with_an_exit_code(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    producer = compose.job_queue(url)
    await producer.initialize()
    assert await status(url, capsys) == (0, "", False)
    await producer.enqueue(make_job())
    code, error, served = await status(url, capsys)
    assert (code, served) == (1, False)
    assert "1 job waits, and no supervisor gives a sign of life; start one" in error
    supervisor = compose.job_queue(url)
    await supervisor.initialize()
    await supervisor.renew([])
    told = asyncio.create_task(supervisor.cancel_requests())  # as each supervisor asks all the time
    await wait_until(supervisor.served)
    assert await status(url, capsys) == (0, "", True)
    told.cancel()
    await asyncio.gather(told, return_exceptions=True)
    await supervisor.close()
    await wait_until(lambda: is_unserved(producer))
    assert (await status(url, capsys))[0] == 1
    await producer.close()


async def is_unserved(queue: object) -> bool:
    return await queue.served() is False  # type: ignore[attr-defined]
