"""The rules of `JobExecutor`, for every place where jobs run.

A harness brings an executor whose handlers are those of `serve`; jobs are steered by files, which
reach a handler in any process.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from portico.kits.job.task_executor import TaskExecutor
from portico.ports.job import Job, JobResult
from portico.ports.job_executor import (
    Completed,
    Deferred,
    Failed,
    Interrupted,
    JobExecutor,
    Outcome,
    Quarantined,
    Released,
    Unroutable,
)
from portico.ports.job_handler import JobHandler
from portico.ports.leasing import Failure, Lease
from tests.support.pools import pool_of_processes
from tests.support.waiting import wait_until


class Steered(JobHandler):
    """Does what its payload says, and leaves a trace of files in the payload's `folder`."""

    @property
    def job_type(self) -> str:
        return "test.steered"

    async def handle(self, job: Job) -> JobResult:
        leave(job, "started")
        if "raise" in job.payload:
            raise ValueError(job.payload["raise"])
        if job.payload.get("wait"):
            await wait_until((Path(job.payload["folder"]) / "go").exists, timeout=60)
        return JobResult(success=True, result_data={"n": job.payload.get("n")})

    async def on_failure(self, job: Job, error: Exception) -> None:
        leave(job, f"told-{type(error).__name__}")


class Limited(Steered):
    """The same, one at a time."""

    max_running = 1

    @property
    def job_type(self) -> str:
        return "test.limited"


class Stubborn(JobHandler):
    """Goes on after its cancellation, until it is let go."""

    @property
    def job_type(self) -> str:
        return "test.stubborn"

    async def handle(self, job: Job) -> JobResult:
        leave(job, "started")
        go = Path(job.payload["folder"]) / "go"
        while not go.exists():
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                leave(job, "cancelled")
        return JobResult(success=True)


def leave(job: Job, trace: str) -> None:
    (Path(job.payload["folder"]) / f"{job.id}-{trace}").touch()


def serve() -> list[JobHandler]:
    return [Steered(), Limited(), Stubborn()]


class Bench:
    """An executor under test, with what it has reported."""

    def __init__(self, executor: JobExecutor, folder: Path) -> None:
        self.token = uuid4().bytes
        """Of every lease: jobs that were leased together differ by their ids alone."""
        self.executor = executor
        self.folder = folder
        self.outcomes: list[Outcome] = []
        self.changes = 0
        executor.on_change(self._changed)

    def _changed(self) -> None:
        self.changes += 1

    def lease(self, job_type: str = "test.steered", **payload: Any) -> Lease:
        body = json.dumps({"folder": str(self.folder), **payload}).encode()
        return Lease(
            uuid4().bytes, self.token, 1, "default", job_type, body, 0, 3, 0, None,
            1_763_920_000_000_000, 1_763_920_000_000_000, None, b"{}", None, False,
        )  # fmt: skip

    async def submit(self, *leases: Lease) -> None:
        await wait_until(lambda: self.executor.free() >= len(leases))
        self.executor.submit(leases)

    async def ended(self, count: int = 1) -> list[Outcome]:
        """Wait until so many outcomes are there in all."""

        def enough() -> bool:
            self.outcomes += self.executor.finished()
            return len(self.outcomes) >= count

        await wait_until(enough)
        return self.outcomes

    async def left(self, lease: Lease, trace: str) -> None:
        """Wait for a trace of the handler."""
        await wait_until((self.folder / f"{lease.job_id}-{trace}").exists)

    def traces(self, lease: Lease) -> set[str]:
        return {path.name[37:] for path in self.folder.glob(f"{lease.job_id}-*")}

    def go(self) -> None:
        (self.folder / "go").touch()


async def tasks(folder: Path) -> AsyncIterator[JobExecutor]:
    executor = TaskExecutor({handler.job_type: handler for handler in serve()}, 4, unwind=0.1)
    yield executor
    (folder / "go").touch()
    await executor.drain(0)


async def processes(folder: Path) -> AsyncIterator[JobExecutor]:
    app = f"{__name__}:serve"
    async with pool_of_processes(app, concurrency=2) as (pool, _):
        yield pool
        (folder / "go").touch()
        await pool.drain(0)


HARNESSES: dict[str, Callable[[Path], AsyncIterator[JobExecutor]]] = {
    "tasks": tasks,
    "processes": processes,
}


