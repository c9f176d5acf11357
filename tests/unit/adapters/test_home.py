"""One queue serves one event loop of one process, and says so to all others."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from portico import compose
from portico.adapters.job_queue import DatabaseJobQueueAdapter, RedisJobQueueAdapter
from portico.adapters.job_queue._stored_queue import StoredQueueAdapter
from portico.exceptions import ConfigurationError
from portico.kits.job import JobService
from portico.ports.leasing import JobFilter

_WAY_OUT = "open one in each loop and process that creates jobs"

_CALLS: list[Callable[[JobService], Coroutine[Any, Any, Any]]] = [
    lambda jobs: jobs.create_job("a.b", {}),
    lambda jobs: jobs.create_jobs([{"job_type": "a.b", "payload": {}}]),
    lambda jobs: jobs.get_job(uuid4()),
    lambda jobs: jobs.cancel_job(uuid4()),
    lambda jobs: jobs.list_jobs(JobFilter()),
    lambda jobs: jobs.all_stats(),
    lambda jobs: jobs.__aenter__(),
    lambda jobs: jobs.__aexit__(),
]


def _opened(folder: Path) -> tuple[StoredQueueAdapter[Any], JobService]:
    queue = DatabaseJobQueueAdapter(f"sqlite:///{folder}/jobs.db")
    return queue, JobService(queue)


def test_a_second_run_of_asyncio_is_told_that_the_first_has_left_it_open(tmp_path: Path) -> None:
    queue, jobs = _opened(tmp_path)
    asyncio.run(jobs.__aenter__())
    for call in _CALLS:
        with pytest.raises(ConfigurationError, match=f"loop that has ended since.*{_WAY_OUT}"):
            asyncio.run(call(jobs))
    asyncio.run(queue._store.close())


def test_one_that_was_closed_may_be_opened_in_another_loop(tmp_path: Path) -> None:
    _, jobs = _opened(tmp_path)

    async def create() -> None:
        async with jobs:
            await jobs.create_job("a.b", {})
            assert (await jobs.get_job_stats()).pending_count in (1, 2)

    asyncio.run(create())
    asyncio.run(create())


async def test_another_thread_with_a_loop_of_its_own_is_refused_and_does_no_harm(
    tmp_path: Path,
) -> None:
    async with compose.job_service(f"sqlite:///{tmp_path}/jobs.db") as jobs:
        with ThreadPoolExecutor(1) as threads:
            for call in _CALLS:
                refused = threads.submit(lambda call=call: asyncio.run(call(jobs)))
                with pytest.raises(ConfigurationError, match=f"another event loop, .*{_WAY_OUT}"):
                    await asyncio.wrap_future(refused)
        await jobs.create_job("a.b", {})
        assert (await jobs.get_job_stats()).pending_count == 1


async def test_a_process_that_was_forked_from_its_own_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = os.getpid()
    async with compose.job_service(f"sqlite:///{tmp_path}/jobs.db") as jobs:
        with monkeypatch.context() as forked:
            forked.setattr(os, "getpid", lambda: 7)
            for call in _CALLS:
                with pytest.raises(
                    ConfigurationError,
                    match=f"opened in process {own}, and this is process 7, .*{_WAY_OUT}",
                ):
                    await call(jobs)


async def test_the_server_stores_have_it_from_the_same_place() -> None:
    for kind in (DatabaseJobQueueAdapter, RedisJobQueueAdapter):
        assert issubclass(kind, StoredQueueAdapter)
