"""The ways in which a worker can die, and the lines between which it can."""

from __future__ import annotations

import signal

import psutil
import pytest

from portico.ports.job import Job, JobStatus
from portico.ports.job_queue import JobQueueAdapter
from tests.support.jobs import ended, make_job
from tests.support.records import counts, record_of
from tests.support.supervisors import Place, SupervisorProcess, is_dead

INJURIES = "tests.support.injury_app:app"


async def enqueue(queue: JobQueueAdapter, name: str, **fields: object) -> Job:
    return await queue.enqueue(make_job(job_type=f"test.{name}", **fields))


def injure(here: Place, name: str) -> None:
    (here.folder / name).touch()


async def whole_pool(supervisor: SupervisorProcess, workers: int = 2) -> None:
    await supervisor.until(lambda: len(supervisor.workers()) == workers, what="the whole pool")


DEATHS = {
    "segfault": "was killed by SIGSEGV",
    "abort": "was killed by SIGABRT",
    "exit 0": "exited with code 0",
    "exit 7": "exited with code 7",
}


@pytest.mark.fault("A2")
@pytest.mark.fault("A3")
@pytest.mark.fault("A4")
@pytest.mark.fault("A5")
@pytest.mark.parametrize("how", DEATHS)
async def test_a_job_that_takes_its_process_down_once_is_charged_once_and_completes(
    how: str, here: Place, queue: JobQueueAdapter
) -> None:
    job = await enqueue(queue, "die_once", payload={"how": how})
    beside = [await enqueue(queue, "fine") for _ in range(20)]
    supervisor = here.supervisor()
    assert (await ended(queue, job.id)).status is JobStatus.COMPLETED
    assert await counts(queue, job.id) == {"attempts": 2, "retries": 1, "crashes": 1}
    assert here.ledger.count("BEGIN", job.id) == 2
    for other in beside:
        assert (await ended(queue, other.id)).status is JobStatus.COMPLETED
        assert await counts(queue, other.id) == {"attempts": 1}
    death = await supervisor.event("worker_exited")
    assert death["status"] == DEATHS[how]
    assert death["jobs"] == [str(job.id)]
    crash = await supervisor.event("job_will_retry", job_id=str(job.id))
    assert crash["error_type"] == "WorkerLostError"
    assert DEATHS[how] in crash["error"]
    if "SIG" in DEATHS[how]:
        assert "in die_once" in crash["traceback"]  # what the fault handler wrote
    await whole_pool(supervisor)


@pytest.mark.fault("A7")
async def test_a_result_that_was_written_counts_although_its_worker_died_at_once(
    here: Place, queue: JobQueueAdapter
) -> None:
    injure(here, "after-batch")
    job = await enqueue(queue, "fine", payload={"n": 1})
    supervisor = here.supervisor(app=INJURIES)
    assert (await ended(queue, job.id)).status is JobStatus.COMPLETED
    assert "SIGKILL" in (await supervisor.event("worker_exited"))["status"]
    assert await counts(queue, job.id) == {"attempts": 1}
    assert here.ledger.count("BEGIN", job.id) == 1
    result = await queue.get_result(job.id)
    assert result is not None
    assert result["echo"] == {"n": 1}
    await whole_pool(supervisor)


@pytest.mark.fault("A7")
async def test_a_large_result_is_read_to_its_end_before_the_death_behind_it_is_judged(
    here: Place, queue: JobQueueAdapter
) -> None:
    """More than is read at a time, and both are there when the supervisor comes to look."""
    size = 900_000
    injure(here, "after-done")
    job = await enqueue(queue, "large", payload={"size": size, "file": "go"})
    supervisor = here.supervisor(app=INJURIES)
    await supervisor.until(lambda: here.ledger.count("BEGIN", job.id))
    worker = psutil.Process(int(here.ledger.of("BEGIN", job.id)[0][2]))
    supervisor.signal(signal.SIGSTOP)
    (here.folder / "go").touch()
    await supervisor.until(lambda: is_dead(worker), what="its death")
    supervisor.signal(signal.SIGCONT)
    assert (await ended(queue, job.id)).status is JobStatus.COMPLETED
    assert await counts(queue, job.id) == {"attempts": 1}
    assert await queue.get_result(job.id) == {"filler": "x" * size}
    await supervisor.event("worker_exited", pid=worker.pid)
    assert here.ledger.count("BEGIN") == 1
    assert not supervisor.events("frame_truncated")


@pytest.mark.fault("A9")
async def test_a_death_between_the_start_and_the_handlers_first_line_is_charged_to_the_job(
    here: Place, queue: JobQueueAdapter
) -> None:
    injure(here, "before-handler")
    job = await enqueue(queue, "fine")
    supervisor = here.supervisor(app=INJURIES)
    assert (await ended(queue, job.id)).status is JobStatus.COMPLETED
    assert await counts(queue, job.id) == {"attempts": 2, "retries": 1, "crashes": 1}
    assert here.ledger.count("BEGIN", job.id) == 1
    assert (await supervisor.event("worker_exited"))["jobs"] == [str(job.id)]