@pytest.fixture(params=list(HARNESSES))
async def bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bench]:
    async for executor in HARNESSES[request.param](tmp_path):
        yield Bench(executor, tmp_path)


async def test_every_lease_comes_back_in_exactly_one_outcome(bench):
    leases = [bench.lease(n=n) for n in range(20)]
    for lease in leases:
        await bench.submit(lease)
    outcomes = await bench.ended(20)
    assert {outcome.lease for outcome in outcomes} == set(leases)
    assert len(outcomes) == 20
    for lease, verdict, _ in outcomes:
        assert verdict == Completed(
            json.dumps({"n": leases.index(lease)}, separators=(",", ":")).encode()
        )


async def test_outcomes_are_told_once(bench):
    await bench.submit(bench.lease())
    await bench.ended()
    assert bench.executor.finished() == []


async def test_a_change_is_announced_when_an_outcome_is_there(bench):
    await bench.submit(bench.lease())
    await bench.ended()
    assert bench.changes >= 1


async def test_a_running_job_takes_room_and_gives_it_back(bench):
    lease = bench.lease(wait=True)
    await wait_until(lambda: bench.executor.free() > 0)
    free = bench.executor.free()
    await bench.submit(lease)
    assert bench.executor.free() < free
    bench.go()
    await bench.ended()
    await wait_until(lambda: bench.executor.free() >= free)


async def test_what_waits_or_runs_is_held(bench):
    lease = bench.lease(wait=True)
    await bench.submit(lease)
    assert bench.executor.held() == [lease]
    await bench.left(lease, "started")
    assert bench.executor.held() == [lease]
    bench.go()
    await bench.ended()
    assert bench.executor.held() == []


async def test_a_raised_error_comes_back_as_text_and_on_failure_has_run_by_then(bench):
    lease = bench.lease(**{"raise": "no such user"})
    await bench.submit(lease)
    [(_, verdict, _)] = await bench.ended()
    assert isinstance(verdict, Failed)
    assert verdict.retryable
    assert verdict.failure[:2] == ("ValueError", "no such user")
    assert "in handle" in verdict.failure.traceback
    assert bench.traces(lease) == {"started", "told-ValueError"}


async def test_an_unknown_type_is_unroutable(bench):
    await bench.submit(bench.lease("nobody.serves"))
    [(_, verdict, _)] = await bench.ended()
    assert isinstance(verdict, Unroutable)
    assert "test.steered" in verdict.failure.message


async def test_what_cannot_be_decoded_is_quarantined_and_harms_no_other(bench):
    broken = bench.lease()._replace(payload=b'{"a":')
    await bench.submit(broken)
    await bench.submit(bench.lease())
    verdicts = {lease.id: verdict for lease, verdict, _ in await bench.ended(2)}
    assert isinstance(verdicts.pop(broken.id), Quarantined)
    assert [type(verdict) for verdict in verdicts.values()] == [Completed]


async def test_a_cancelled_job_has_failed_for_good(bench):
    lease = bench.lease(wait=True)
    await bench.submit(lease)
    await bench.left(lease, "started")
    bench.executor.cancel([lease])
    [(_, verdict, _)] = await bench.ended()
    assert isinstance(verdict, Failed)
    assert not verdict.retryable
    assert verdict.failure.message == "Job cancelled"


async def test_cancelling_spares_all_others(bench):
    one, other = bench.lease(wait=True), bench.lease(wait=True)
    await bench.submit(one)
    await bench.submit(other)
    bench.executor.cancel([one])
    await bench.ended()
    assert bench.executor.held() == [other]
    bench.go()
    assert isinstance((await bench.ended(2))[1].verdict, Completed)


async def test_a_forfeited_job_is_stopped_and_never_reported(bench):
    lease = bench.lease(wait=True)
    await bench.submit(lease)
    await bench.left(lease, "started")
    bench.executor.forfeit([lease])
    await wait_until(lambda: bench.executor.held() == [])
    after = bench.lease()
    await bench.submit(after)
    outcomes = await bench.ended()
    await bench.executor.drain(1)
    assert [outcome.lease for outcome in outcomes + bench.executor.finished()] == [after]
    assert bench.traces(lease) == {"started"}


