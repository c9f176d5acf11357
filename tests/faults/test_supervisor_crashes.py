"""A supervisor that dies between two lines of its code, or loses time: what the store says then."""

from __future__ import annotations

import signal
import time

import pytest

from portico.ports.job import JobStatus
from portico.ports.job_queue import JobQueueAdapter
from tests.support.freezing import freeze
from tests.support.jobs import ended, make_job
from tests.support.records import counts, record_of
from tests.support.supervisors import BROKEN, Place, SupervisorProcess


async def dead(supervisor: SupervisorProcess) -> None:
    assert await supervisor.ended() == -signal.SIGKILL


@pytest.mark.fault("C21")
async def test_jobs_leased_and_not_dispatched_by_a_dead_supervisor_run_in_its_successor(
    here: Place, queue: JobQueueAdapter
) -> None:
    jobs = [await queue.enqueue(make_job(job_type="test.fine")) for _ in range(3)]
    await dead(here.supervisor(command=BROKEN, BREAK="after-lease"))
    leased = [job for job in jobs if (await record_of(queue, job.id)).attempt]
    assert leased
    assert not here.ledger.lines()
    successor = here.supervisor("--drain")
    for job in jobs:
        assert (await ended(queue, job.id)).status is JobStatus.COMPLETED
        assert here.ledger.count("BEGIN", job.id) == 1
        expired = {"attempts": 2, "retries": 1, "expiries": 1}
        assert await counts(queue, job.id) == (expired if job in leased else {"attempts": 1})
    assert await successor.ended() == 0
    recovered = {event["job_id"] for event in successor.events("job_recovered")}
    assert recovered == {str(job.id) for job in leased}


@pytest.mark.fault("C22")
async def test_a_job_that_ended_and_whose_end_the_store_was_not_told_runs_twice_and_is_counted(
    here: Place, queue: JobQueueAdapter
) -> None:
    """No queue can do better without the handler's help; it must be counted."""
    job = await queue.enqueue(make_job(job_type="test.fine"))
    await dead(here.supervisor(command=BROKEN, BREAK="before-ack"))
    assert here.ledger.count("END", job.id) == 1
    assert (await record_of(queue, job.id)).job.status is JobStatus.RUNNING
    successor = here.supervisor("--drain")
    assert (await ended(queue, job.id)).status is JobStatus.COMPLETED
    assert here.ledger.count("END", job.id) == 2
    assert await counts(queue, job.id) == {"attempts": 2, "retries": 1, "expiries": 1}
    assert await successor.ended() == 0
    assert successor.events("job_recovered", job_id=str(job.id))


@pytest.mark.fault("C22")
async def test_a_job_that_must_not_start_twice_is_dead_lettered_when_its_end_was_not_told(
    here: Place, queue: JobQueueAdapter
) -> None:
    job = await queue.enqueue(make_job(job_type="test.fine", max_retries=0))
    await dead(here.supervisor(command=BROKEN, BREAK="before-ack"))
    successor = here.supervisor("--drain")
    assert (await ended(queue, job.id)).status is JobStatus.DEAD_LETTER
    assert here.ledger.count("BEGIN", job.id) == 1
    record = await record_of(queue, job.id)
    assert record.expiry_count == 1
    assert record.error_type == "LeaseExpired"
    assert await successor.ended() == 0


@pytest.mark.fault("C23")
async def test_a_job_whose_end_the_store_knows_is_not_run_again_after_a_crash(
    here: Place, queue: JobQueueAdapter
) -> None:
    job = await queue.enqueue(make_job(job_type="test.fine", payload={"n": 7}))
    await dead(here.supervisor(command=BROKEN, BREAK="after-ack"))
    assert (await record_of(queue, job.id)).job.status is JobStatus.COMPLETED
    successor = here.supervisor("--drain")
    assert await successor.ended() == 0
    assert here.ledger.count("BEGIN", job.id) == 1
    assert await counts(queue, job.id) == {"attempts": 1}
    assert not successor.events("job_recovered")
    result = await queue.get_result(job.id)
    assert result is not None
    assert result["echo"] == {"n": 7}


@pytest.mark.fault("C16")
async def test_a_defect_ends_the_process_loudly_and_gives_back_what_it_held(
    here: Place, queue: JobQueueAdapter
) -> None:
    running = await queue.enqueue(make_job(job_type="test.until", payload={"file": "go"}))
    ending = await queue.enqueue(make_job(job_type="test.fine"))
    supervisor = here.supervisor(command=BROKEN, BREAK="raise")
    assert await supervisor.ended() == 70
    failed = await supervisor.event("supervisor_failed")
    assert "RuntimeError: a defect" in failed["exception"]

    assert failed["exit_code"] == 70
    assert (await record_of(queue, ending.id)).job.status is JobStatus.COMPLETED
    record = await record_of(queue, running.id)
    assert record.job.status is JobStatus.PENDING
    assert {"retries", "crashes", "expiries"}.isdisjoint(await counts(queue, running.id))