@pytest.mark.fault("A21")
async def test_running_jobs_do_not_notice_that_the_zygote_is_killed(
    here: Place, queue: JobQueueAdapter
) -> None:
    running = await enqueue(queue, "until", payload={"file": "go"})
    supervisor = here.supervisor("--log-level", "DEBUG")
    await supervisor.until(lambda: here.ledger.count("BEGIN", running.id))
    workers = {worker.pid for worker in await supervisor.ready()}
    (zygote,) = [child for child in supervisor.descendants() if child.pid not in workers]
    zygote.kill()
    idle = workers - {int(here.ledger.of("BEGIN", running.id)[0][2])}
    psutil.Process(idle.pop()).kill()
    await supervisor.event("zygote_restarted")
    await whole_pool(supervisor)
    (here.folder / "go").touch()
    assert (await ended(queue, running.id)).status is JobStatus.COMPLETED
    assert await counts(queue, running.id) == {"attempts": 1}


@pytest.mark.fault("A17")
async def test_all_processes_killed_at_once_lose_no_job_and_charge_what_ran(
    here: Place, queue: JobQueueAdapter
) -> None:
    """What the kernel does to a group of processes (`memory.oom.group`), or a node to a pod."""
    running = [await enqueue(queue, "until", payload={"file": "go"}) for _ in range(2)]
    waiting = [await enqueue(queue, "fine") for _ in range(50)]
    supervisor = here.supervisor()
    await supervisor.until(lambda: here.ledger.count("BEGIN") == 2)
    for process in [psutil.Process(supervisor.pid), *supervisor.descendants()]:
        process.kill()
    await supervisor.ended()
    (here.folder / "go").touch()
    successor = here.supervisor("--drain")
    for job in [*running, *waiting]:
        assert (await ended(queue, job.id)).status is JobStatus.COMPLETED
    for job in running:
        assert await counts(queue, job.id) == {"attempts": 2, "retries": 1, "expiries": 1}
        assert len(successor.events("job_recovered", job_id=str(job.id))) == 1
    for job in waiting:
        assert here.ledger.count("BEGIN", job.id) == 1
    assert await successor.ended() == 0


@pytest.mark.fault("A23")
async def test_a_worker_killed_while_it_retires_costs_its_finished_job_nothing(
    here: Place, queue: JobQueueAdapter
) -> None:
    (here.folder / "hold-closing").touch()
    supervisor = here.supervisor(
        "--max-jobs-per-worker", "1", "--log-level", "DEBUG", "--workers", "1",
        app="tests.support.race_app:app", RACES=str(here.folder),
    )  # fmt: skip
    first = await queue.enqueue(make_job(job_type="race.fine"))
    assert (await ended(queue, first.id)).status is JobStatus.COMPLETED
    result = await queue.get_result(first.id)
    assert result is not None
    retiring = psutil.Process(result["pid"])
    recycled = await supervisor.event("worker_recycled", pid=retiring.pid)
    assert recycled["reason"] == "max jobs"
    await supervisor.until(lambda: len(supervisor.events("worker_ready")) == 2)
    retiring.kill()
    death = await supervisor.event("worker_retired")
    assert "SIGKILL" in death["status"]
    assert await counts(queue, first.id) == {"attempts": 1}
    second = await queue.enqueue(make_job(job_type="race.fine"))
    assert (await ended(queue, second.id)).status is JobStatus.COMPLETED
    assert not supervisor.events("job_will_retry")
    (here.folder / "hold-closing").unlink()
    supervisor.signal(signal.SIGTERM)
    assert await supervisor.ended() == 0


@pytest.mark.fault("A1")
@pytest.mark.fault("A6")
async def test_the_log_tells_a_crash_from_an_operators_signal(
    here: Place, queue: JobQueueAdapter
) -> None:
    supervisor = here.supervisor()
    for number, crashes in ((signal.SIGKILL, 1), (signal.SIGTERM, 0)):
        job = await enqueue(queue, "until", payload={"file": f"go-{number}"})
        await supervisor.until(lambda job=job: here.ledger.count("BEGIN", job.id))
        pid = int(here.ledger.of("BEGIN", job.id)[0][2])
        psutil.Process(pid).send_signal(number)
        if crashes:
            crash = await supervisor.event("job_will_retry", job_id=str(job.id))
            assert crash["error_type"] == "WorkerLostError"
            assert "will run again in" in crash["next"]
        (here.folder / f"go-{number}").touch()
        assert (await ended(queue, job.id)).status is JobStatus.COMPLETED
        record = await record_of(queue, job.id)
        assert (record.crash_count, record.job.retry_count) == (crashes, crashes)
        assert here.ledger.count("BEGIN", job.id) == 1 + crashes
        await supervisor.event("worker_exited", pid=pid)
        await whole_pool(supervisor)