async def test_mourning_runs_on_failure_and_brings_no_outcome(bench):
    lease = bench.lease()
    bench.executor.mourn(lease, Failure("WorkerLostError", "signal 9"))
    await bench.left(lease, "told-WorkerLostError")
    await bench.executor.drain(1)
    assert bench.executor.finished() == []


async def test_a_drain_with_nothing_to_do_returns(bench):
    await bench.executor.drain(60)
    assert bench.executor.free() == 0


async def test_a_drain_lets_running_jobs_end(bench):
    lease = bench.lease(wait=True)
    await bench.submit(lease)
    await bench.left(lease, "started")
    drain = asyncio.create_task(bench.executor.drain(60))
    bench.go()
    await drain
    [(_, verdict, _)] = await bench.ended()
    assert isinstance(verdict, Completed)


async def test_a_drain_interrupts_what_outlasts_the_grace(bench):
    lease = bench.lease(wait=True)
    await bench.submit(lease)
    await bench.left(lease, "started")
    await bench.executor.drain(0.01)
    [(_, verdict, _)] = await bench.ended()
    assert isinstance(verdict, Interrupted)
    assert bench.traces(lease) == {"started"}, "an interrupted attempt is no failure"


async def test_a_drain_interrupts_what_ignores_its_cancellation_too(bench):
    lease = bench.lease("test.stubborn")
    await bench.submit(lease)
    await bench.left(lease, "started")
    await bench.executor.drain(0)
    [(_, verdict, _)] = await bench.ended()
    assert isinstance(verdict, Interrupted)
    assert bench.executor.held() == []


async def test_a_second_drain_with_a_shorter_grace_shortens_the_first(bench):
    lease = bench.lease(wait=True)
    await bench.submit(lease)
    await bench.left(lease, "started")
    first = asyncio.create_task(bench.executor.drain(60))
    await bench.executor.drain(0)
    await first
    assert isinstance((await bench.ended())[0].verdict, Interrupted)


async def test_what_was_not_started_is_released_by_a_drain(bench):
    lease = bench.lease(wait=True)
    await bench.submit(lease)
    await bench.executor.drain(0)
    [(_, verdict, _)] = await bench.ended()
    assert isinstance(verdict, Released | Interrupted)
    assert isinstance(verdict, Interrupted) == ("started" in bench.traces(lease))


async def test_no_more_of_a_type_run_than_may_and_the_next_begins_when_one_ends(
    bench: Bench,
) -> None:
    first, second, third = (bench.lease("test.limited", wait=True) for _ in range(3))
    other = bench.lease()
    await bench.submit(first)
    await bench.left(first, "started")
    for lease in (second, third, other):
        await bench.submit(lease)
    await bench.ended(2)
    verdicts = {outcome.lease.id: outcome.verdict for outcome in bench.outcomes}
    assert bench.executor.room() == {"test.limited": 0}
    put_off = verdicts[third.id]
    assert isinstance(put_off, Deferred), "a flood is not kept from everybody else"
    assert put_off.delay > 0
    assert isinstance(verdicts[other.id], Completed)
    assert bench.traces(second) == set()
    assert second in bench.executor.held()
    bench.go()
    await bench.ended(4)
    verdicts = {outcome.lease.id: outcome.verdict for outcome in bench.outcomes}
    assert isinstance(verdicts[first.id], Completed)
    assert isinstance(verdicts[second.id], Completed)


async def test_what_waits_for_its_turn_is_cancelled_forfeited_and_released_unstarted(
    bench: Bench,
) -> None:
    first = bench.lease("test.limited", wait=True)
    await bench.submit(first)
    await bench.left(first, "started")
    cancelled, forfeited, released = (bench.lease("test.limited") for _ in range(3))
    await bench.submit(cancelled)
    bench.executor.cancel([cancelled])
    [(_, verdict, _)] = await bench.ended()
    assert isinstance(verdict, Failed | Released)
    await bench.submit(forfeited)
    bench.executor.forfeit([forfeited])
    assert forfeited not in bench.executor.held()
    await bench.submit(released)
    await bench.executor.drain(0)
    await bench.ended(3)
    verdicts = {outcome.lease.id: outcome.verdict for outcome in bench.outcomes}
    assert isinstance(verdicts[released.id], Released)
    assert forfeited.id not in verdicts
