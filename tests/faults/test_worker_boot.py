"""Workers that do not get ready: at the first start, later, and always."""

from __future__ import annotations

import signal
import sys
import time
from itertools import combinations, pairwise
from pathlib import Path

import pytest

from portico.ports.job import JobStatus
from portico.ports.job_queue import JobQueueAdapter
from tests.support.jobs import ended, make_job
from tests.support.records import counts
from tests.support.supervisors import Place

INJURIES = "tests.support.injury_app:app"


@pytest.mark.fault("A18")
@pytest.mark.parametrize("method", ["zygote", "spawn"])
async def test_an_application_that_cannot_be_imported_ends_the_start_before_a_job_is_leased(
    method: str, here: Place, queue: JobQueueAdapter
) -> None:
    (here.folder / "shop.py").write_text("import a_module_that_is_not_there\n")
    job = await queue.enqueue(make_job(job_type="test.fine"))
    supervisor = here.supervisor("--start-method", method, app="shop:app")
    assert await supervisor.ended() == 4
    failed = await supervisor.event("supervisor_failed")
    assert "shop:app" in failed["error"]
    assert "a_module_that_is_not_there" in failed["error"]
    assert 'shop.py", line 1' in supervisor.text()  # the traceback
    found = await queue.get_job(job.id)
    assert found is not None
    assert found.status is JobStatus.PENDING
    assert await counts(queue, job.id) == {}
    assert len(supervisor.events()) <= 2  # one error, and no loop of restarts


@pytest.mark.fault("A19")
async def test_workers_that_always_die_before_they_are_ready_end_the_start(
    here: Place, queue: JobQueueAdapter
) -> None:
    (here.folder / "boot").touch()
    job = await queue.enqueue(make_job(job_type="test.fine"))
    supervisor = here.supervisor(app=INJURIES)
    assert await supervisor.ended() == 3
    failed = await supervisor.event("supervisor_failed")
    assert "before they are ready" in failed["error"]
    assert "exited with code 3" in failed["error"]
    pauses = [event["again_in"] for event in supervisor.events("worker_boot_failed")]
    assert len(pauses) == max(3, 2 * 2) - 1  # the last failure ends it
    assert pauses == sorted(pauses)
    assert await counts(queue, job.id) == {}


@pytest.mark.fault("A20")
async def test_a_boot_that_fails_only_for_replacements_leaves_the_others_at_work(
    here: Place, queue: JobQueueAdapter
) -> None:
    supervisor = here.supervisor("--log-level", "DEBUG", app=INJURIES)
    workers = await supervisor.ready()
    (here.folder / "boot").touch()
    workers[0].kill()
    await supervisor.until(lambda: len(supervisor.events("worker_boot_failed")) == 3)
    job = await queue.enqueue(make_job(job_type="test.fine"))
    assert (await ended(queue, job.id)).status is JobStatus.COMPLETED
    failures = supervisor.events("worker_boot_failed")
    assert all("exited with code 3" in event["reason"] for event in failures)
    pauses = [event["again_in"] for event in failures]
    assert all(earlier < later <= 30 for earlier, later in pairwise(pauses))
    (here.folder / "boot").unlink()
    await supervisor.until(lambda: len(supervisor.workers()) == 2, what="the whole pool")
    supervisor.signal(signal.SIGTERM)
    assert await supervisor.ended() == 0


@pytest.mark.fault("A20")
async def test_an_application_may_ask_the_store_while_it_opens(here: Place) -> None:
    (here.folder / "ask").touch()
    supervisor = here.supervisor(app=INJURIES)
    await supervisor.until(lambda: here.ledger.count("END") == 1, what="the job it created")
    assert not supervisor.events("worker_boot_failed")


ASKING = """
from contextlib import asynccontextmanager
from tests.support import fault_app

@asynccontextmanager
async def app(context):
    await context.job_creator.create_job("test.fine", {"asked": "early"})
    yield [fault_app.Fault(act.__name__, act) for act in fault_app.ACTS]
    for _ in range(3):
        await context.job_creator.create_job("test.fine", {"asked": "late"})
    print("asked all")
"""


@pytest.mark.fault("A20")
async def test_what_an_application_asks_waits_for_nobody_who_collects_results(here: Place) -> None:
    """Before its first job there are none, and after the last one nobody does."""
    (here.folder / "shop.py").write_text(ASKING)
    tuning = "supervisor.intake:AHEAD=10"
    supervisor = here.supervisor("--workers", "1", app="shop:app", TUNING=tuning)
    await supervisor.until(lambda: here.ledger.count("END") == 1, what="the job it created")
    supervisor.signal(signal.SIGTERM)
    assert await supervisor.ended() == 0
    assert supervisor.events("worker_output", line="asked all")
    assert not supervisor.events("worker_killed")