@pytest.mark.fault("C16")
@pytest.mark.parametrize("where", ["launch", "sweep"])
async def test_a_defect_beside_the_work_ends_the_process_instead_of_a_part_of_it(
    where: str, here: Place, queue: JobQueueAdapter
) -> None:
    """A worker that is never replaced, or children that are never collected: nobody would know."""
    running = await queue.enqueue(make_job(job_type="test.until", payload={"file": "go"}))
    when = here.folder / "now"
    supervisor = here.supervisor(
        "--log-level", "DEBUG", command=BROKEN, BREAK=where, WHEN=str(when)
    )
    workers = await supervisor.ready()
    await supervisor.until(lambda: here.ledger.count("BEGIN", running.id))
    when.touch()
    busy = int(here.ledger.of("BEGIN", running.id)[0][2])
    (idle,) = [worker for worker in workers if worker.pid != busy]
    idle.kill()
    assert await supervisor.ended() == 70
    assert "ValueError: a defect" in (await supervisor.event("supervisor_failed"))["exception"]
    assert (await record_of(queue, running.id)).job.status is JobStatus.PENDING


@pytest.mark.fault("C13")
async def test_signals_before_there_is_anything_to_do_about_them_do_no_harm(
    here: Place, queue: JobQueueAdapter
) -> None:
    """By default the first ones would end the process, and the last two stop it."""
    job = await queue.enqueue(make_job(job_type="test.fine"))
    supervisor = here.supervisor(command=BROKEN, BREAK="early-signals")
    assert (await ended(queue, job.id)).status is JobStatus.COMPLETED
    supervisor.signal(signal.SIGTERM)
    assert await supervisor.ended() == 0


@pytest.mark.fault("C20")
async def test_a_supervisor_whose_loop_was_blocked_says_so_and_renews_before_it_goes_on(
    here: Place, queue: JobQueueAdapter
) -> None:
    """Blocked for 0.6 of a lease: the leases hold, and nothing is run by anybody else."""
    running = await queue.enqueue(make_job(job_type="test.until", payload={"file": "go"}))
    when = here.folder / "now"
    blocked = here.supervisor(
        "--lease", "5s", "--log-level", "DEBUG",
        command=BROKEN, BREAK="block", WHEN=str(when), SECONDS="3.0",
    )  # fmt: skip
    await blocked.until(lambda: here.ledger.count("BEGIN", running.id))
    await blocked.started()
    other = here.supervisor("--lease", "5s")
    await other.started()
    when.touch()
    began = time.monotonic()
    stalled = await blocked.event("supervisor_stalled")
    assert stalled["seconds"] >= 2.5
    assert time.monotonic() - began >= 2.5
    assert "renewed" in stalled["note"]
    (here.folder / "go").touch()
    assert (await ended(queue, running.id)).status is JobStatus.COMPLETED
    assert await counts(queue, running.id) == {"attempts": 1}
    assert here.ledger.count("BEGIN", running.id) == 1
    assert not other.events("job_recovered")
    assert not blocked.events("lease_lost")


@pytest.mark.fault("C3")
async def test_an_end_that_waited_in_a_frozen_supervisor_does_not_settle_anothers_attempt(
    here: Place, queue: JobQueueAdapter
) -> None:
    """The handler returns while its supervisor is stopped: an outcome with a token of the past."""
    job = await queue.enqueue(make_job(job_type="test.until_own", payload={"file": "go"}))
    frozen = here.supervisor("--lease", "1s", "--workers", "1")
    await frozen.until(lambda: here.ledger.count("BEGIN", job.id) == 1)
    await frozen.started()
    first = here.ledger.of("BEGIN", job.id)[0][2]
    second = here.supervisor("--lease", "1s", "--workers", "1")
    await second.started()
    await freeze(frozen, here.folder)
    await second.until(lambda: here.ledger.count("BEGIN", job.id) == 2)
    (here.folder / f"go-{first}").touch()
    await second.until(lambda: here.ledger.count("END", job.id) == 1)
    assert here.ledger.of("END", job.id)[0][2] == first
    frozen.signal(signal.SIGCONT)
    await frozen.until(
        lambda: frozen.events("lease_lost") or frozen.events("settlement_refused"),
        what="its learning that the lease is lost",
    )
    await frozen.event("supervisor_stalled")
    record = await record_of(queue, job.id)
    assert record.job.status is JobStatus.RUNNING
    assert record.attempt == 2
    last = here.ledger.of("BEGIN", job.id)[1][2]
    (here.folder / f"go-{last}").touch()
    assert (await ended(queue, job.id)).status is JobStatus.COMPLETED
    result = await queue.get_result(job.id)
    assert result == {"pid": int(last)}
    assert await counts(queue, job.id) == {"attempts": 2, "retries": 1, "expiries": 1}
    stopped = [frozen, second]
    for supervisor in stopped:
        supervisor.signal(signal.SIGTERM)
        assert await supervisor.ended() == 0
    assert frozen.events("supervisor_stopped", completed=0)
