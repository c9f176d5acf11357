"""Signals go to processes that cannot have been collected: a number may belong to others by now."""

from __future__ import annotations

import os
import signal
import sys

import psutil
import pytest

from portico.ports.job import JobStatus
from portico.ports.job_queue import JobQueueAdapter
from portico.supervisor import orphans
from portico.supervisor.launch import ZygoteLauncher
from tests.support.jobs import ended, make_job
from tests.support.supervisors import BROKEN, Place, is_dead
from tests.support.waiting import wait_until

APP = "tests.support.fault_app:app"


def is_zombie(pid: int) -> bool:
    return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


@pytest.fixture(autouse=True)
def no_dead_children() -> None:
    """Those that earlier tests have left would be found first."""
    orphans.reap(())


@pytest.mark.fault("A22")
async def test_a_zygote_that_was_collected_already_is_not_killed_by_its_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    launcher = ZygoteLauncher(APP)
    await launcher.start()
    os.kill(launcher.pid, signal.SIGKILL)
    while not is_zombie(launcher.pid):
        pass  # without a turn of the loop, which would read that it is gone
    assert launcher.pid in orphans.reap(())
    killed = []
    monkeypatch.setattr(os, "kill", lambda *arguments: killed.append(arguments))
    launcher._kill()
    assert killed == []


@pytest.mark.fault("A22")
async def test_a_zygote_that_hangs_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    launcher = ZygoteLauncher(APP)
    await launcher.start()
    os.kill(launcher.pid, signal.SIGSTOP)
    launcher._kill()
    await wait_until(lambda: is_zombie(launcher.pid))
    assert launcher.pid in orphans.reap(())


@pytest.mark.fault("A22")
async def test_nothing_is_collected_while_the_number_of_a_new_worker_is_not_known_yet() -> None:
    newborn = os.posix_spawn(sys.executable, [sys.executable, "-c", ""], {})
    await wait_until(lambda: is_zombie(newborn))
    assert orphans.reap({0}) == []
    assert is_zombie(newborn)  # so nobody else can have its number
    assert newborn in orphans.reap(())
    assert not psutil.pid_exists(newborn)


@pytest.mark.fault("A22")
async def test_the_sweep_leaves_the_death_of_a_worker_to_the_crew(
    here: Place, queue: JobQueueAdapter
) -> None:
    """Else its status would be lost, and its number free while it is still thought to live.

    A supervisor that was stopped is late for its sweep and for the deaths, and sweeps first.
    """
    supervisor = here.supervisor(command=BROKEN, SWEEP="0.001")
    for begun in (2, 4, 6):
        jobs = [
            await queue.enqueue(
                make_job(job_type="test.until", payload={"file": "never"}, max_retries=0)
            )
            for _ in range(2)
        ]
        await supervisor.until(lambda begun=begun: here.ledger.count("BEGIN") == begun)
        supervisor.signal(signal.SIGSTOP)
        workers = [psutil.Process(int(line[2])) for line in here.ledger.of("BEGIN")[-2:]]
        for worker in workers:
            worker.kill()
        await supervisor.until(lambda workers=workers: all(map(is_dead, workers)))
        supervisor.signal(signal.SIGCONT)
        for job in jobs:
            dead = await ended(queue, job.id)
            assert dead.status is JobStatus.DEAD_LETTER
            assert "SIGKILL" in (dead.error_message or "")
    assert not supervisor.events("spawn_failed")
    assert all("SIGKILL" in event["status"] for event in supervisor.events("worker_exited"))
    supervisor.signal(signal.SIGTERM)
    assert await supervisor.ended() == 0