@pytest.mark.fault("A20")
async def test_asking_for_the_stacks_does_no_harm_to_a_worker_that_is_starting(
    here: Place, queue: JobQueueAdapter
) -> None:
    supervisor = here.supervisor(app="tests.support.race_app:app", RACES=str(here.folder))
    await supervisor.started()
    (here.folder / "hold").touch()
    supervisor.signal(signal.SIGTTIN)
    await supervisor.event("pool_resized")
    await supervisor.until(lambda: len(supervisor.workers()) == 3)
    supervisor.signal(signal.SIGUSR1)
    await supervisor.until(lambda: len(supervisor.events("worker_stacks")) == 3)
    (here.folder / "hold").unlink()
    job = await queue.enqueue(make_job(job_type="race.fine"))
    assert (await ended(queue, job.id)).status is JobStatus.COMPLETED
    supervisor.signal(signal.SIGTERM)
    assert await supervisor.ended() == 0
    assert not supervisor.events("worker_boot_failed")


@pytest.mark.fault("C14")
async def test_a_signal_between_the_fork_and_the_childs_reset_kills_the_child_alone(
    here: Place, queue: JobQueueAdapter
) -> None:
    """A handler inherited by the fork would run in the supervisor, and stop it."""
    supervisor = here.supervisor("--log-level", "DEBUG", app=INJURIES)
    workers = await supervisor.ready()
    zygotes = {child.pid for child in supervisor.descendants()}
    zygotes -= {worker.pid for worker in workers}
    (here.folder / "between-fork-and-reset").touch()
    workers[0].kill()
    failed = await supervisor.event("worker_boot_failed")
    assert "was killed by SIGTERM" in failed["reason"]
    await supervisor.until(lambda: len(supervisor.workers()) == 2, what="the whole pool")
    assert zygotes <= {child.pid for child in supervisor.descendants()}
    job = await queue.enqueue(make_job(job_type="test.fine"))
    assert (await ended(queue, job.id)).status is JobStatus.COMPLETED
    assert not supervisor.events("stopping")
    assert not supervisor.events("zygote_restarted")


@pytest.mark.fault("A13")
async def test_eight_killers_in_eight_workers_do_not_keep_a_healthy_job_waiting(
    here: Place, queue: JobQueueAdapter
) -> None:
    pills = [await queue.enqueue(make_job(job_type="test.kill_itself")) for _ in range(8)]
    supervisor = here.supervisor("--workers", "8")
    await supervisor.until(lambda: here.ledger.count("BEGIN") >= 8)
    healthy = await queue.enqueue(make_job(job_type="test.fine"))
    enqueued = time.monotonic()
    assert (await ended(queue, healthy.id)).status is JobStatus.COMPLETED
    begin = float(here.ledger.of("BEGIN", healthy.id)[0][3])
    assert begin - enqueued < 5.0
    for pill in pills:
        assert (await ended(queue, pill.id)).status is JobStatus.DEAD_LETTER
        assert (await counts(queue, pill.id))["crashes"] == 3
        assert here.ledger.count("BEGIN", pill.id) == 3
    await supervisor.until(lambda: len(supervisor.workers()) == 8, what="the whole pool")
    supervisor.signal(signal.SIGTERM)
    assert await supervisor.ended() == 0


def pipes(pid: int) -> set[str]:
    links = [str(fd.readlink()) for fd in Path(f"/proc/{pid}/fd").iterdir()]
    return {link for link in links if link.startswith("pipe:")}


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("method", ["zygote", "spawn"])
async def test_the_pipes_of_a_worker_are_its_own_and_the_supervisors(
    here: Place, method: str
) -> None:
    """Another holder of an end would hide from its reader or writer that the other side is gone."""
    supervisor = here.supervisor("--start-method", method, "--log-level", "DEBUG")
    first, second = await supervisor.ready()
    first.kill()
    replaced = await supervisor.event("worker_exited")
    await supervisor.until(lambda: len(supervisor.events("worker_ready")) == 3)
    third = supervisor.events("worker_ready")[2]["pid"]
    assert replaced["pid"] == first.pid
    held = {child.pid: pipes(child.pid) for child in supervisor.descendants()}
    assert len(held) == (3 if method == "zygote" else 2)
    ours = pipes(supervisor.pid)
    for pid in (second.pid, third):
        assert len(held[pid] & ours) == 4  # jobs, results, log, and what handlers print
    for some, others in combinations(held.values(), 2):
        assert not some & others
