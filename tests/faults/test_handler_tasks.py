"""Jobs that never wait share one task of their worker: what one does to it must reach no other."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import pytest

from portico.ports.job_executor import Completed, Crashed, Failed, Outcome
from portico.ports.leasing import Lease
from portico.supervisor.crew import Crew
from portico.supervisor.member import State
from portico.supervisor.pool import ProcessPool
from portico.supervisor.scheduling import backlog, dispatch
from tests.support.pools import pool_of_processes
from tests.support.waiting import wait_until

TRAPS = (
    "keep_task", "keep_task_weakly", "cancel_soon", "cancel_now", "timeout", "timeout_left_open",
    "leave_a_canceller", "leave_a_canceller_unseen",
)  # fmt: skip


class One:
    """A pool of one worker, which knows already that its jobs are short."""

    def __init__(self, pool: ProcessPool, crew: Crew, folder: Path) -> None:
        self.pool = pool
        self.crew = crew
        self.folder = folder
        self.outcomes: dict[bytes, Outcome] = {}

    def submit(self, *acts: str | None) -> list[Lease]:
        leases = [lease(act) for act in acts]
        self.pool.submit(leases)
        return leases

    def ended(self, leases: list[Lease]) -> bool:
        for outcome in self.pool.finished():
            assert outcome.lease.token not in self.outcomes, "it was reported twice"
            self.outcomes[outcome.lease.token] = outcome
        return all(lease.token in self.outcomes for lease in leases)

    async def run(self, *acts: str | None) -> list[dict[str, Any]]:
        """Hand these over together, and return what each of them says when all have ended."""
        leases = self.submit(*acts)
        await wait_until(lambda: self.ended(leases))
        return [self.said(lease) for lease in leases]

    def said(self, lease: Lease) -> dict[str, Any]:
        verdict = self.outcomes[lease.token].verdict
        assert isinstance(verdict, Completed), verdict
        said: dict[str, Any] = json.loads(verdict.result)
        return said

    @property
    def worker(self) -> psutil.Process:
        (member,) = [member for member in self.crew.members if member.state is State.READY]
        return psutil.Process(member.process.pid)


def lease(act: str | None) -> Lease:
    payload = b"{}" if act is None else json.dumps({"act": act}).encode()
    return Lease(
        uuid4().bytes, uuid4().bytes, 1, "default", "share.job",
        payload, 0, 3, 0, None, 0, 0, None, b"{}", None, False,
    )  # fmt: skip


@asynccontextmanager
async def one(folder: Path, **settings: Any) -> AsyncIterator[One]:
    app = "tests.support.sharing_app:app"
    async with pool_of_processes(app, workers=1, **settings) as (pool, crew):
        here = One(pool, crew, folder)
        for _ in range(3):
            await here.run(*[None] * 5)
        yield here
        (folder / "go").touch()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SHARING", str(tmp_path))
    monkeypatch.setattr(backlog.dispatch, "QUANTUM", 10.0)  # all that is submitted goes at once
    return tmp_path


async def test_jobs_that_never_wait_share_a_task_and_one_that_waits_has_its_own(
    folder: Path,
) -> None:
    async with one(folder) as here:
        first, second, waited, after = await here.run("nothing", "nothing", "wait", "nothing")
        assert first["task"] == second["task"] == waited["task"]
        assert after["task"] != waited["task"]


@pytest.mark.parametrize("act", ["bind", "bind_and_wait"])
async def test_what_a_job_binds_to_its_context_is_not_seen_by_the_next(
    act: str, folder: Path
) -> None:
    async with one(folder) as here:
        for said in await here.run(act, "nothing", act, "wait"):
            assert said["bound"] == ["nothing", "nobody's"]


@pytest.mark.parametrize("act", TRAPS)
async def test_what_a_job_does_to_its_task_does_not_reach_the_next(act: str, folder: Path) -> None:
    """The next one waits until the trap has sprung; so does one that comes much later."""
    async with one(folder) as here:
        worker = here.worker
        for _ in range(5):
            await here.run("nothing", act, "wait", "nothing", act, "nothing", act)
            await here.run("wait", "nothing")
        assert here.worker == worker, "it was replaced"
        assert {member.process.pid for member in here.crew.members} == {worker.pid}


async def test_what_a_job_wants_to_be_told_at_the_end_of_its_task_it_is_told_at_its_own_end(
    folder: Path,
) -> None:
    async with one(folder) as here:
        here.submit("tell_when_done", "block")
        await wait_until((folder / "blocking").exists)
        assert (folder / "done").exists()


async def test_a_job_that_is_cancelled_while_it_waits_does_not_stop_the_next(folder: Path) -> None:
    async with one(folder) as here:
        before, waiting, after, last = here.submit("nothing", "wait_for_ever", "nothing", "wait")
        await wait_until(lambda: here.ended([before]))
        here.pool.cancel([waiting])
        await wait_until(lambda: here.ended([waiting, after, last]))
        assert isinstance(here.outcomes[waiting.token].verdict, Failed)
        assert here.said(after)["pid"] == here.said(last)["pid"] == here.said(before)["pid"]


async def test_a_job_that_is_cancelled_when_it_has_ended_does_not_stop_the_next(
    folder: Path,
) -> None:
    async with one(folder) as here:
        done, running = here.submit("nothing", "until_let_go")
        await wait_until(lambda: here.ended([done]))
        here.pool.cancel([done])
        (folder / "go").touch()
        await wait_until(lambda: here.ended([running]))
        assert here.said(running)["pid"] == here.worker.pid


async def test_a_deadline_is_that_of_its_own_job_only(folder: Path) -> None:
    """Each of those that share a task has it anew, however many there were."""
    async with one(folder, job_timeout=0.3) as here:
        leases = here.submit(*["nothing", "nothing", "wait"] * 10)
        await wait_until(lambda: here.ended(leases))
        assert {here.said(lease)["pid"] for lease in leases} == {here.worker.pid}


@pytest.fixture
def endless(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """However many jobs there are, they are handed over at once."""
    monkeypatch.setattr(dispatch, "MOST_JOBS", 1_000_000)
    return folder


MANY = 20_000


async def test_the_loop_gets_its_turns_while_thousands_of_jobs_run_that_never_wait(
    endless: Path,
) -> None:
    async with one(endless) as here:
        (before,) = await here.run("nothing")
        *_, after = await here.run(*[None] * MANY, "nothing")
        assert after["ticks"] - before["ticks"] > 50


async def test_a_worker_heeds_sigterm_while_thousands_of_jobs_run_that_never_wait(
    endless: Path,
) -> None:
    async with one(endless) as here:
        worker = here.worker
        leases = here.submit(*[None] * MANY)
        await wait_until(lambda: here.ended(leases[:1]))
        os.kill(worker.pid, signal.SIGTERM)
        await wait_until(lambda: not worker.is_running())
        left = [each for each in leases if not here.ended([each])]
        assert left, "it did not go before all were done"
        await wait_until(lambda: here.ended(leases))
        assert {here.said(lease)["pid"] for lease in left} == {here.worker.pid}


async def test_what_has_gathered_is_sent_while_a_job_behind_it_blocks_the_loop(
    folder: Path,
) -> None:
    async with one(folder) as here:
        before = here.submit(*["nothing"] * 50, "block", *["nothing"] * 20)[:50]
        await wait_until((folder / "blocking").exists)
        await wait_until(lambda: here.ended(before))
        assert time.monotonic() - float((folder / "blocking").read_text()) < 0.5


async def test_what_has_gathered_counts_when_the_job_behind_it_is_killed_for_its_deadline(
    folder: Path,
) -> None:
    """It holds the interpreter's lock: the worker cannot answer a recall."""
    async with one(folder, job_timeout=0.3, kill_grace=0.1) as here:
        *before, stuck, behind = here.submit(*["nothing"] * 50, "stuck", "nothing")
        worker = here.worker.pid
        await wait_until(lambda: here.ended([*before, stuck, behind]))
        assert {here.said(lease)["pid"] for lease in before} == {worker}
        assert here.said(behind)["pid"] != worker
        verdict = here.outcomes[stuck.token].verdict
        assert isinstance(verdict, Failed)
        assert verdict.failure.type == "JobTimeoutError"


@pytest.mark.fault("B11")
@pytest.mark.fault("G5")
@pytest.mark.parametrize("act", ["forge_a_number", "forge_a_frame"])
async def test_what_has_gathered_counts_when_the_job_behind_it_forges_a_frame(
    act: str, folder: Path
) -> None:
    async with one(folder) as here:
        *before, lying, behind = here.submit(*["nothing"] * 50, act, "nothing")
        worker = here.worker.pid
        await wait_until(lambda: here.ended([*before, lying, behind]))
        assert {here.said(lease)["pid"] for lease in before} == {worker}
        assert here.said(behind)["pid"] != worker
        assert isinstance(here.outcomes[lying.token].verdict, Crashed)


@pytest.mark.fault("B7")
async def test_a_child_that_comes_back_from_a_handler_adds_nothing_to_what_has_gathered(
    folder: Path,
) -> None:
    async with one(folder) as here:
        leases = here.submit(*["nothing", "fork"] * 20)
        await wait_until(lambda: here.ended(leases))
        assert {here.said(lease)["pid"] for lease in leases} == {here.worker.pid}
